//! Hints in the words of this program: its options and commands.

use cloud::Hint;

/// What the user can do, in words.
pub(crate) fn text(hint: &Hint) -> String {
    match hint {
        Hint::Text(text) => text.to_string(),
        Hint::CheckStorageAddress => "check --obs-endpoint, --region and HTTPS_PROXY".to_owned(),
        Hint::CheckServiceAddresses => {
            "check --iam-endpoint, --ims-endpoint, --region and HTTPS_PROXY".to_owned()
        }
        Hint::CheckKeys => {
            "check the keys with 'imgferry config check', and what they may do in the bucket"
                .to_owned()
        }
        Hint::NameSandboxDir => "name its directory: --sandbox=DIR".to_owned(),
        Hint::KeepSandboxRunning => {
            "leave --no-wait out, or run 'imgferry sandbox' beside it".to_owned()
        }
        Hint::FollowJob(job) => format!("imgferry job wait {job}"),
        Hint::AbortUpload { bucket, id } => format!("imgferry uploads abort {bucket} --id {id}"),
        Hint::NameBucketOnly(bucket) => format!("name only the bucket: --upload obs://{bucket}"),
        Hint::NameOutputDir => "name a directory for output with --dir".to_owned(),
        Hint::MeasureLess => "pass a smaller --size, or --dir on another disk".to_owned(),
        Hint::GenerateDisk => "leave the image out: a disk is generated then".to_owned(),
        Hint::InstallQemuImg => {
            "install it (qemu-utils, qemu-img), or leave --against out".to_owned()
        }
        Hint::CompareNothing => "leave --against out".to_owned(),
        // A hint without words is a defect, which the tests find; its data helps all the same.
        other => format!("{other:?}"),
    }
}
