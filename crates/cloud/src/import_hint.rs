//! What the user can do about an import, as data.

use std::fmt;

/// What the user can do about an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportHint {
    /// The object exists: replace it, or use another key.
    ReplaceObject,
    /// The object of an upload exists: replace it, or use another key.
    ReplaceUpload,
    /// The journal is of no use: start over.
    Restart,
    /// The object is of another state of the disk: start over, and replace it.
    RestartAndReplace,
    /// The file would be uploaded unchanged: convert it instead.
    UseQuickImport,
    /// The cloud has no call for this: convert the disk, and do not encrypt it.
    UseQuickImportUnencrypted,
    /// Only the common import can do this.
    UseCommonImport,
    /// Raw objects are for disks that are imported alone.
    LeaveRawOut,
    /// Data disks cannot be imported together with this system: import them alone.
    ImportDataDisksAlone,
    /// A package that was given as a data disk has several disks: convert one of these first.
    ConvertDiskOfPackage {
        /// The package, ready for a shell, if it can be.
        package: Option<String>,
        /// Its disks.
        disks: Vec<String>,
    },
    /// The image needs other files, and only one file is uploaded: convert them to one.
    MergeFiles,
    /// The disk does not fit into what a batch leaves of its memory.
    MoreMemoryForBatch,
    /// Standard input cannot be used for this: name a file.
    NameFile,
    /// A running machine writes to the disk.
    ShareDisk,
    /// The image may be there: look for it.
    ListImages,
    /// Another image has the name: choose another one, for the object with this key, which is ready
    /// for a shell.
    RenameForKey(String),
    /// Whether an image was made is not known: look for one of this name.
    FindImage(String),
    /// The firmware of an image is wrong: set it.
    SetFirmware {
        /// The image.
        image: String,
        /// What it should be.
        firmware: &'static str,
    },
    /// An upload may have been started in this bucket.
    ListUploads(String),
    /// A field of the request, by the service's name, has a value that it does not take: change it
    /// like this.
    Correct {
        /// What to change.
        how: String,
        /// The field.
        field: &'static str,
    },
    /// The disk does not look like a system's: import it as a data image if that is what it is.
    ImportAsDataImage,
    /// The disk starts by another firmware: say which, or do something else.
    UseFirmware {
        /// `bios` or `uefi`.
        firmware: &'static str,
        /// What else helps.
        or: Option<&'static str>,
    },
    /// The name belongs to an image that is being made: wait, or choose another name.
    WaitOrRename,
    /// An image has the name: leave it, rename it, or choose another name.
    FreeName,
    /// The region has no operating system of this name: use one of these, or list the names.
    ChooseOsVersion(Vec<String>),
    /// The bucket is in another region than the image.
    MatchRegion,
    /// The size of the disk is not known: say it.
    GiveMinDisk,
    /// The sandbox of this process ends with it: run one on its own.
    RunSandboxAlone,
    /// The disk tells its size: do not give one.
    LeaveSizeOut,
    /// The region has other operating systems for this: list those with this tag.
    ListOsVersions(&'static str),
    /// A raw object cannot be made of what is read front to back.
    LeaveRawOrSave,
    /// The earlier object is of no use: send the whole disk.
    ImportWithoutBase,
    /// Do not believe a bitmap about what has changed.
    ReadWholeDisk,
    /// A migration finds its base itself: leave one of both out.
    LeaveBaseOrWarm,
    /// A migration makes no raw objects: make ZVHD2, or import once.
    LeaveRawOrWarm,
    /// The earlier object would be replaced: give the new one another key.
    NameKey,
    /// Only raw objects have bitmap files: make one, or leave the bitmap file out.
    MakeRaw,
    /// The system on the disk breaks a rule: mend it, or allow it.
    MendGuest {
        /// What to type in the guest before its last shutdown.
        commands: Vec<String>,
        /// The rule.
        rule: &'static str,
    },
    /// The system on the disk breaks rules: look what to do, or allow them.
    InspectGuest {
        /// The disk as a word of a shell, when it has one.
        disk: Option<String>,
        /// The rules.
        rules: Vec<&'static str>,
    },
}

impl fmt::Display for ImportHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReplaceObject => "replace the object, or choose another key",
            Self::ReplaceUpload => "replace the object, or choose another key",
            Self::Restart => "start over",
            Self::RestartAndReplace => "start over, and replace the object",
            Self::UseQuickImport => "use quick import, which converts the disk",
            Self::UseQuickImportUnencrypted => "use quick import, without encryption",
            Self::UseCommonImport => "use common import",
            Self::LeaveRawOut => "import ZVHD2, or import the data disks alone",
            Self::ImportDataDisksAlone => "import the data disks alone",
            Self::ConvertDiskOfPackage { disks, .. } => {
                return write!(
                    f,
                    "convert one of its disks, and give that: {}",
                    disks.join(", ")
                );
            }
            Self::MergeFiles => "convert the image to one file first",
            Self::MoreMemoryForBatch => {
                "allow more memory: a disk gets what the program and the tables of the batch leave"
            }
            Self::NameFile => "name a file instead of standard input",
            Self::ShareDisk => "shut the machine down, or take a snapshot and read that",
            Self::ListImages => "list the images",
            Self::RenameForKey(_) => {
                "choose another name for the image; the object is not uploaded again"
            }
            Self::FindImage(name) => {
                return write!(f, "look for an image named {name:?} before trying again");
            }
            Self::SetFirmware { image, firmware } => {
                return write!(f, "set the firmware of image {image} to {firmware}");
            }
            Self::ListUploads(bucket) => return write!(f, "list the uploads of bucket {bucket}"),
            Self::Correct { how, .. } => how,
            Self::ImportAsDataImage => {
                "make sure that this is a disk; import it as a data image if it only holds data"
            }
            Self::UseFirmware { firmware, or } => {
                let or = or.map_or_else(String::new, |or| format!(", or {or}"));
                return write!(f, "use the firmware {firmware}{or}");
            }
            Self::WaitOrRename => "wait until it is active, or choose another name",
            Self::FreeName => "skip the import, replace the image, or choose another name",
            Self::ChooseOsVersion(names) if names.is_empty() => "list the names of the region",
            Self::ChooseOsVersion(names) => return write!(f, "use {}", names.join(" or ")),
            Self::MatchRegion => "use a bucket of the same region, or another region",
            Self::GiveMinDisk => "say how large a disk the image needs at least",
            Self::RunSandboxAlone => "run the sandbox on its own",
            Self::LeaveSizeOut => "leave the size out: a file tells it, and so does a server",
            Self::ListOsVersions(tag) => {
                return write!(f, "list the region's operating systems with the tag {tag}");
            }
            Self::ReadWholeDisk => "import without the bitmap, which reads the whole disk",
            Self::ImportWithoutBase => "import without a base, which sends the whole disk",
            Self::LeaveBaseOrWarm => "leave the base out, or import without a migration",
            Self::LeaveRawOrWarm => "make a ZVHD2 object, or import without a migration",
            Self::NameKey => "choose another key for the new object",
            Self::MakeRaw => "make a raw object, or omit the bitmap file",
            Self::LeaveRawOrSave => "import ZVHD2, or save the disk to a raw file first",
            Self::MendGuest { commands, rule } if commands.is_empty() => {
                return write!(f, "mend the system on the disk, or allow {rule}");
            }
            Self::MendGuest { commands, rule } => {
                let commands = commands.join("; ");
                return write!(f, "type in the guest: {commands}; or allow {rule}");
            }
            Self::InspectGuest { disk, rules } => {
                let disk = disk.as_deref().unwrap_or("the disk");
                return write!(f, "look into {disk}, or allow {}", rules.join(", "));
            }
        })
    }
}
