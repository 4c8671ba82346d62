//! Copies on the server: UploadPartCopy and CopyObject.

use std::ops::Range;

use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopyPartResult, ETag, UploadPartCopyInput,
    UploadPartCopyOutput,
};
use s3s::dto::{CopySource, MetadataDirective};
use s3s::{S3Result, s3_error};
use tempfile::NamedTempFile;

use super::conditions::check_reading;
use super::error::disk;
use super::multipart::check_part_number;
use super::objects::{Inner, Object};
use super::receive::{MAX_BODY, Received};
use crate::sparse;

impl Inner {
    /// Makes a part of an object, or of a range of one.
    pub(super) fn copy_part(&self, input: &UploadPartCopyInput) -> S3Result<UploadPartCopyOutput> {
        check_part_number(input.part_number)?;
        self.bucket_dir(&input.bucket)?;
        self.uploads
            .meta(&input.bucket, &input.key, &input.upload_id)?;
        if self.faults.refuses_copies() {
            return Err(s3_error!(NotImplemented, "this server copies no parts"));
        }
        let source = self.source(&input.copy_source)?;
        check_reading(
            &source,
            &input.copy_source_if_match,
            &input.copy_source_if_none_match,
        )?;
        let range = match &input.copy_source_range {
            None => 0..source.size,
            Some(range) => inside(range, source.size)?,
        };
        let copied = self.copied(&source, range)?;
        let etag = copied.md5.clone();
        self.uploads
            .add_part(&input.upload_id, input.part_number, copied.into())?;
        Ok(UploadPartCopyOutput {
            copy_part_result: Some(CopyPartResult {
                e_tag: Some(ETag::Strong(etag)),
                last_modified: Some(std::time::SystemTime::now().into()),
                ..CopyPartResult::default()
            }),
            ..UploadPartCopyOutput::default()
        })
    }

    /// Makes an object of another one.
    pub(super) fn copy_object(&self, input: CopyObjectInput) -> S3Result<CopyObjectOutput> {
        self.object_path(&input.bucket, &input.key)?;
        let source = self.source(&input.copy_source)?;
        check_reading(
            &source,
            &input.copy_source_if_match,
            &input.copy_source_if_none_match,
        )?;
        let replaced = input
            .metadata_directive
            .as_ref()
            .is_some_and(|directive| directive.as_str() == MetadataDirective::REPLACE);
        let mut attributes = source.meta.attributes.clone();
        if replaced {
            attributes.content_type = input.content_type;
            attributes.metadata = input.metadata.unwrap_or_default();
        }
        let size = source.size;
        let copied = self.copied(&source, 0..size)?;
        let etag = copied.md5;
        self.commit(
            &input.bucket,
            &input.key,
            copied.file,
            etag.clone(),
            None,
            attributes,
        )?;
        Ok(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult {
                e_tag: Some(ETag::Strong(etag)),
                last_modified: Some(std::time::SystemTime::now().into()),
                ..CopyObjectResult::default()
            }),
            ..CopyObjectOutput::default()
        })
    }

    fn source(&self, source: &CopySource) -> S3Result<Object> {
        match source {
            CopySource::Bucket {
                bucket,
                key,
                version_id: None,
            } => self.object(bucket, key),
            _ => Err(s3_error!(
                NotImplemented,
                "copy sources other than BUCKET/KEY"
            )),
        }
    }

    /// `range` of `source` in a file of its own, with holes where the source has them.
    fn copied(&self, source: &Object, range: Range<u64>) -> S3Result<Received> {
        let len = range.end.saturating_sub(range.start);
        if len > MAX_BODY {
            return Err(s3_error!(
                EntityTooLarge,
                "{len} bytes are more than the {MAX_BODY} of one request"
            ));
        }
        let copy = || {
            let file = NamedTempFile::new_in(self.layout.tmp())?;
            file.as_file().set_len(len)?;
            sparse::copy(&source.file, range.clone(), file.as_file(), 0)?;
            // What was put in one piece has the MD5 of its bytes as its ETag.
            let whole = source.meta.upload_id.is_none() && len == source.size;
            let md5 = match whole {
                true => source.meta.etag.clone(),
                false => hex::encode(sparse::md5(&source.file, range)?),
            };
            Ok(Received { file, md5 })
        };
        copy().map_err(disk("copy the object"))
    }
}

/// The range `bytes=FIRST-LAST`, which must lie inside an object of `size` bytes.
fn inside(range: &str, size: u64) -> S3Result<Range<u64>> {
    let numbers = range
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'));
    let parsed = numbers.and_then(|(first, last)| {
        let first: u64 = first.parse().ok()?;
        let end = last.parse::<u64>().ok()?.checked_add(1)?;
        (first < end && end <= size).then_some(first..end)
    });
    parsed.ok_or_else(|| {
        s3_error!(
            InvalidArgument,
            "the range {range:?} is not bytes=FIRST-LAST inside the {size} bytes of the source"
        )
    })
}
