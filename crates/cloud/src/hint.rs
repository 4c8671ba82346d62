//! What the user can do about a failure, as data. Its general words are `Display`; a program with
//! an option or a command for it says that instead.

use std::borrow::Cow;
use std::fmt;

use ims::JobId;

use crate::import_hint::ImportHint;

/// What the user can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Advice that holds for every program.
    Text(Cow<'static, str>),
    /// About a disk.
    Disk(diskimg::Hint),
    /// About converting a disk.
    Convert(convert::Hint),
    /// About the object storage.
    Storage(obs::Hint),
    /// About the journal.
    Journal(journal::Hint),
    /// About the identity or image service.
    Images(ims::Hint),
    /// About an import.
    Import(ImportHint),
    /// The object storage did not answer: check its address, the region and the proxy.
    CheckStorageAddress,
    /// The identity or image service did not answer: check the addresses, the region and the proxy.
    CheckServiceAddresses,
    /// The storage gave no reason: check the keys, and their rights to the bucket.
    CheckKeys,
    /// No region is given: give one.
    GiveRegion,
    /// No credentials are given: give some.
    GiveCredentials,
    /// The region is not known: name the operator of its cloud, or give all addresses.
    GiveOperator,
    /// Region and cloud, or an address and the region, belong to different operators. With the
    /// operator that the region belongs to, where the cloud was named.
    ChangeOperator(Option<ims::Cloud>),
    /// No bucket was named to check: name one.
    NameBucket,
    /// The bucket cannot be used: name such a one.
    ChooseBucket(&'static str),
    /// A temporary sandbox keeps no objects: name a directory for it.
    NameSandboxDir,
    /// The sandbox ends with this process: wait for the job, or run the sandbox on its own.
    KeepSandboxRunning,
    /// The job continues in the cloud: follow it.
    FollowJob(JobId),
    /// Parts may still be stored: abort the upload.
    AbortUpload {
        /// The bucket that it is in.
        bucket: String,
        /// Its id.
        id: String,
    },
    /// The memory limit is too small: raise it.
    RaiseMemory,
    /// A run of the batch is active: wait for it, or share the batch among workers.
    ShareBatch,
    /// The source of a finished disk has changed: give it another name, or redo the disk with this
    /// id.
    RedoDisk(String),
    /// The claim of a disk expired: check the connection, or let claims live longer.
    ExtendLease,
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
    /// The package has several disks, or not the one that was named: name one of these members.
    ChooseDisk(Vec<String>),
    /// One of the checks has failed: do this, or skip the check of this name.
    OrSkipCheck(Box<Hint>, &'static str),
    /// What an earlier run has recorded of a disk of a batch is of no use: start over with the disk
    /// of this id, and replace its object if that is said.
    RestartDisk {
        /// The disk.
        id: String,
        /// Whether its object has to be replaced.
        replace: bool,
    },
    /// The image has no name: give one.
    GiveName,
    /// The package is not what its manifest says: get it again, or read it all the same.
    IgnoreManifest,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(text) => text,
            Self::Disk(hint) => return hint.fmt(f),
            Self::Convert(hint) => return hint.fmt(f),
            Self::Storage(hint) => return hint.fmt(f),
            Self::Journal(hint) => return hint.fmt(f),
            Self::Images(hint) => return hint.fmt(f),
            Self::Import(hint) => return hint.fmt(f),
            Self::CheckStorageAddress => {
                "check the address of the object storage, the region and HTTPS_PROXY"
            }
            Self::CheckServiceAddresses => {
                "check the addresses of the services, the region and HTTPS_PROXY"
            }
            Self::CheckKeys => "check the keys, and their rights to the bucket",
            Self::GiveRegion => "set HW_REGION_NAME, or write the region into a profile",
            Self::GiveCredentials => {
                "set HW_ACCESS_KEY and HW_SECRET_KEY, or HW_USER_NAME, HW_USER_PASSWORD and \
                 HW_DOMAIN_NAME, or write them into a profile"
            }
            Self::GiveOperator => {
                "name the cloud of the region, or give the addresses of all services"
            }
            Self::ChangeOperator(_) => {
                "give another cloud or region, or the addresses of all services"
            }
            Self::NameBucket => "name a bucket",
            Self::ChooseBucket(what) => return write!(f, "name {what}"),
            Self::NameSandboxDir => "name a directory for the sandbox",
            Self::KeepSandboxRunning => "wait for the job, or run the sandbox on its own",
            Self::FollowJob(job) => return write!(f, "follow job {job}"),
            Self::AbortUpload { bucket, id } => {
                return write!(f, "abort upload {id} in bucket {bucket}");
            }
            Self::RaiseMemory => "allow more memory, such as 1 GiB",
            Self::ShareBatch => {
                "wait until it has ended; workers that run at the same time must share the batch"
            }
            Self::RedoDisk(_) => {
                "give the changed disk another name; or delete the image and its object, and redo \
                 the disk"
            }
            Self::ExtendLease => {
                "check the connection to the object storage, or use a longer lease"
            }
            Self::NameBucketOnly(bucket) => return write!(f, "name only the bucket {bucket}"),
            Self::NameOutputDir => "name another directory for output",
            Self::MeasureLess => "measure with less data, or in another directory",
            Self::GenerateDisk => "measure with a generated disk",
            Self::InstallQemuImg => "install it (qemu-utils, qemu-img), or compare with nothing",
            Self::CompareNothing => "compare with nothing",
            Self::ChooseDisk(disks) => {
                return write!(f, "name one of its disks: {}", disks.join(", "));
            }
            Self::OrSkipCheck(hint, check) => {
                return write!(f, "{hint}; or skip the check {check}");
            }
            Self::RestartDisk { id, replace: false } => {
                return write!(f, "start over with disk {id}");
            }
            Self::RestartDisk { id, replace: true } => {
                return write!(f, "start over with disk {id}, and replace its object");
            }
            Self::GiveName => "give the image a name",
            Self::IgnoreManifest => {
                "copy or download the package again, or do without its manifest"
            }
        })
    }
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

impl From<ims::Hint> for Hint {
    fn from(hint: ims::Hint) -> Self {
        match hint {
            ims::Hint::Text(text) => Self::Text(text),
            hint => Self::Images(hint),
        }
    }
}

impl From<obs::Hint> for Hint {
    fn from(hint: obs::Hint) -> Self {
        match hint {
            obs::Hint::Text(text) => Self::Text(text),
            hint => Self::Storage(hint),
        }
    }
}

impl From<diskimg::Hint> for Hint {
    fn from(hint: diskimg::Hint) -> Self {
        match hint {
            diskimg::Hint::Text(text) => Self::Text(text.into()),
            hint => Self::Disk(hint),
        }
    }
}

impl From<convert::Hint> for Hint {
    fn from(hint: convert::Hint) -> Self {
        match hint {
            convert::Hint::Text(text) => Self::Text(text),
            convert::Hint::Disk(hint) => hint.into(),
            hint => Self::Convert(hint),
        }
    }
}

impl From<ImportHint> for Hint {
    fn from(hint: ImportHint) -> Self {
        Self::Import(hint)
    }
}

impl From<journal::Hint> for Hint {
    fn from(hint: journal::Hint) -> Self {
        Self::Journal(hint)
    }
}

/// One of several things that are wrong, and what the user can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// What the user can do.
    pub hint: Option<Hint>,
}

impl Problem {
    /// A problem, and what the user can do about it.
    #[must_use]
    pub fn new(message: impl Into<String>, hint: impl Into<Hint>) -> Self {
        Self {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }
}

impl From<String> for Problem {
    fn from(message: String) -> Self {
        Self {
            message,
            hint: None,
        }
    }
}
