//! Checks of uploads before their body is read, and what is kept of their headers.

use std::collections::HashMap;

use s3s::dto::{PutObjectInput, StorageClass, UploadPartInput};
use s3s::{S3Result, s3_error};

use super::attributes::Attributes;
use super::multipart::check_part_number;
use super::objects::Inner;
use super::receive::MAX_BODY;

/// What can be checked before the body is read; what is kept of the headers.
pub(super) fn check_put_object(store: &Inner, input: &PutObjectInput) -> S3Result<Attributes> {
    check_length(input.content_length)?;
    store.object_path(&input.bucket, &input.key)?;
    attributes(
        store,
        &input.bucket,
        input.storage_class.clone(),
        input.content_type.clone(),
        input.metadata.clone(),
    )
}

/// What can be checked before the body is read.
pub(super) fn check_upload_part(store: &Inner, input: &UploadPartInput) -> S3Result<()> {
    if store.faults.refuse_upload_part() {
        return Err(s3_error!(SlowDown, "injected fault"));
    }
    check_part_number(input.part_number)?;
    check_length(input.content_length)?;
    store.bucket_dir(&input.bucket)?;
    store
        .uploads
        .meta(&input.bucket, &input.key, &input.upload_id)?;
    Ok(())
}

/// What is kept of the headers that describe an object.
pub(super) fn attributes(
    store: &Inner,
    bucket: &str,
    storage_class: Option<StorageClass>,
    content_type: Option<String>,
    metadata: Option<HashMap<String, String>>,
) -> S3Result<Attributes> {
    let storage_class = match storage_class {
        Some(class) if matches!(class.as_str(), "STANDARD" | "STANDARD_IA" | "GLACIER") => {
            class.as_str().to_owned()
        }
        Some(class) => {
            return Err(s3_error!(
                InvalidStorageClass,
                "the storage class {:?} is not one of STANDARD, STANDARD_IA, GLACIER",
                class.as_str()
            ));
        }
        None => store.storage_class(bucket)?,
    };
    Ok(Attributes {
        storage_class,
        content_type,
        metadata: metadata.unwrap_or_default(),
    })
}

/// Refuses a body that says that it is too long, before it is sent.
fn check_length(length: Option<i64>) -> S3Result<()> {
    match length.map(u64::try_from) {
        Some(Ok(length)) if length > MAX_BODY => Err(s3_error!(
            EntityTooLarge,
            "{length} bytes are more than the {MAX_BODY} of one request"
        )),
        _ => Ok(()),
    }
}
