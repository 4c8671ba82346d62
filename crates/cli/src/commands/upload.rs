//! `imgferry upload`: any file, or standard input, into an object.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ::convert::{CancelToken, Counter, Monitor as _, Sink as _};
use diskimg::source::open_disk;
use diskimg::text::shown;
use diskimg::units::human;
use obs::{MultipartSink, UploadOptions, Uploaded};
use serde::Serialize;

use super::{storage, typed};
use crate::args::UploadArgs;
use crate::console::Console;
use crate::progress::Progress;
use ::import::{
    Concurrency, FileUpload, abort, memory_of_parts, refuse_existing, start_upload, upload_file,
};
use cloud::{Class, Failure, Result, StopToken, from_obs, stopped};

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

pub(crate) async fn run(args: &UploadArgs, console: Console, stop: &StopToken) -> Result {
    let input = Input::open(&args.file)?;
    let bucket = Some(args.target.bucket.as_str());
    let (session, client) = storage::open(&args.cloud, bucket, args.pace.limit_rate).await?;
    let endpoint = session.endpoint();
    let ended = upload(args, input, (&client, endpoint), console, stop).await;
    let done = session.close(ended).await?;
    console.result(&done, &done)
}

async fn upload(
    args: &UploadArgs,
    input: Input,
    (client, endpoint): (&obs::Client, String),
    console: Console,
    stop: &StopToken,
) -> Result<Done> {
    let started = Instant::now();
    let progress = Progress::new(console, "reading", input.len.unwrap_or(0), true);
    let uploaded = match input.len {
        // It is there for another run to resume, so a journal is kept.
        Some(len) => {
            let journal = super::import::journal(&args.cloud, &args.state);
            let file = FileUpload {
                path: &args.file,
                len,
                endpoint,
                bucket: &args.target.bucket,
                key: &args.target.key,
                force: args.force,
                memory: args.memory,
                concurrency: args.pace.concurrency,
                journal: journal.as_ref(),
                restart: args.restart,
            };
            upload_file(file, client, (&console, stop), progress.clone()).await
        }
        None => stream(args, input, client, &progress, stop).await,
    };
    progress.finish();
    Ok(Done {
        object: args.target.to_string(),
        seconds: started.elapsed().as_secs_f64(),
        uploaded: uploaded?,
    })
}

/// A pipe or a device: what was read of it is gone when this process is.
async fn stream(
    args: &UploadArgs,
    input: Input,
    client: &obs::Client,
    progress: &Arc<Progress>,
    stop: &StopToken,
) -> Result<Uploaded> {
    let target = &args.target;
    if !args.force {
        refuse_existing(client, (&target.bucket, &target.key), stop).await?;
    }
    let memory = args.memory.unwrap_or_else(|| memory_of_parts(u64::MAX));
    let options = UploadOptions {
        memory,
        expected_max: longest(memory),
        max_in_flight: args.pace.concurrency.most(),
        adaptive: args.pace.concurrency == Concurrency::Auto,
        monitor: progress.clone(),
        ..UploadOptions::default()
    };
    let place = (target.bucket.as_str(), target.key.as_str());
    let (sink, mut upload) = start_upload(client, place, &options, stop).await?;
    let reading = tokio::task::spawn_blocking({
        let (progress, cancel) = (Arc::clone(progress), stop.token().clone());
        move || copy(input, sink, &progress, &cancel)
    });
    let read = tokio::select! {
        biased;
        // The reader may be waiting for a part to be sent, or for somebody to type.
        () = stop.asked() => Err(stopped()),
        read = reading => read.unwrap_or_else(|e| {
            Err(Failure::from_error(Class::Io, &e).context("reading crashed"))
        }),
    };
    let completed = match read {
        Ok(()) => match stop.unless_asked(upload.complete()).await {
            Ok(completed) => completed.map_err(|error| from_obs(&error)),
            Err(interrupted) => Err(interrupted),
        },
        Err(failure) => Err(failure),
    };
    match completed {
        Ok(uploaded) => Ok(uploaded),
        Err(failure) => Err(abort(&mut upload, failure).await),
    }
}

/// The longest stream whose parts fit `memory`: a stream's length is not known before its end.
fn longest(memory: u64) -> u64 {
    let most = obs::parts::STANDARD.capacity();
    let (mut fits, mut too_long) = (0, most.saturating_add(1));
    while too_long - fits > 1 {
        let middle = fits + (too_long - fits) / 2;
        if UploadOptions::least_memory(middle) <= memory {
            fits = middle;
        } else {
            too_long = middle;
        }
    }
    fits
}

/// What is read.
struct Input {
    name: String,
    stream: Box<dyn Read + Send>,
    /// `None` where only the end tells it.
    len: Option<u64>,
}

impl Input {
    fn open(path: &Path) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self {
                name: "standard input".into(),
                stream: Box::new(io::stdin()),
                len: None,
            });
        }
        let name = shown(path).to_string();
        let failed = |error: io::Error| {
            let exit = if cloud::is_wrong_path(&error) {
                Class::Refused
            } else {
                Class::Io
            };
            let failure =
                Failure::from_error(exit, &error).context(format!("{name} cannot be opened"));
            match fs::metadata(path) {
                Ok(found) if found.file_type().is_fifo() => failure.hint(format!(
                    "give - as the file, and the pipe as standard input: - < {}",
                    typed(path, "PIPE")
                )),
                _ => failure,
            }
        };
        let file = open_disk(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        // A device tells no length.
        let len = metadata.is_file().then_some(metadata.len());
        Ok(Self {
            name,
            stream: Box::new(file),
            len,
        })
    }
}

/// Reads everything into `sink`.
fn copy(
    mut input: Input,
    mut sink: MultipartSink,
    progress: &Progress,
    cancel: &CancelToken,
) -> Result {
    let mut piece = vec![0; PIECE];
    let mut total = 0_u64;
    loop {
        if cancel.is_cancelled() {
            return Err(stopped());
        }
        let read = match input.stream.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Failure::from_error(Class::Io, &error)
                    .context(format!("{} cannot be read at byte {total}", input.name)));
            }
        };
        total = total.saturating_add(read as u64);
        sink.write(piece.get(..read).unwrap_or_default())
            .map_err(|error| Failure::from(::convert::Error::Sink(error)))?;
        progress.count(Counter::GuestBytes, read as u64);
    }
    sink.close().map_err(|error| from_obs(&error))
}

/// What was done.
#[derive(Debug, Serialize)]
struct Done {
    object: String,
    seconds: f64,
    #[serde(flatten)]
    uploaded: Uploaded,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Uploaded { size, parts, .. } = &self.uploaded;
        let per_second = *size as f64 / self.seconds.max(0.001);
        write!(
            f,
            "{}: {size} bytes in {parts} parts, ETag {}\n{:.1} s, {} MB/s",
            self.object,
            self.uploaded.etag,
            self.seconds,
            (per_second / 1e6).round()
        )?;
        if self.uploaded.retries > 0 {
            write!(
                f,
                ", {} parts sent again, {} sent in all",
                self.uploaded.retries,
                human(self.uploaded.sent_bytes)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_of_unknown_length_may_be_as_long_as_memory_lets_its_parts_be() {
        let gib = 1_u64 << 30;
        assert_eq!(longest(512 << 20), obs::parts::STANDARD.capacity());
        assert!(
            (8 * gib..9 * gib).contains(&longest(16 << 20)),
            "{}",
            longest(16 << 20)
        );
        assert_eq!(longest(1 << 20), 1 << 20);
    }
}
