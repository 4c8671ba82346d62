//! Hints in the words of this program: its options and commands.

use cloud::{Hint, Origin, Problem, Setting};

/// Addresses that together make a cloud of their own.
const ADDRESSES: &str = "--iam-endpoint, --ims-endpoint and --obs-endpoint";

/// What the user can do, in words.
pub(crate) fn text(hint: &Hint) -> String {
    let words = match hint {
        Hint::Text(text) => text.as_ref(),
        Hint::Journal(hint) => return journal(*hint),
        Hint::Images(hint) => return images(hint),
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
        Hint::NameSandboxDir => "name its directory: --sandbox=DIR",
        Hint::KeepSandboxRunning => "leave --no-wait out, or run 'imgferry sandbox' beside it",
        Hint::FollowJob(job) => return format!("imgferry job wait {job}"),
        Hint::AbortUpload { bucket, id } => {
            return format!("imgferry uploads abort {bucket} --id {id}");
        }
        Hint::NameBucketOnly(bucket) => {
            return format!("name only the bucket: --upload obs://{bucket}");
        }
        Hint::NameOutputDir => "name a directory for output with --dir",
        Hint::MeasureLess => "pass a smaller --size, or --dir on another disk",
        Hint::GenerateDisk => "leave the image out: a disk is generated then",
        Hint::InstallQemuImg => "install it (qemu-utils, qemu-img), or leave --against out",
        Hint::CompareNothing => "leave --against out",
    };
    words.to_owned()
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
        Some(hint) => format!("{}: {}", problem.message, text(hint)),
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
