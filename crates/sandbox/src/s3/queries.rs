//! What a request may ask for in its query.
//!
//! A sub-resource turns a request into another one: `PUT /bucket/key?truncate` is no upload. One
//! that is not known here must never be taken for the request without it.

use hyper::Method;
use s3s::{S3Result, s3_error};
use url::form_urlencoded;

/// Sub-resources of OBS that the sandbox does not have.
///
/// Source: OBS API reference, obs_04_0010 (the sub-resources that a signature covers) and the pages
/// of the calls; `apiversion` is what Huawei's SDKs ask for, the last line what S3 has beside them.
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

/// Sub-resources that stand for an operation of their own, with the operations that have them.
/// Elsewhere they would be overlooked.
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

/// The parameters of a signature in the query.
const SIGNATURE: &[&str] = &[
    "X-Amz-Algorithm",
    "X-Amz-Content-Sha256",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
    "AWSAccessKeyId",
    "Expires",
    "Signature",
    "x-amz-security-token",
];

/// Refuses what would be misunderstood: sub-resources that are not here, and whatever the operation
/// does not have where a request changes something.
pub(super) fn check(operation: &str, method: &Method, query: &str) -> S3Result<()> {
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
        let misplaced = match owners {
            Some((_, operations)) => !operations.contains(&operation),
            None => changes(method) && !is_parameter(&name, operation),
        };
        if misplaced {
            // Seen by a user of OBS whose SDK adds `x-id`: aws/aws-sdk-go-v2, issue 2834.
            return Err(s3_error!(
                NoSuchKey,
                "{operation} does not have the query parameter {name:?}"
            ));
        }
    }
    Ok(())
}

fn changes(method: &Method) -> bool {
    method == Method::PUT || method == Method::POST
}

/// Whether a request that changes something may have the parameter.
fn is_parameter(name: &str, operation: &str) -> bool {
    let multipart = ["CreateMultipartUpload", "CompleteMultipartUpload"];
    SIGNATURE.contains(&name) || (name == "encoding-type" && multipart.contains(&operation))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(operation: &str, method: &Method, query: &str) -> String {
        match check(operation, method, query) {
            Ok(()) => "fine".to_owned(),
            Err(error) => error.code().as_str().to_owned(),
        }
    }

    #[test]
    fn every_sub_resource_that_is_not_here_is_refused_with_every_method() {
        let methods = [
            Method::GET,
            Method::HEAD,
            Method::PUT,
            Method::POST,
            Method::DELETE,
        ];
        for name in NOT_HERE {
            for method in &methods {
                let found = code("PutObject", method, &format!("{name}=x"));
                assert_eq!(found, "NotImplemented", "{method} {name}");
            }
        }
        assert_eq!(
            code("GetObject", &Method::GET, "storageclass"),
            "NotImplemented"
        );
        assert_eq!(
            code("PutObject", &Method::PUT, "meta%64ata"),
            "NotImplemented"
        );
        assert_eq!(
            code("GetObject", &Method::GET, "versionId=7"),
            "NotImplemented"
        );
        assert_eq!(code("GetObject", &Method::GET, "versionId=null"), "fine");
    }

    #[test]
    fn parameters_of_another_operation_are_refused() {
        for (operation, method, query) in [
            ("PutObject", Method::PUT, "uploads"),
            ("PutObject", Method::PUT, "partNumber=1"),
            ("PutObject", Method::PUT, "x-id=PutObject"),
            (
                "UploadPart",
                Method::PUT,
                "partNumber=1&uploadId=x&x-id=UploadPart",
            ),
            ("CreateBucket", Method::PUT, "delete"),
            ("DeleteObject", Method::DELETE, "partNumber=1"),
            ("GetObject", Method::GET, "partNumber=1"),
        ] {
            assert_eq!(code(operation, &method, query), "NoSuchKey", "{query}");
        }
    }

    #[test]
    fn operations_have_their_parameters_and_reading_ignores_others() {
        for (operation, method, query) in [
            ("UploadPart", Method::PUT, "partNumber=1&uploadId=x"),
            ("CreateMultipartUpload", Method::POST, "uploads"),
            (
                "CompleteMultipartUpload",
                Method::POST,
                "uploadId=x&encoding-type=url",
            ),
            (
                "ListObjects",
                Method::GET,
                "prefix=a&delimiter=/&x-id=ListObjects",
            ),
            (
                "PutObject",
                Method::PUT,
                "X-Amz-Signature=x&X-Amz-Expires=1",
            ),
        ] {
            assert_eq!(code(operation, &method, query), "fine", "{query}");
        }
    }
}
