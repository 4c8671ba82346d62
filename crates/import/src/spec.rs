//! What to import, and how.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use ::convert::{PlanOptions, Target};
use diskimg::OpenOptions;
use ims::{Architecture, Firmware, ImageKind, ImageUrl, OsType, QuickImport};
use serde::Serialize;

use super::disk::SourceDisk;

/// One import: the disk, the object, the image, and how to get from one to the other.
#[derive(Clone, Debug)]
pub struct ImportSpec {
    /// The disk. A package without a member stands for its machine: the system's disk together with
    /// the others, and what the descriptor says that this spec does not.
    pub disk: SourceDisk,
    /// How the disk image is opened.
    pub open: OpenOptions,
    /// Read the disk although a running machine has it open for writing.
    pub force_share: bool,
    /// Read a package without checking its manifest.
    pub ignore_manifest: bool,
    /// Exact size of a raw disk that comes through a pipe.
    pub pipe_size: Option<u64>,
    /// Read holes too, instead of skipping them.
    pub verify_holes: bool,
    /// Leave out what the disk's file systems call free. `None`: everything is copied.
    pub discard_free: Option<freespace::Options>,

    /// Bucket of the object.
    pub bucket: String,
    /// Key of the object. `None`: made from the image's name.
    pub key: Option<String>,
    /// What to do when the image or the object exists.
    pub if_exists: IfExists,
    /// Format of the object, where the disk is converted.
    pub target: Target,
    /// Where the bitmap of a raw object comes from.
    pub bitmap: BitmapSpec,

    /// Name of the image.
    pub name: String,
    /// What the image is for.
    pub kind: ImageKind,
    /// Operating system as the service names it.
    pub os_version: Option<String>,
    /// Operating system family of a data image.
    pub os_type: Option<OsType>,
    /// Smallest disk in GiB. `None`: from the virtual size.
    pub min_disk: Option<u32>,
    /// Processor architecture.
    pub architecture: Option<Architecture>,
    /// How the image boots.
    pub firmware: Option<Firmware>,
    /// Tags of the image.
    pub tags: Vec<(String, String)>,
    /// Text shown with the image.
    pub description: Option<String>,
    /// `None`: the one of the cloud's settings.
    pub enterprise_project_id: Option<String>,

    /// How the image is registered.
    pub register: Register,
    /// Key of an earlier import's object in the same bucket, or id of the image that was made of
    /// one: only what has changed is sent, and the server copies the rest from there.
    pub base: Option<String>,
    /// Bytes that every part but the last must have where the server copies parts, from
    /// [`obs::OBS_MIN_PART_SIZE`] to [`obs::MIN_PART_SIZE`]: smaller parts send less.
    pub min_part: u64,
    /// The import is a run of the migration of a running server.
    pub warm: Option<Warm>,
    /// Let the service prepare the system for the cloud.
    pub prepare: bool,
    /// Key that encrypts the image.
    pub cmk_id: Option<String>,
    /// Disks that are registered together with the system disk.
    pub data_disks: Vec<SourceDisk>,
    /// Checks that warn instead of refusing.
    pub skip_checks: Vec<String>,
    /// What follows from what is found on the disk.
    pub guest_check: GuestCheck,
    /// Rules about the system on the disk that it may break.
    pub allowed_rules: Vec<String>,
    /// Follow the job until the image is active.
    pub wait: bool,
    /// How long the job is followed.
    pub timeout: Duration,

    /// Where unfinished imports are recorded. `None`: nowhere, so that nothing can be resumed.
    pub journal: Option<JournalSpec>,
    /// Discard what an interrupted run has stored, and start over.
    pub restart: bool,

    /// Threads, compression level and memory.
    pub work: PlanOptions,
    /// Parts that are sent at the same time.
    pub concurrency: Concurrency,
}

/// A run of the migration of a running server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warm {
    /// The last run: it makes the image. Others upload a generation and register nothing.
    pub cutover: bool,
    /// Generations that are kept, with the one that is made.
    pub keep: NonZeroU32,
}

impl Warm {
    /// Generations that are kept by default: one to go on from, and one in case that cannot be read.
    pub const KEEP: NonZeroU32 = NonZeroU32::new(2).unwrap();
}

/// What to do when an image of this name, or an object of this key, exists. What an interrupted run
/// of this import has left is resumed in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IfExists {
    /// It is used if it is proven to hold this disk. Otherwise the import fails.
    #[default]
    Adopt,
    /// The import fails.
    Fail,
    /// An image of the name, or without a registration an object of the key, ends the import
    /// successfully, whatever it holds. For other objects this is `Adopt`.
    Skip,
    /// The object is replaced. The image is renamed and kept.
    Replace,
}

/// What follows from what is found on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestCheck {
    /// Everything but advice rejects the disk.
    Strict,
    /// A system that will not boot rejects the disk.
    #[default]
    Default,
    /// Nothing rejects the disk.
    Warn,
    /// Nobody looks into the disk.
    Off,
}

/// How an image is registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Register {
    /// By quick import if the disk can be converted here, by the common import otherwise.
    #[default]
    Auto,
    /// Converted here, and taken as it is by the service.
    Quick,
    /// Uploaded as it is; the service converts it.
    Common,
    /// An image without a file first, and then its file.
    Glance,
    /// Not at all: only the object is made.
    None,
}

/// Where the bitmap of a raw object comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BitmapSpec {
    /// Made while the disk is read, in the layout that is known.
    #[default]
    Own,
    /// A file, uploaded as it is.
    File(PathBuf),
    /// A program that makes the file from a raw disk, run without a shell.
    Command(String),
}

/// Where unfinished imports are recorded.
#[derive(Clone, Debug, Default)]
pub struct JournalSpec {
    /// Directory of the journals. `None`: the default one.
    pub dir: Option<PathBuf>,
    /// The command that resumes the import.
    pub command: Vec<String>,
}

/// How many parts are sent at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Concurrency {
    /// As many as are worth it.
    #[default]
    Auto,
    /// So many.
    Fixed(usize),
}

impl Concurrency {
    /// The most that can be sent at the same time.
    #[must_use]
    pub fn most(self) -> usize {
        match self {
            Self::Auto => obs::MOST_IN_FLIGHT,
            Self::Fixed(parts) => parts,
        }
    }
}

impl FromStr for Concurrency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            (_, Ok(parts @ 1..=64)) => Ok(Self::Fixed(parts)),
            _ => Err("expected auto, or a number from 1 to 64".into()),
        }
    }
}

impl ImportSpec {
    /// The import of `disk` as the image `name`, through `bucket`, with defaults for the rest.
    #[must_use]
    pub fn new(
        disk: impl Into<SourceDisk>,
        name: impl Into<String>,
        bucket: impl Into<String>,
    ) -> Self {
        Self {
            disk: disk.into(),
            open: OpenOptions::default(),
            force_share: false,
            ignore_manifest: false,
            pipe_size: None,
            verify_holes: false,
            discard_free: None,
            bucket: bucket.into(),
            key: None,
            if_exists: IfExists::Adopt,
            target: Target::Zvhd2,
            bitmap: BitmapSpec::Own,
            name: name.into(),
            kind: ImageKind::Ecs,
            os_version: None,
            os_type: None,
            min_disk: None,
            architecture: None,
            firmware: None,
            tags: Vec::new(),
            description: None,
            enterprise_project_id: None,
            register: Register::Auto,
            base: None,
            min_part: obs::MIN_PART_SIZE,
            warm: None,
            prepare: false,
            cmk_id: None,
            data_disks: Vec::new(),
            skip_checks: Vec::new(),
            guest_check: GuestCheck::Default,
            allowed_rules: Vec::new(),
            wait: true,
            timeout: Duration::from_secs(3600),
            journal: None,
            restart: false,
            work: PlanOptions::default(),
            concurrency: Concurrency::Auto,
        }
    }

    /// Whether the image is registered.
    pub(super) fn registers(&self) -> bool {
        self.register != Register::None
    }

    /// Whether a generation of a migration is made, and no image.
    pub(super) fn is_generation(&self) -> bool {
        self.warm.is_some_and(|warm| !warm.cutover)
    }

    /// What of the file is read, if not just its disk: an import that is resumed must read the
    /// same. The words are those of journals.
    pub(super) fn part(&self) -> Option<&str> {
        // Snapshots are part of qcow2, where the bitmaps of VHD have no effect.
        let whole = self
            .open
            .ignore_vhd_bitmaps
            .then_some("--vhd-bitmap ignore");
        self.open.snapshot.as_deref().or(whole)
    }

    /// The request that registers the image, with defaults from the disk: `min_disk` from its
    /// virtual size, the key from the name.
    pub(super) fn request(&self, virtual_size: u64) -> QuickImport {
        let url = ImageUrl {
            bucket: self.bucket.clone(),
            key: self.key_or_default(),
        };
        let min_disk = self
            .min_disk
            .unwrap_or_else(|| u32::try_from(ims::min_disk_gib(virtual_size)).unwrap_or(u32::MAX));
        let mut request = QuickImport::new(self.name.clone(), url, min_disk);
        request.os_version.clone_from(&self.os_version);
        request.os_type = self.os_type;
        request.kind = self.kind;
        request.description.clone_from(&self.description);
        request.tags.clone_from(&self.tags);
        request.architecture = self.architecture;
        request.firmware = self.firmware;
        request
            .enterprise_project_id
            .clone_from(&self.enterprise_project_id);
        request
    }

    /// The key that was given, or one made from the name.
    pub(super) fn key_or_default(&self) -> String {
        self.key
            .clone()
            .unwrap_or_else(|| default_key(&self.name, self.target))
    }
}

/// The name as a key: the service takes no spaces in keys, and names have no slashes.
fn default_key(name: &str, target: Target) -> String {
    let stem: String = name
        .chars()
        .map(|c| match c {
            c if c.is_alphanumeric() || matches!(c, '-' | '.' | '_') => c,
            _ => '-',
        })
        .collect();
    format!("{stem}.{}", target.name())
}

/// Key of the object of data disk `number`, beside that of the system's disk.
pub(super) fn data_key(system: &str, number: u32, disk: &Path, converts: bool) -> String {
    let file = if converts {
        Path::new("disk.zvhd2")
    } else {
        disk
    };
    key_for(system, &format!("-data{number}"), file)
}

/// `base` with `suffix`, and with the extension of the file that is uploaded.
pub(super) fn key_for(base: &str, suffix: &str, file: &Path) -> String {
    let stem = match base.rsplit_once('.') {
        Some((stem, extension)) if !extension.contains('/') && !suffix.is_empty() => stem,
        _ => base.strip_suffix(".zvhd2").unwrap_or(base),
    };
    match file.extension().and_then(|extension| extension.to_str()) {
        Some(extension) if extension.chars().all(|c| c.is_ascii_alphanumeric()) => {
            format!("{stem}{suffix}.{extension}")
        }
        _ => format!("{stem}{suffix}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_makes_a_key_without() {
        let key = |target| default_key("web server 01", target);
        assert_eq!(key(Target::Zvhd2), "web-server-01.zvhd2");
        assert_eq!(key(Target::Raw), "web-server-01.raw");
    }

    #[test]
    fn keys_have_the_extension_of_the_file_that_is_uploaded() {
        let of = |base, suffix, file: &str| key_for(base, suffix, Path::new(file));
        assert_eq!(of("web.01.zvhd2", "", "disk.qcow2"), "web.01.qcow2");
        assert_eq!(of("web.zvhd2", "", "disk"), "web");
        assert_eq!(of("a.b/web.raw", "-data1", "d.vhd"), "a.b/web-data1.vhd");
        assert_eq!(of("a.b/web", "-data2", "d"), "a.b/web-data2");
    }

    #[test]
    fn concurrency_is_auto_or_a_number() {
        assert_eq!("auto".parse(), Ok(Concurrency::Auto));
        assert_eq!("7".parse(), Ok(Concurrency::Fixed(7)));
        assert!("0".parse::<Concurrency>().is_err());
        assert!("65".parse::<Concurrency>().is_err());
    }
}
