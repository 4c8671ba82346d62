//! Failures on order, for tests of clients. A sandbox has none unless it is told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is to go wrong.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Which UploadPart requests, counted from 1 over the sandbox's life, are answered with
    /// 503 SlowDown instead of being looked at.
    pub upload_part_unavailable: Vec<u64>,
    /// Which CompleteMultipartUpload requests, counted from 1, are carried out and then answered
    /// with 500 InternalError: the client cannot know that the object is there.
    pub complete_answer_lost: Vec<u64>,
    /// How many quick imports are first refused with IMG.0060, flow control.
    pub flow_control: u64,
    /// Refuses imports with IMG.0060 while as many jobs have not ended.
    pub busy_above: Option<usize>,
    /// Fails every import job with this reason, after it was accepted.
    pub fail_jobs: Option<String>,
    /// Objects are stored whatever If-Match and If-None-Match say, as by servers that do not know
    /// them.
    pub ignore_conditions: bool,
    /// Copies of parts are answered with 501 NotImplemented, as by servers that have none.
    pub refuse_copies: bool,
    /// Bytes that every part but the last must have, where that is more than OBS demands.
    pub min_part: u64,
    /// Refuses every call of the image service that changes something with IMG.0026: the caller may
    /// only look.
    pub may_only_look: bool,
    /// The call for data images of files in any format does not exist, as in clouds of the 2023
    /// reference.
    pub without_data_files: bool,
    /// Images show this minimum disk in GiB, whatever was asked for.
    pub other_min_disk: Option<u64>,
    /// How long an import job stays in INIT.
    pub job_delay: Duration,
}

/// The faults, and how far each is used up.
#[derive(Debug, Default)]
pub(crate) struct FaultState {
    faults: Faults,
    upload_parts: AtomicU64,
    completes: AtomicU64,
    imports: AtomicU64,
    refused: AtomicU64,
}

impl FaultState {
    pub(crate) fn new(faults: Faults) -> Self {
        Self {
            faults,
            ..Self::default()
        }
    }

    /// Counts an UploadPart request; whether it is to be refused.
    pub(crate) fn refuse_upload_part(&self) -> bool {
        let number = count(&self.upload_parts);
        self.faults.upload_part_unavailable.contains(&number)
    }

    /// Counts a CompleteMultipartUpload request; whether its answer is to be lost.
    pub(crate) fn lose_complete_answer(&self) -> bool {
        let number = count(&self.completes);
        self.faults.complete_answer_lost.contains(&number)
    }

    /// Counts an import; whether it is to be refused by flow control, where `unfinished` jobs have
    /// not ended.
    pub(crate) fn refuse_import(&self, unfinished: impl FnOnce() -> usize) -> bool {
        let busy = self
            .faults
            .busy_above
            .is_some_and(|most| unfinished() >= most);
        let refused = count(&self.imports) <= self.faults.flow_control || busy;
        if refused {
            count(&self.refused);
        }
        refused
    }

    /// How many imports were refused by flow control.
    pub(crate) fn refused_imports(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Whether conditions of requests that store objects are ignored.
    pub(crate) fn ignores_conditions(&self) -> bool {
        self.faults.ignore_conditions
    }

    /// Whether parts are not copied.
    pub(crate) fn refuses_copies(&self) -> bool {
        self.faults.refuse_copies
    }

    /// Least bytes of a part, if not those of OBS.
    pub(crate) fn min_part(&self) -> u64 {
        self.faults.min_part
    }

    /// Whether the caller may only look.
    pub(crate) fn may_only_look(&self) -> bool {
        self.faults.may_only_look
    }

    /// Whether the call for data images of files is missing.
    pub(crate) fn lacks_data_files(&self) -> bool {
        self.faults.without_data_files
    }

    /// The minimum disk that images show.
    pub(crate) fn other_min_disk(&self) -> Option<u64> {
        self.faults.other_min_disk
    }

    /// How long a job is to wait.
    pub(crate) fn job_delay(&self) -> Duration {
        self.faults.job_delay
    }

    /// Why a job is to fail.
    pub(crate) fn failing_job(&self) -> Option<&str> {
        self.faults.fail_jobs.as_deref()
    }
}

fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed).saturating_add(1)
}
