//! Hints about an import in options of `import`.

use std::ffi::OsStr;

use cloud::ImportHint as Import;
use diskimg::text::shell_word;

/// What the user can do about an import, in words.
pub(super) fn text(hint: &Import) -> String {
    match hint {
        Import::ReplaceObject => "pass --if-exists replace to replace it, or another key with --key",
        Import::ReplaceUpload => "pass --force to replace it, or choose another key",
        Import::Restart => "start over with --restart",
        Import::RestartAndReplace => "start over with --restart --if-exists replace",
        Import::UseQuickImport => "pass --register quick, which converts the disk",
        Import::UseQuickImportUnencrypted => "pass --register quick, which converts the disk, without --cmk-id",
        Import::UseCommonImport => "pass --register common, or omit these options",
        Import::LeaveRawOut => "omit --to raw and bitmap files, or import the data disks alone with --type DataImage",
        Import::ImportDataDisksAlone => "import data disks alone with --type DataImage",
        Import::ConvertDiskOfPackage { package, disks } => {
            let disks: Vec<String> = disks.iter().map(|disk| disk_option(disk)).collect();
            return format!(
                "convert one of its disks, and give that file: imgferry convert {} disk.zvhd2 {}",
                package.as_deref().unwrap_or("PACKAGE"),
                disks.join(", or ")
            );
        }
        Import::MergeFiles => "make one file of it first: imgferry convert --allow-backing DIR IMAGE DISK.zvhd2",
        Import::MoreMemoryForBatch => "pass a larger --memory: a disk gets what the program and the tables of the batch leave",
        Import::NameFile => "name the file instead of -",
        Import::ShareDisk => "shut the machine down, or take a snapshot and read that; --force-share reads the disk anyway",
        Import::ListImages => "imgferry image list shows the images",
        Import::RenameForKey(key) => {
            return format!(
                "choose another name with --name NEW --key {key}; the object is not uploaded again"
            );
        }
        Import::FindImage(name) => {
            return format!(
                "look for the image before trying again: imgferry image list --name '{name}'"
            );
        }
        Import::SetFirmware { image, firmware } => {
            return format!("imgferry image set {image} --firmware {firmware}");
        }
        Import::ListUploads(bucket) => return format!("imgferry uploads list {bucket}"),
        Import::Correct { how, field } => {
            let option = option_for(field).map(|option| format!(" ({option})"));
            return format!("{how}{}", option.unwrap_or_default());
        }
        Import::ImportAsDataImage => {
            "make sure that this is a disk; pass --type DataImage if it only holds data"
        }
        Import::UseFirmware { firmware, or } => {
            let or = or.map_or_else(String::new, |or| format!(", or {or}"));
            return format!("pass --firmware {firmware}{or}");
        }
        Import::WaitOrRename => "wait until it is active, or choose another name with --name",
        Import::FreeName => {
            "pass --if-exists skip to leave it as it is, --if-exists replace to rename it, or \
             another name with --name"
        }
        Import::ChooseOsVersion(names) if names.is_empty() => {
            "list the names with 'imgferry os-versions'"
        }
        Import::ChooseOsVersion(names) => {
            let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
            return format!("pass --os-version {}", names.join(" or "));
        }
        Import::MatchRegion => {
            "name a bucket of the same region with --bucket, or another region with --region"
        }
        Import::GiveMinDisk => "name at least its size in GiB, such as --min-disk 40",
        Import::RunSandboxAlone => {
            "run 'imgferry sandbox --dir DIR' beside it, and leave --sandbox out"
        }
        Import::LeaveSizeOut => "leave --size out: a file tells its size, and so does a server",
        Import::ListOsVersions(tag) => {
            return format!("list those that fit with 'imgferry os-versions --tag {tag}'");
        }
        Import::ReadWholeDisk => "leave --changed-by out, which reads the whole disk",
        Import::ImportWithoutBase => "leave --base out, which sends the whole disk",
        Import::LeaveBaseOrWarm => "leave --base out, or --warm and --cutover",
        Import::LeaveRawOrWarm => "leave --to raw out, or --warm and --cutover",
        Import::NameKey => "choose another key for the new object with --key",
        Import::MakeRaw => "pass --to raw, or omit the bitmap file",
        Import::LeaveRawOrSave => "leave --to out, or save the disk to a raw file first",
        Import::MendGuest { commands, rule } => {
            // What is a comment is an explanation, which 'imgferry inspect' prints.
            let typed: Vec<&str> = commands
                .iter()
                .map(String::as_str)
                .filter(|command| !command.starts_with('#'))
                .collect();
            let mend = match typed.is_empty() {
                true => "'imgferry inspect' says what to do in the guest".to_owned(),
                false => format!("type in the guest: {}", typed.join("; ")),
            };
            return format!("{mend}; or pass --allow {rule}");
        }
        Import::InspectGuest { disk, rules } => {
            let allow: Vec<String> = rules.iter().map(|rule| format!("--allow {rule}")).collect();
            return format!(
                "list what to type in the guest: imgferry inspect {}; or pass {}",
                disk.as_deref().unwrap_or("DISK"),
                allow.join(" ")
            );
        }
    }
    .to_owned()
}

/// The option that names a disk of a package.
pub(super) fn disk_option(member: &str) -> String {
    let word = shell_word(OsStr::new(member)).unwrap_or_else(|| member.to_owned());
    format!("--disk {word}")
}

/// The option that sets a field of the request.
fn option_for(field: &str) -> Option<&'static str> {
    Some(match field {
        "name" => "--name",
        "image_url.bucket" => "--bucket",
        "image_url.key" => "--key",
        "min_disk" => "--min-disk",
        "os_version" => "--os-version",
        "os_type" => "--os-type",
        "description" => "--description",
        "tags" => "--tag",
        "architecture" => "--architecture",
        "firmware" => "--firmware",
        "file" => "--register quick",
        _ => return None,
    })
}
