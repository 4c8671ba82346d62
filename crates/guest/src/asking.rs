//! Work on a thread of its own that asks the caller's thread for the image's bytes.
//!
//! Readers of others must not be able to stop the program: they may panic, and when they neither
//! ask nor end in time, they are left behind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use diskimg::{DiskImage, GuestOffset};

use crate::media::Source;

/// Stack of the thread that looks into the disk.
const STACK: usize = 8 << 20;
/// How long it may take to end after its time is up.
const GRACE: Duration = Duration::from_secs(10);
/// What is said of a thread that is gone without an answer.
const STOPPED: &str = "a reader stopped at an error of its own";

/// What the thread says.
enum Message<T> {
    /// It wants this many bytes from there.
    Read(u64, usize),
    Done(T),
}

type Answer = Result<Vec<u8>, String>;

/// Runs `work` with a source of the bytes of `image` and their number.
///
/// # Errors
/// In words: the thread could not be started, panicked, or did not end in `time`.
pub(crate) fn ask<T: Send + 'static>(
    image: &dyn DiskImage,
    time: Duration,
    work: impl FnOnce(Source, u64) -> T + Send + 'static,
) -> Result<T, String> {
    let (ask, asked) = mpsc::channel();
    let (answer, answers) = mpsc::channel();
    let size = image.virtual_size();
    let deadline = Instant::now() + time + GRACE;
    let run = move || {
        let asking = ask.clone();
        let run = || work(source(asking, answers), size);
        if let Ok(found) = catch_unwind(AssertUnwindSafe(run)) {
            // Nobody listens any more when the time was up.
            let _ = ask.send(Message::Done(found));
        }
    };
    let thread = thread::Builder::new()
        .name("guest".into())
        .stack_size(STACK);
    match thread.spawn(run) {
        Ok(_) => serve(image, &asked, &answer, deadline),
        Err(error) => Err(format!("no thread could be started: {error}")),
    }
}

/// The source that the thread reads from.
fn source<T: 'static>(ask: Sender<Message<T>>, answers: Receiver<Answer>) -> Source {
    Box::new(move |at: u64, buf: &mut [u8]| {
        let gone = || "the inspection was given up".to_owned();
        ask.send(Message::Read(at, buf.len())).map_err(|_| gone())?;
        let bytes = answers.recv().map_err(|_| gone())??;
        match bytes.len() == buf.len() {
            true => buf.copy_from_slice(&bytes),
            false => return Err(gone()),
        }
        Ok(())
    })
}

/// Reads for the thread until it is done.
fn serve<T>(
    image: &dyn DiskImage,
    asked: &Receiver<Message<T>>,
    answer: &Sender<Answer>,
    deadline: Instant,
) -> Result<T, String> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match asked.recv_timeout(left) {
            Ok(Message::Read(at, length)) => {
                let mut bytes = vec![0; length];
                let read = image.read_at(GuestOffset(at), &mut bytes);
                let read = read.map(|()| bytes).map_err(|error| error.to_string());
                // A thread that is gone says so by its next message, or by none.
                let _ = answer.send(read);
            }
            Ok(Message::Done(found)) => return Ok(found),
            Err(RecvTimeoutError::Timeout) => {
                return Err("a reader did not come to an end".into());
            }
            Err(RecvTimeoutError::Disconnected) => return Err(STOPPED.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use diskimg::{MemorySource, RawImage};

    use super::*;

    fn image() -> RawImage {
        RawImage::open(Arc::new(MemorySource(vec![7; 4096]))).unwrap()
    }

    #[test]
    fn a_reader_without_an_end_is_left_behind() {
        let (ask, asked) = mpsc::channel::<Message<()>>();
        let (answer, answers) = mpsc::channel();
        ask.send(Message::Read(1024, 2)).unwrap();
        let reason = serve(&image(), &asked, &answer, Instant::now()).unwrap_err();
        assert!(reason.contains("come to an end"));
        // What it asked for in time was answered.
        assert_eq!(answers.try_recv().unwrap(), Ok(vec![7, 7]));
    }

    #[test]
    fn a_reader_that_is_gone_is_reported() {
        let (ask, asked) = mpsc::channel::<Message<()>>();
        let (answer, _answers) = mpsc::channel();
        ask.send(Message::Read(4096, 2)).unwrap();
        drop(ask);
        let deadline = Instant::now() + GRACE;
        let reason = serve(&image(), &asked, &answer, deadline).unwrap_err();
        assert!(reason.contains("error of its own"));
    }

    #[test]
    fn a_reader_that_panics_is_reported() {
        let work = |_: Source, _| -> () { panic!("on purpose") };
        let reason = ask(&image(), Duration::ZERO, work).unwrap_err();
        assert_eq!(reason, STOPPED);
    }
}
