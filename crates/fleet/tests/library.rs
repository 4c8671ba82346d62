//! A batch as a library call, in a sandbox in this process.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::Path;
use std::sync::{Arc, Mutex};

use batch::{ItemState, ReadOptions};
use cloud::{Class, Session, StopToken};
use fleet::{Context, DiskEvent, Event, FleetSpec, Observer};
use import::JournalSpec;
use tempfile::TempDir;

/// Content digest of `testdata/debian-tree.qcow2`, computed by another program.
const DIGEST: &str = "v1:30541ea70cba88766e6bd5932c3192d4cf5fdea4249209ec9663d2edb3767e97";

/// The manifest of the example: a system disk and a data disk.
fn spec() -> FleetSpec {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/two_disks.yaml");
    FleetSpec::read(&path, ReadOptions::default()).unwrap()
}

/// Keeps what happened to each disk.
#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl Observer for Seen {
    fn event(&self, event: Event<'_>) {
        let line = match event {
            Event::Checking(disks) => format!("checking {disks}"),
            Event::Started(overview) => {
                let (to_do, done) = (overview.to_do, overview.done);
                format!("started {to_do} of {}, {done} done", overview.disks)
            }
            Event::Disk(disk, DiskEvent::Stage(stage)) => format!("{} {stage}", disk.id),
            Event::Disk(disk, DiskEvent::Ended { outcome, .. }) => {
                format!("{} {}", disk.id, outcome.state)
            }
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }
}

impl Seen {
    /// The lines that begin with `of`.
    fn take(&self, of: &str) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        let lines = lines.iter().filter_map(|line| line.strip_prefix(of));
        lines.map(|line| line.trim_start().to_owned()).collect()
    }
}

async fn context(dir: Option<&Path>, spec: &FleetSpec) -> (Context, Arc<Seen>) {
    let session = Session::local(dir, spec.session_options()).await.unwrap();
    let seen = Arc::new(Seen::default());
    let observer = Arc::clone(&seen) as Arc<dyn Observer>;
    (Context::new(session, observer, &StopToken::new()), seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disks_of_a_manifest_become_active_images() {
    let spec = spec();
    let (cx, seen) = context(None, &spec).await;
    let ended = fleet::run(&spec, &cx).await;
    let outcome = cx.close(ended).await.unwrap();
    assert!(outcome.broken.is_none());
    assert_eq!((outcome.failed(), outcome.left()), (0, 0));
    for disk in &outcome.report.items {
        assert_eq!(disk.state, ItemState::Active, "{disk:?}");
        assert_eq!(disk.digest.as_deref(), Some(DIGEST));
    }
    assert_eq!(seen.take("checking "), ["2"]);
    assert_eq!(seen.take("started "), ["2 of 2, 0 done"]);
    let stages = ["check", "transfer", "complete", "register", "active"];
    assert_eq!(seen.take("web01 "), stages);
    assert_eq!(seen.take("web01-data "), stages);
    let json = serde_json::to_value(&outcome).unwrap();
    assert_eq!(json.pointer("/items/1/id").unwrap(), "web01-data");
    assert_eq!(json.pointer("/exit").unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_changes_nothing_and_a_stopped_run_leaves_every_disk() {
    let spec = spec();
    let (cx, _) = context(None, &spec).await;
    let plan = fleet::plan(&spec, &cx).await.unwrap();
    assert_eq!((plan.totals.items, plan.totals.to_do), (2, 2));
    assert_eq!(plan.items.first().unwrap().action, "upload");
    let images = cx.session.images();
    assert!(images.image_named("web01").await.unwrap().is_none());
    cx.stop.stop();
    let failure = fleet::run(&spec, &cx).await.err().unwrap();
    assert_eq!(failure.class(), Class::Interrupted);
    assert!(images.image_named("web01").await.unwrap().is_none());
    cx.close(Ok(())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_batch_is_done_once_and_its_status_says_so() {
    let (state, dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut spec = spec();
    spec.journal = Some(JournalSpec {
        dir: Some(state.path().to_owned()),
        command: vec!["again".into()],
    });
    let run = async |done: &str, state: ItemState| {
        let (cx, seen) = context(Some(dir.path()), &spec).await;
        let ended = fleet::run(&spec, &cx).await;
        let outcome = cx.close(ended).await.unwrap();
        assert_eq!(seen.take("started "), [done]);
        let items = &outcome.report.items;
        assert!(items.iter().all(|disk| disk.state == state), "{items:?}");
    };
    assert_eq!(fleet::status(&spec).unwrap().left, 2);
    run("2 of 2, 0 done", ItemState::Active).await;
    run("0 of 2, 2 done", ItemState::Skipped).await;
    let status = fleet::status(&spec).unwrap();
    assert_eq!((status.done, status.left), (2, 0));
    assert_eq!(status.command.as_deref(), Some("again"));
}
