//! A package's disk against its manifest, on a thread of its own while the disk is read.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use ::convert::CancelToken;
use cloud::{Class, Failure, Hint, Result};
use ova::Verification;
use parking_lot::Mutex;

/// One disk that is verified.
pub(crate) struct Verifying {
    verification: Verification,
    cancel: CancelToken,
    stop: Arc<AtomicBool>,
    thread: Mutex<Thread>,
}

enum Thread {
    Waiting,
    Running(JoinHandle<diskimg::Result<()>>),
    Done,
}

impl fmt::Debug for Verifying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.verification.fmt(f)
    }
}

impl Verifying {
    /// Nothing is read yet; `cancel` stops it.
    pub(crate) fn new(verification: Verification, cancel: &CancelToken) -> Self {
        Self {
            verification,
            cancel: cancel.clone(),
            stop: Arc::default(),
            thread: Mutex::new(Thread::Waiting),
        }
    }

    /// Begins, unless that was done before.
    pub(crate) fn start(&self) -> Result {
        let mut thread = self.thread.lock();
        if !matches!(*thread, Thread::Waiting) {
            return Ok(());
        }
        let (verification, stop) = (self.verification.clone(), Arc::clone(&self.stop));
        let cancel = self.cancel.clone();
        let run =
            move || verification.run(&|| cancel.is_cancelled() || stop.load(Ordering::Relaxed));
        let started = std::thread::Builder::new()
            .name("manifest".to_owned())
            .spawn(run)
            .map_err(|e| {
                Failure::from_error(Class::Io, &e).context("the manifest cannot be checked")
            })?;
        *thread = Thread::Running(started);
        Ok(())
    }

    /// Waits for the end; begins now if that was not done before.
    pub(crate) fn finish(&self) -> Result {
        self.start()?;
        let mut thread = self.thread.lock();
        let Thread::Running(running) = std::mem::replace(&mut *thread, Thread::Waiting) else {
            *thread = Thread::Done;
            return Ok(());
        };
        match running.join() {
            Ok(Ok(())) => {
                *thread = Thread::Done;
                Ok(())
            }
            Ok(Err(error)) => {
                let differs = error.kind() == diskimg::ErrorKind::Mismatch;
                let failure = Failure::from(error);
                Err(match differs {
                    true => failure.hint(Hint::IgnoreManifest),
                    false => failure,
                })
            }
            Err(_) => Err(Failure::new(Class::Io, "checking the manifest crashed")),
        }
    }
}

impl Drop for Verifying {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
