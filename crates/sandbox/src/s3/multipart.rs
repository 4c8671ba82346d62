//! The rules of multipart uploads.

use md5::{Digest as _, Md5};
use s3s::dto::{
    CompleteMultipartUploadInput, CompletedPart, ETag, ListMultipartUploadsInput,
    ListMultipartUploadsOutput, ListPartsInput, ListPartsOutput, MultipartUpload, Part,
    StorageClass,
};
use s3s::{S3Error, S3Result, s3_error};

use super::assembly::StoredPart;
use super::listing::{Spelling, page};
use super::objects::Inner;

/// Highest part number.
const MAX_PART_NUMBER: i32 = 10_000;

/// Least bytes of a part that is not the last: 100 KiB on OBS (5 MiB on S3).
const MIN_PART_SIZE: u64 = 100 * 1024;

/// Refuses part numbers outside of 1 to 10000.
pub(super) fn check_part_number(number: i32) -> S3Result<()> {
    if (1..=MAX_PART_NUMBER).contains(&number) {
        Ok(())
    } else {
        Err(s3_error!(
            InvalidArgument,
            "part number must be an integer between 1 and {MAX_PART_NUMBER}, inclusive"
        ))
    }
}

impl Inner {
    /// One page of the parts, ascending.
    pub(super) fn list_parts(&self, input: ListPartsInput) -> S3Result<ListPartsOutput> {
        let meta = self
            .uploads
            .meta(&input.bucket, &input.key, &input.upload_id)?;
        let (max_parts, entries) = page("max-parts", input.max_parts)?;
        let marker = input.part_number_marker.unwrap_or(0);
        let stored = self.uploads.parts(&input.upload_id)?;
        let mut rest = stored.into_values().filter(|part| part.number > marker);
        let parts = rest
            .by_ref()
            .take(entries)
            .map(|part| {
                Ok(Part {
                    part_number: Some(part.number),
                    e_tag: Some(ETag::Strong(part.etag)),
                    size: Some(i64::try_from(part.size).map_err(S3Error::internal_error)?),
                    last_modified: Some(part.modified.into()),
                    ..Part::default()
                })
            })
            .collect::<S3Result<Vec<_>>>()?;
        let last = parts.last().and_then(|part| part.part_number);
        Ok(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            storage_class: Some(StorageClass::from(meta.attributes.storage_class)),
            part_number_marker: Some(marker),
            next_part_number_marker: Some(last.unwrap_or(marker)),
            max_parts: Some(max_parts),
            is_truncated: Some(rest.next().is_some()),
            parts: Some(parts),
            ..ListPartsOutput::default()
        })
    }

    /// One page of the unfinished uploads, by key, then id.
    pub(super) fn list_uploads(
        &self,
        input: ListMultipartUploadsInput,
    ) -> S3Result<ListMultipartUploadsOutput> {
        self.bucket_dir(&input.bucket)?;
        if input.delimiter.as_ref().is_some_and(|d| !d.is_empty()) {
            return Err(s3_error!(
                NotImplemented,
                "delimiter in ListMultipartUploads"
            ));
        }
        let spelling = Spelling::of(input.encoding_type.as_ref())?;
        let (max_uploads, entries) = page("max-uploads", input.max_uploads)?;
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let key_marker = input.key_marker.as_deref().unwrap_or_default();
        let id_marker = input.upload_id_marker.as_deref().unwrap_or_default();
        // Without an id, the marker means all uploads of that key.
        let after = |key: &str, id: &str| {
            key > key_marker || (key == key_marker && !id_marker.is_empty() && id > id_marker)
        };
        let listed = self.uploads.list(&input.bucket)?;
        let mut rest = listed
            .into_iter()
            .filter(|((key, id), _)| key.starts_with(prefix) && after(key, id));
        let listed: Vec<_> = rest.by_ref().take(entries).collect();
        let last = listed.last().filter(|_| rest.next().is_some());
        let next = last.map(|(at, _)| at.clone());
        let uploads: Vec<_> = listed
            .into_iter()
            .map(|((key, id), meta)| MultipartUpload {
                key: Some(spelling.spell(key)),
                upload_id: Some(id),
                initiated: Some(meta.initiated.into()),
                storage_class: Some(StorageClass::from(meta.attributes.storage_class)),
                ..MultipartUpload::default()
            })
            .collect();
        let is_truncated = next.is_some();
        let (next_key, next_id) = next.unzip();
        Ok(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            encoding_type: input.encoding_type,
            prefix: spelling.spell_some(input.prefix),
            key_marker: spelling.spell_some(input.key_marker),
            upload_id_marker: input.upload_id_marker,
            next_key_marker: spelling.spell_some(next_key),
            next_upload_id_marker: next_id,
            max_uploads: Some(max_uploads),
            is_truncated: Some(is_truncated),
            uploads: Some(uploads),
            ..ListMultipartUploadsOutput::default()
        })
    }

    /// Turns an upload into an object; its ETag.
    pub(super) fn complete(&self, input: &CompleteMultipartUploadInput) -> S3Result<String> {
        let (bucket, key, id) = (&input.bucket, &input.key, &input.upload_id);
        let meta = self.uploads.meta(bucket, key, id)?;
        let listed = input
            .multipart_upload
            .as_ref()
            .and_then(|upload| upload.parts.as_deref())
            .unwrap_or_default();
        check_order(listed)?;
        // From here on nobody else sees the upload; if anything fails it is back.
        let completing = self.uploads.begin_completing(id)?;
        let stored = completing.parts()?;
        let mut parts = Vec::with_capacity(listed.len().min(stored.len()));
        for part in listed {
            let number = part.part_number.unwrap_or_default();
            let found = stored.get(&number);
            parts.push(check_part(part, found)?);
        }
        check_sizes(&parts, MIN_PART_SIZE.max(self.faults.min_part()))?;
        let etag = multipart_etag(&parts)?;
        let file = completing.join(&parts)?;
        self.commit(
            bucket,
            key,
            file,
            etag.clone(),
            Some(id.clone()),
            meta.attributes,
        )?;
        completing.finish();
        Ok(etag)
    }
}

/// Refuses an empty part list, and one that does not ascend.
fn check_order(listed: &[CompletedPart]) -> S3Result<()> {
    if listed.is_empty() {
        return Err(s3_error!(MalformedXML, "the part list is empty"));
    }
    let mut previous = 0;
    for part in listed {
        let number = part
            .part_number
            .ok_or_else(|| s3_error!(MalformedXML, "a part has no number"))?;
        check_part_number(number)?;
        if number <= previous {
            return Err(s3_error!(
                InvalidPartOrder,
                "the part list does not ascend: {number} follows {previous}"
            ));
        }
        previous = number;
    }
    Ok(())
}

/// The part that is meant, if it is there with that ETag.
fn check_part<'a>(
    listed: &CompletedPart,
    stored: Option<&'a StoredPart>,
) -> S3Result<&'a StoredPart> {
    let number = listed.part_number.unwrap_or_default();
    let stored = stored.ok_or_else(|| s3_error!(InvalidPart, "part {number} was not uploaded"))?;
    match &listed.e_tag {
        Some(etag) if etag.value().eq_ignore_ascii_case(&stored.etag) => Ok(stored),
        Some(etag) => Err(s3_error!(
            InvalidPart,
            "part {number} has ETag {:?}, not {:?}",
            stored.etag,
            etag.value()
        )),
        None => Err(s3_error!(
            InvalidPart,
            "part {number} is listed without its ETag"
        )),
    }
}

/// Every part but the last must have at least `least` bytes.
fn check_sizes(parts: &[&StoredPart], least: u64) -> S3Result<()> {
    let Some((_, all_but_last)) = parts.split_last() else {
        return Ok(());
    };
    match all_but_last.iter().find(|part| part.size < least) {
        None => Ok(()),
        Some(part) => Err(s3_error!(
            EntityTooSmall,
            "part {} has {} bytes; only the last may have less than {least}",
            part.number,
            part.size
        )),
    }
}

/// Hex MD5 of the parts' binary MD5s, and their number.
fn multipart_etag(parts: &[&StoredPart]) -> S3Result<String> {
    let mut hasher = Md5::new();
    for part in parts {
        hasher.update(hex::decode(&part.etag).map_err(S3Error::internal_error)?);
    }
    Ok(format!(
        "{}-{}",
        hex::encode(hasher.finalize()),
        parts.len()
    ))
}
