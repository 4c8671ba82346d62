//! What the user can do about a failure, as data: the program turns it into its own words.

use std::borrow::Cow;

use ims::JobId;

/// What the user can do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// Advice that names no option or command of the program.
    Text(Cow<'static, str>),
    /// The object storage did not answer: check its address, the region and the proxy.
    CheckStorageAddress,
    /// The identity or image service did not answer: check the addresses, the region and the proxy.
    CheckServiceAddresses,
    /// The storage gave no reason: check the keys, and their rights to the bucket.
    CheckKeys,
    /// A temporary sandbox keeps no objects: name a directory for it.
    NameSandboxDir,
    /// The sandbox ends with this process: wait for the job, or run the sandbox on its own.
    KeepSandboxRunning,
    /// The job goes on: follow it.
    FollowJob(JobId),
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<&'static str> for Hint {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}
