//! Hints in the words of this program: its options and commands.

mod import;
pub(crate) mod keys;

use cloud::{Hint, Origin, Problem, Setting};

/// Addresses that together make a cloud of their own.
const ADDRESSES: &str = "--iam-endpoint, --ims-endpoint and --obs-endpoint";

/// What the user can do, in words.
pub(crate) fn text(hint: &Hint) -> String {
    let words = match hint {
        Hint::Text(text) => text.as_ref(),
        Hint::Disk(hint) => return disk(hint),
        Hint::Convert(hint) => return convert(hint),
        Hint::Storage(hint) => return storage(hint),
        Hint::Journal(hint) => return journal(*hint),
        Hint::Images(hint) => return images(hint),
        Hint::Import(hint) => return import::text(hint),
        Hint::CheckStorageAddress => "check --obs-endpoint, --region and HTTPS_PROXY",
        Hint::CheckServiceAddresses => {
            "check --iam-endpoint, --ims-endpoint, --region and HTTPS_PROXY"
        }
        Hint::CheckKeys => {
            "check the keys with 'imgferry config check', and their rights to the bucket"
        }
        Hint::GiveRegion => "pass --region, set HW_REGION_NAME, or write the region into a profile",
        Hint::GiveCredentials => {
            "set HW_ACCESS_KEY and HW_SECRET_KEY, or HW_USER_NAME, HW_USER_PASSWORD and \
             HW_DOMAIN_NAME, or write them into a profile (see imgferry config example), or pass \
             --os-cloud or --agency"
        }
        Hint::GiveOperator => {
            return format!("name the operator of the cloud with --cloud, or pass {ADDRESSES}");
        }
        Hint::ChangeOperator(Some(cloud)) => {
            return format!("pass --cloud {cloud}, another region, or {ADDRESSES}");
        }
        Hint::ChangeOperator(None) => {
            return format!("pass the right --region or --cloud, or all of {ADDRESSES}");
        }
        Hint::NameBucket => "add --bucket NAME",
        Hint::ChooseBucket(what) => return format!("name {what} with --bucket"),
        Hint::NameSandboxDir => "name its directory: --sandbox=DIR",
        Hint::KeepSandboxRunning => "omit --no-wait, or run 'imgferry sandbox' beside it",
        Hint::FollowJob(job) => return format!("imgferry job wait {job}"),
        Hint::AbortUpload { bucket, id } => {
            return format!("imgferry uploads abort {bucket} --id {id}");
        }
        Hint::RaiseMemory => "pass a larger --memory, such as 1GiB",
        Hint::ShareBatch => {
            "wait until it has ended; 'imgferry batch status MANIFEST --watch' shows it. Workers \
             that run at the same time need --claim or --shard"
        }
        Hint::RedoDisk(id) => {
            return format!(
                "give the changed disk another name in the manifest; or delete the image and its \
                 object, and pass --redo {id}"
            );
        }
        Hint::ExtendLease => "check the connection to the object storage, or pass a longer --lease",
        Hint::NameBucketOnly(bucket) => {
            return format!("name only the bucket: --upload obs://{bucket}");
        }
        Hint::NameOutputDir => "name a directory for output with --dir",
        Hint::MeasureLess => "pass a smaller --size, or --dir on another disk",
        Hint::GenerateDisk => "omit the image: a disk is generated then",
        Hint::InstallQemuImg => "install it (qemu-utils, qemu-img), or omit --against",
        Hint::CompareNothing => "omit --against",
        Hint::ChooseDisk(disks) => {
            let disks: Vec<String> = disks.iter().map(|disk| import::disk_option(disk)).collect();
            return format!("name one of its disks: {}", disks.join(", or "));
        }
        Hint::OrSkipCheck(hint, check) => {
            return format!("{}; or pass --skip-check {check}", text(hint));
        }
        Hint::RestartDisk { id, replace: false } => {
            return format!("start over with this disk: run the batch again with --redo {id}");
        }
        Hint::RestartDisk { id, replace: true } => {
            return format!(
                "start over with this disk: set if_exists: replace, and run the batch again with \
                 --redo {id}"
            );
        }
        Hint::GiveName => "give it a name: --name NAME",
        Hint::IgnoreManifest => {
            "copy or download the package again; if you know why it differs, pass --ignore-manifest"
        }
    };
    words.to_owned()
}

/// What the user can do about a disk.
pub(crate) fn disk(hint: &diskimg::Hint) -> String {
    use diskimg::Hint as Disk;
    match hint {
        Disk::Text(text) => text.clone(),
        Disk::NameFormat(formats) => {
            let options: Vec<_> = formats.iter().map(|f| format!("--format {f}")).collect();
            let options = options.join(" or ");
            format!("if you trust the file, say which it is: {options}")
        }
        Disk::OpenAsRaw => "if it really is a disk, say so: --format raw".to_owned(),
        Disk::OpenAsRawOr(advice) => {
            format!("{advice}; if it is a disk all the same, pass --format raw")
        }
        Disk::NameBackingFormat => "if you know it, say so: --backing-format FORMAT".to_owned(),
        Disk::AllowBacking { dir, or } => {
            let dir = dir.as_deref();
            let dir = dir.unwrap_or("DIR, where DIR is the directory that it is in");
            let allow = format!("if you trust the image, allow it: --allow-backing {dir}");
            or.as_ref()
                .map_or(allow.clone(), |or| format!("{allow}; or {or}"))
        }
        Disk::NameBackingDir { or } => {
            let allow = "name the directory that it is in: --allow-backing DIR";
            match or {
                Some(or) => format!("{allow}; or, {or}"),
                None => allow.to_owned(),
            }
        }
        Disk::GiveDisks(disks) => match disks.split_first() {
            None => "give its disks instead".to_owned(),
            Some((system, data)) => {
                let data: String = data.iter().map(|d| format!(" --data-disk {d}")).collect();
                format!("give its disks instead, such as: imgferry import {system}{data}")
            }
        },
        Disk::GiveSize => {
            "pass its size in bytes: --size 42949672960 or --size 40GiB (of a device: blockdev \
             --getsize64 /dev/sdX; of a file: stat -c %s disk.raw)"
                .to_owned()
        }
        Disk::CorrectSize => "pass the disk's exact size in bytes with --size".to_owned(),
        Disk::EndedAt(size) => format!(
            "check whether the program that writes the disk has failed; if the disk is complete, \
             pass --size {size}"
        ),
        Disk::ListDamage { or } => format!("imgferry inspect --check lists the damage; {or}"),
    }
}

fn convert(hint: &convert::Hint) -> String {
    use ::convert::Hint as Convert;
    match hint {
        Convert::Text(text) => text.clone().into_owned(),
        Convert::Disk(hint) => disk(hint),
        Convert::Replace => "pass --force to replace it".to_owned(),
        Convert::MoveOrReplace(command) => format!(
            "give it another name: {command}; or pass --force next time to replace what is there"
        ),
        Convert::GiveMemory(bytes) => give_memory(*bytes),
        Convert::StartOver => {
            "the source has changed, or was read with an error: start over with --restart"
                .to_owned()
        }
    }
}

fn storage(hint: &obs::Hint) -> String {
    use obs::Hint as Storage;
    match hint {
        Storage::Text(text) => text.clone().into_owned(),
        Storage::UseRegion { endpoint, region } => format!(
            "the bucket is in another region: pass --region {} and --obs-endpoint {}",
            region.as_deref().unwrap_or("REGION"),
            endpoint.as_deref().unwrap_or("URL"),
        ),
        Storage::CheckBucket => {
            "check the bucket's name, and that --region is the bucket's region".to_owned()
        }
        Storage::CheckSecretKey => {
            "check HW_SECRET_KEY, and that --obs-endpoint does not contain the bucket's name"
                .to_owned()
        }
        Storage::AllowHttp => {
            "use an https endpoint, or allow plain http (--allow-http)".to_owned()
        }
        Storage::NameEndpoint => "use the endpoint's name, or --path-style".to_owned(),
        Storage::AvoidDots => {
            "use a bucket without dots, or --path-style where the server allows it".to_owned()
        }
        Storage::PutBucketInHost => {
            "this server takes the bucket's name in the host only: omit --path-style".to_owned()
        }
        Storage::GiveMemory(bytes) => give_memory(*bytes),
    }
}

/// As `--memory` takes it: rounded up to MiB.
fn give_memory(bytes: u64) -> String {
    format!("pass --memory {}MiB", bytes.div_ceil(1 << 20))
}

fn journal(hint: journal::Hint) -> String {
    match hint {
        journal::Hint::MakeRoom => {
            "make room there, or name another place with --state-dir, and run the command again"
        }
        journal::Hint::ChooseWritable => "name a writable place with --state-dir",
        journal::Hint::WaitForOther => {
            "wait until it has ended; 'imgferry status' shows what is running"
        }
        journal::Hint::SetHome => "set HOME or XDG_STATE_HOME, or pass --state-dir",
    }
    .to_owned()
}

fn images(hint: &ims::Hint) -> String {
    let foreign = |option: &str| {
        format!(
            "open a web page in a browser and sign in to the network, or name its proxy in \
             HTTPS_PROXY; if neither is needed here, check {option}"
        )
    };
    let words = match hint {
        ims::Hint::Text(text) => text.as_ref(),
        ims::Hint::Unprotect => "the image is protected: imgferry image set ID --protected false",
        ims::Hint::ListOsVersions => {
            "the service has its own names of operating systems: imgferry os-versions lists those \
             of the region (GET /v1/cloudimages/os_version)"
        }
        ims::Hint::ExportQuick => {
            "images above 128 GB can be exported in the service's own format only: \
             --file-format quick"
        }
        ims::Hint::AcceptShared => "accept the shared image first: imgferry image accept ID",
        ims::Hint::NameProject => "name the project to share with: --project ID",
        ims::Hint::NotIam => return foreign("--iam-endpoint"),
        ims::Hint::NotIms => return foreign("--ims-endpoint"),
        ims::Hint::AllowHttp => "use an https endpoint, or allow plain http (--allow-http)",
    };
    words.to_owned()
}

/// All hints of a list, a line each.
pub(crate) fn lines(hints: &[Hint]) -> Option<String> {
    let words: Vec<String> = hints.iter().map(text).collect();
    (!words.is_empty()).then(|| words.join("\n"))
}

/// A problem with what the user can do about it, in one line.
pub(crate) fn problem(problem: &Problem) -> String {
    match &problem.hint {
        Some(hint) => format!("{}; {}", problem.message, text(hint)),
        None => problem.message.clone(),
    }
}

/// Where a setting comes from, in words. Options are called like the keys of the file.
pub(crate) fn origin(setting: &Setting) -> String {
    match &setting.origin {
        Origin::Options if setting.name == "credentials" => "command line".to_owned(),
        Origin::Options => format!("--{}", setting.name.replace('_', "-")),
        Origin::Elsewhere(words) => words.clone(),
    }
}

#[cfg(test)]
mod tests {
    use diskimg::Format;

    use super::*;

    fn assert_each(hints: impl IntoIterator<Item = (Hint, &'static str)>) {
        for (hint, words) in hints {
            let shown = text(&hint);
            assert!(shown.contains(words), "{hint:?}: {shown}");
        }
    }

    #[test]
    fn each_hint_on_disks_and_objects_names_the_option_that_helps() {
        assert_each([
            (Hint::Disk(diskimg::Hint::OpenAsRaw), "--format raw"),
            (
                Hint::Disk(diskimg::Hint::NameFormat(vec![Format::Raw, Format::Vhd])),
                "--format raw or --format vhd",
            ),
            (
                Hint::Disk(diskimg::Hint::OpenAsRawOr("unpack it".into())),
                "unpack it; if it is a disk all the same, pass --format raw",
            ),
            (
                Hint::Disk(diskimg::Hint::NameBackingFormat),
                "--backing-format FORMAT",
            ),
            (
                Hint::Disk(diskimg::Hint::AllowBacking {
                    dir: Some("/vm".into()),
                    or: Some("flatten it".into()),
                }),
                "--allow-backing /vm; or flatten it",
            ),
            (
                Hint::Disk(diskimg::Hint::NameBackingDir { or: None }),
                "--allow-backing DIR",
            ),
            (
                Hint::Disk(diskimg::Hint::GiveDisks(vec![
                    "a.vmdk".into(),
                    "b.vmdk".into(),
                ])),
                "imgferry import a.vmdk --data-disk b.vmdk",
            ),
            (Hint::Disk(diskimg::Hint::GiveSize), "--size 40GiB"),
            (Hint::Disk(diskimg::Hint::CorrectSize), "--size"),
            (Hint::Disk(diskimg::Hint::EndedAt(512)), "--size 512"),
            (
                Hint::Disk(diskimg::Hint::ListDamage {
                    or: "repair it".into(),
                }),
                "imgferry inspect --check lists the damage; repair it",
            ),
            (Hint::Convert(convert::Hint::Replace), "--force"),
            (
                Hint::Convert(convert::Hint::MoveOrReplace("mv a b".into())),
                "mv a b; or pass --force",
            ),
            (
                Hint::Convert(convert::Hint::GiveMemory((5 << 20) + 1)),
                "--memory 6MiB",
            ),
            (Hint::Convert(convert::Hint::StartOver), "--restart"),
            (
                Hint::Storage(obs::Hint::UseRegion {
                    endpoint: None,
                    region: Some("eu-de".into()),
                }),
                "--region eu-de and --obs-endpoint URL",
            ),
            (Hint::Storage(obs::Hint::CheckBucket), "--region"),
            (Hint::Storage(obs::Hint::CheckSecretKey), "--obs-endpoint"),
            (Hint::Storage(obs::Hint::AllowHttp), "--allow-http"),
            (Hint::Storage(obs::Hint::NameEndpoint), "--path-style"),
            (Hint::Storage(obs::Hint::AvoidDots), "--path-style"),
            (
                Hint::Storage(obs::Hint::PutBucketInHost),
                "omit --path-style",
            ),
            (Hint::Storage(obs::Hint::GiveMemory(1)), "--memory 1MiB"),
        ]);
    }

    #[test]
    fn each_hint_names_the_option_or_command_that_helps() {
        let job = "job-1".parse().unwrap();
        assert_each([
            (Hint::CheckStorageAddress, "--obs-endpoint"),
            (Hint::CheckServiceAddresses, "--ims-endpoint"),
            (Hint::CheckKeys, "'imgferry config check'"),
            (Hint::GiveRegion, "--region"),
            (Hint::GiveCredentials, "HW_ACCESS_KEY"),
            (Hint::GiveOperator, "with --cloud, or pass --iam-endpoint"),
            (
                Hint::ChangeOperator("otc-swiss".parse().ok()),
                "--cloud otc-swiss,",
            ),
            (Hint::ChangeOperator(None), "--region or --cloud"),
            (Hint::NameSandboxDir, "--sandbox=DIR"),
            (Hint::KeepSandboxRunning, "--no-wait"),
            (Hint::FollowJob(job), "imgferry job wait job-1"),
            (
                Hint::AbortUpload {
                    bucket: "images".into(),
                    id: "u".into(),
                },
                "imgferry uploads abort images --id u",
            ),
            (Hint::NameBucketOnly("b".into()), "--upload obs://b"),
            (Hint::NameOutputDir, "--dir"),
            (Hint::MeasureLess, "--size"),
            (Hint::InstallQemuImg, "qemu-utils"),
            (Hint::CompareNothing, "--against"),
            (Hint::Journal(journal::Hint::MakeRoom), "--state-dir"),
            (
                Hint::Journal(journal::Hint::WaitForOther),
                "'imgferry status'",
            ),
            (Hint::Journal(journal::Hint::SetHome), "XDG_STATE_HOME"),
            (
                Hint::Images(ims::Hint::Unprotect),
                "image set ID --protected false",
            ),
            (
                Hint::Images(ims::Hint::ListOsVersions),
                "imgferry os-versions",
            ),
            (Hint::Images(ims::Hint::ExportQuick), "--file-format quick"),
            (Hint::Images(ims::Hint::AcceptShared), "image accept ID"),
            (Hint::Images(ims::Hint::NameProject), "--project ID"),
            (Hint::Images(ims::Hint::NotIam), "check --iam-endpoint"),
            (Hint::Images(ims::Hint::NotIms), "check --ims-endpoint"),
            (Hint::Images(ims::Hint::AllowHttp), "--allow-http"),
        ]);
    }
}
