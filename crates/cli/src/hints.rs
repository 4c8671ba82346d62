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
        // A hint without words is a defect, which the tests find; its data helps all the same.
        other => format!("{other:?}"),
    }
}
