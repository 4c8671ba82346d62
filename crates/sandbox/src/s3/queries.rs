//! What a request may ask for in its query.
//!
//! A sub-resource turns a request into another one: `PUT /bucket/key?truncate` is no upload. One that is not known here
//! must never be taken for the request without it.

use s3s::{S3Result, s3_error};
use url::form_urlencoded;

/// Sub-resources of OBS that the sandbox does not have.
///
/// Source: OBS API reference, obs_04_0010 (the sub-resources that a signature covers) and the pages of the calls;
/// `apiversion` is what Huawei's SDKs ask for, the last line what S3 has beside them.
const NOT_HERE: &[&str] = &[
    "CDNNotifyConfiguration",
    "acl",
    "apiversion",
    "append",
    "attname",
    "backtosource",
    "bucketStatus",
    "cors",
    "customdomain",
    "deletebucket",
    "directcoldaccess",
    "disPolicy",
    "encryption",
    "fileinterface",
    "inventory",
    "length",
    "lifecycle",
    "logging",
    "metadata",
    "mirrorBackToSource",
    "modify",
    "name",
    "notification",
    "object-lock",
    "obscompresspolicy",
    "orchestration",
    "policy",
    "policyStatus",
    "position",
    "publicAccessBlock",
    "quota",
    "rename",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "storageClass",
    "storageinfo",
    "storagePolicy",
    "tagging",
    "torrent",
    "truncate",
    "versioning",
    "versions",
    "website",
    "worm",
    "x-image-process",
    "x-image-save-bucket",
    "x-image-save-object",
    "x-obs-accesslabel",
    "x-oss-process",
    "accelerate",
    "analytics",
    "attributes",
    "intelligent-tiering",
    "legal-hold",
    "metadataTable",
    "metrics",
    "ownershipControls",
    "session",
];

/// Sub-resources that stand for an operation of their own, with the operations that have them. Elsewhere they
/// would be overlooked.
const HERE: &[(&str, &[&str])] = &[
    ("delete", &["DeleteObjects"]),
    ("location", &["GetBucketLocation"]),
    (
        "uploads",
        &["CreateMultipartUpload", "ListMultipartUploads"],
    ),
    (
        "uploadId",
        &[
            "UploadPart",
            "UploadPartCopy",
            "ListParts",
            "CompleteMultipartUpload",
            "AbortMultipartUpload",
        ],
    ),
    ("partNumber", &["UploadPart", "UploadPartCopy"]),
];

/// Refuses what would be misunderstood: sub-resources that are not here, or not in this operation.
pub(super) fn check(operation: &str, query: &str) -> S3Result<()> {
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let is = |other: &&str| other.eq_ignore_ascii_case(&name);
        if let Some(known) = NOT_HERE.iter().find(|other| is(other)) {
            return Err(s3_error!(
                NotImplemented,
                "the sandbox does not have the sub-resource {known:?}"
            ));
        }
        // Without versions there is one, whose id is `null`.
        if is(&"versionId") && value != "null" {
            return Err(s3_error!(NotImplemented, "the sandbox has no versions"));
        }
        let owners = HERE.iter().find(|(other, _)| is(other));
        if owners.is_some_and(|(_, operations)| !operations.contains(&operation)) {
            return Err(s3_error!(
                NoSuchKey,
                "{operation} does not have the query parameter {name:?}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(operation: &str, query: &str) -> String {
        match check(operation, query) {
            Ok(()) => "fine".to_owned(),
            Err(error) => error.code().as_str().to_owned(),
        }
    }

    #[test]
    fn sub_resources_that_are_not_here_are_refused() {
        for name in NOT_HERE {
            assert_eq!(code("PutObject", &format!("{name}=x")), "NotImplemented");
        }
        for query in ["storageclass", "meta%64ata", "versionId=7"] {
            assert_eq!(code("GetObject", query), "NotImplemented", "{query}");
        }
        assert_eq!(code("GetObject", "versionId=null"), "fine");
    }

    #[test]
    fn sub_resources_of_another_operation_are_refused() {
        for (operation, query) in [
            ("PutObject", "uploads"),
            ("PutObject", "partNumber=1"),
            ("CreateBucket", "delete"),
            ("DeleteObject", "partNumber=1"),
        ] {
            assert_eq!(code(operation, query), "NoSuchKey", "{query}");
        }
        assert_eq!(code("UploadPart", "partNumber=1&uploadId=x"), "fine");
    }
}
