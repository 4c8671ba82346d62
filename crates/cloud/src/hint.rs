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
    /// Parts may still be stored: abort the upload.
    AbortUpload {
        /// The bucket that it is in.
        bucket: String,
        /// Its id.
        id: String,
    },
    /// The object exists: name only this bucket.
    NameBucketOnly(String),
    /// Nothing can be written there: name another directory for output.
    NameOutputDir,
    /// There is no room: measure with less data, or in another directory.
    MeasureLess,
    /// The image has no data: measure with a generated disk.
    GenerateDisk,
    /// The program to compare with is missing: install it, or compare with nothing.
    InstallQemuImg,
    /// The program to compare with cannot do this: compare with nothing.
    CompareNothing,
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
