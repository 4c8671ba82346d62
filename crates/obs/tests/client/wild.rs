//! Random mixes of any faults, also of those that end a run: the next run goes on until the object
//! is right.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use convert::{Sink as _, SinkError};
use net::retry::Policy;
use obs::{
    Config, EarlierUpload, Error, ErrorKind, MultipartSink, PartLog, PartRecord, Resumption,
    Upload, UploadOptions, Uploaded,
};
use testkit::faults::wild;

use super::fake::content;
use super::proxied::{BUCKET, Cloud, KEY, SMALL, impatient};

/// How many mixes are tried: IMGFERRY_WILD_RUNS, or these.
const RUNS: u64 = 40;
/// So many clouds at the same time: most of the time is spent waiting for time limits.
const CLOUDS: u64 = 4;
/// Runs of one upload after which the faults stop.
const MERCY: u32 = 12;
const LEN: usize = 450_000;

/// What a journal would hold.
#[derive(Default)]
pub(super) struct Notes(pub(super) Mutex<BTreeMap<u32, PartRecord>>);

impl PartLog for Notes {
    fn confirmed(&self, part: &PartRecord) -> Result<(), SinkError> {
        self.0.lock().unwrap().insert(part.number, part.clone());
        Ok(())
    }
}

/// What of an upload outlives a run.
#[derive(Default)]
pub(super) struct Journal {
    pub(super) id: Option<String>,
    pub(super) parts: Arc<Notes>,
    /// Whether every part was stored, so that joining them may have been asked for.
    pub(super) sent: Option<u64>,
}

/// One run, as a process would do it: goes on where the one before ended.
pub(super) async fn run(
    cloud: &Cloud,
    bytes: &[u8],
    journal: &mut Journal,
) -> Result<Uploaded, Error> {
    let options = UploadOptions {
        memory: 5 * (100 << 10),
        expected_max: bytes.len() as u64,
        max_in_flight: 3,
        layout: SMALL,
        log: Arc::<Notes>::clone(&journal.parts),
        ..UploadOptions::default()
    };
    let resumption = match &journal.id {
        None => Resumption::Gone,
        Some(id) => {
            let known: Vec<_> = journal.parts.0.lock().unwrap().values().cloned().collect();
            let earlier = EarlierUpload {
                upload_id: id,
                known: &known,
                whole: journal.sent,
            };
            let resuming = cloud.client.resume_upload(BUCKET, KEY, &earlier, &options);
            resuming.await?
        }
    };
    let (sink, mut upload) = match resumption {
        Resumption::Completed(uploaded) => return Ok(uploaded),
        Resumption::GoesOn(resumed) => (resumed.sink, resumed.upload),
        Resumption::Gone => {
            assert_eq!(journal.id, None, "the server forgot an upload that goes on");
            let begun = cloud.client.start_upload(BUCKET, KEY, &options);
            let (sink, upload) = begun.await?;
            journal.id = Some(upload.upload_id().to_owned());
            (sink, upload)
        }
    };
    let written = write(sink, bytes.to_vec()).await;
    let done = finish(&mut upload, journal).await;
    // What the process does before it ends.
    upload.pause(Duration::from_millis(200)).await;
    match (done, written) {
        (Ok(uploaded), Ok(())) => Ok(uploaded),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

pub(super) async fn write(mut sink: MultipartSink, bytes: Vec<u8>) -> Result<(), Error> {
    tokio::task::spawn_blocking(move || {
        sink.write(&bytes)
            .map_err(|error| error.downcast_ref::<Error>().unwrap().clone())?;
        sink.close()
    })
    .await
    .unwrap()
}

async fn finish(upload: &mut Upload, journal: &mut Journal) -> Result<Uploaded, Error> {
    journal.sent = Some(upload.sent().await?);
    upload.complete().await
}

/// An error that says what happened, and what to do about it where that is not to try again.
fn is_clear(error: &Error) {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::Network | ErrorKind::Server | ErrorKind::Integrity => {}
        // A HEAD with keys that have ended is answered with 400 and no reason.
        ErrorKind::Auth
        | ErrorKind::AccessDenied
        | ErrorKind::WrongRegion
        | ErrorKind::Rejected => {
            assert!(error.hint().is_some(), "{text}");
        }
        other => panic!("{other:?}: {text}"),
    }
    assert!(text.contains(BUCKET), "{text}");
}

async fn some(seeds: impl Iterator<Item = u64>) -> (u32, u32) {
    let cloud = Cloud::with(|config, key| {
        let config = impatient(config, key);
        Config {
            retry: Policy {
                max_attempts: 3,
                ..config.retry
            },
            ..config
        }
    })
    .await;
    let (mut failures, mut resumed) = (0, 0);
    for seed in seeds {
        let bytes: Vec<u8> = content(LEN)
            .iter()
            .map(|b| b ^ u8::try_from(seed % 256).unwrap())
            .collect();
        cloud.proxy.heal();
        cloud.proxy.forget();
        cloud.proxy.script(wild(seed, 30));
        let mut journal = Journal::default();
        let mut runs = 0;
        loop {
            runs += 1;
            if runs == MERCY {
                cloud.proxy.heal();
            }
            assert!(runs < MERCY + 3, "seed {seed} does not end");
            let before = journal.parts.0.lock().unwrap().len();
            match run(&cloud, &bytes, &mut journal).await {
                Ok(uploaded) => {
                    assert_eq!(uploaded.size, LEN as u64, "seed {seed}");
                    resumed += u32::from(runs > 1 && before > 0);
                    break;
                }
                Err(error) => {
                    is_clear(&error);
                    failures += 1;
                }
            }
        }
        assert!(cloud.stored(KEY).unwrap() == bytes, "seed {seed}");
    }
    (failures, resumed)
}

/// Every run ends with the right object, or with an error that says why and a state that the next
/// run goes on from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_mixes_of_all_faults_end_with_the_right_object_after_enough_runs() {
    let runs = std::env::var("IMGFERRY_WILD_RUNS").map_or(RUNS, |text| text.parse().unwrap());
    let mut clouds = tokio::task::JoinSet::new();
    for first in 0..CLOUDS {
        clouds.spawn(some(
            (first..runs).step_by(usize::try_from(CLOUDS).unwrap()),
        ));
    }
    let (mut failures, mut resumed) = (0, 0);
    while let Some(ended) = clouds.join_next().await {
        let (failed, went_on) = ended.unwrap();
        failures += failed;
        resumed += went_on;
    }
    eprintln!("{runs} mixes: {failures} runs failed, {resumed} uploads were gone on with");
    assert!(
        u64::from(failures) > runs / 10,
        "{failures} failures prove nothing"
    );
    assert!(resumed > 0, "nothing was gone on with");
}
