//! Listings of buckets and of objects.
//!
//! Source: OBS API reference, obs_04_0022 (listing objects) and obs_04_0097 (listing uploads).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{
    Bucket, CommonPrefix, ETag, EncodingType, ListBucketsOutput, ListObjectsInput,
    ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, Object, ObjectStorageClass,
};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::error::disk;
use super::objects::Inner;

/// Most entries of one page of a listing.
const MAX_PAGE: i32 = 1000;

/// What a percent-encoded key leaves as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// How an answer writes keys and what belongs to them: as they are, or percent-encoded, which is
/// the only form in which XML 1.0 can carry every key.
#[derive(Clone, Copy)]
pub(super) struct Spelling {
    encoded: bool,
}

impl Spelling {
    /// The spelling that a request asks for with `encoding-type`.
    pub(super) fn of(encoding: Option<&EncodingType>) -> S3Result<Self> {
        match encoding.map(EncodingType::as_str) {
            None => Ok(Self { encoded: false }),
            Some(EncodingType::URL) => Ok(Self { encoded: true }),
            Some(other) => Err(s3_error!(
                InvalidArgument,
                "encoding-type is {other:?}; the only value is \"url\""
            )),
        }
    }

    pub(super) fn spell(self, text: String) -> String {
        match self.encoded {
            true => utf8_percent_encode(&text, PLAIN).to_string(),
            false => text,
        }
    }

    pub(super) fn spell_some(self, text: Option<String>) -> Option<String> {
        text.map(|text| self.spell(text))
    }
}

/// Entries of a page: what was asked for, within the limits.
pub(super) fn page(name: &str, asked: Option<i32>) -> S3Result<(i32, usize)> {
    let asked = asked.unwrap_or(MAX_PAGE).min(MAX_PAGE);
    match usize::try_from(asked) {
        Ok(entries) => Ok((asked, entries)),
        Err(_) => Err(s3_error!(InvalidArgument, "{name} must not be negative")),
    }
}

/// What both versions of ListObjects ask for.
struct Question {
    bucket: String,
    prefix: String,
    delimiter: String,
    /// Keys and common prefixes up to here are not listed.
    after: String,
    entries: usize,
}

/// One page of the answer.
#[derive(Default)]
struct Page {
    objects: Vec<Object>,
    prefixes: Vec<CommonPrefix>,
    /// The last entry, where the next page goes on; `None` on the last page.
    next: Option<String>,
}

impl Page {
    fn len(&self) -> usize {
        self.objects.len().saturating_add(self.prefixes.len())
    }
}

impl Inner {
    /// ListBuckets.
    pub(super) fn list_buckets(&self) -> S3Result<ListBucketsOutput> {
        let mut buckets = Vec::new();
        for entry in fs::read_dir(self.layout.objects()).map_err(disk("list the buckets"))? {
            let entry = entry.map_err(disk("list the buckets"))?;
            let Some(metadata) = present(entry.metadata()).map_err(disk("list the buckets"))?
            else {
                continue;
            };
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if !metadata.is_dir() || !s3s::path::check_bucket_name(&name) {
                continue;
            }
            let created = metadata.created().or_else(|_| metadata.modified());
            buckets.push(Bucket {
                creation_date: Some(created.map_err(disk("list the buckets"))?.into()),
                // `None` for a bucket that went away meanwhile.
                bucket_region: self.bucket_region(&name).ok(),
                name: Some(name),
            });
        }
        buckets.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(ListBucketsOutput {
            buckets: Some(buckets),
            ..ListBucketsOutput::default()
        })
    }

    /// ListObjects, version 1.
    pub(super) fn list_objects(&self, input: ListObjectsInput) -> S3Result<ListObjectsOutput> {
        let spelling = Spelling::of(input.encoding_type.as_ref())?;
        let (max_keys, entries) = page("max-keys", input.max_keys)?;
        let page = self.page_of_objects(&Question {
            bucket: input.bucket.clone(),
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().unwrap_or_default(),
            after: input.marker.clone().unwrap_or_default(),
            entries,
        })?;
        Ok(ListObjectsOutput {
            name: Some(input.bucket),
            // OBS has these elements in every answer, empty or not.
            prefix: Some(spelling.spell(input.prefix.unwrap_or_default())),
            marker: Some(spelling.spell(input.marker.unwrap_or_default())),
            max_keys: Some(max_keys),
            delimiter: spelling.spell_some(input.delimiter),
            encoding_type: input.encoding_type,
            is_truncated: Some(page.next.is_some()),
            next_marker: spelling.spell_some(page.next),
            contents: Some(spelled(page.objects, spelling)),
            common_prefixes: Some(spelled_prefixes(page.prefixes, spelling)),
            ..ListObjectsOutput::default()
        })
    }

    /// ListObjects, version 2.
    pub(super) fn list_objects_v2(
        &self,
        input: ListObjectsV2Input,
    ) -> S3Result<ListObjectsV2Output> {
        let spelling = Spelling::of(input.encoding_type.as_ref())?;
        let (max_keys, entries) = page("max-keys", input.max_keys)?;
        let start = input.start_after.as_deref().unwrap_or_default();
        let page = self.page_of_objects(&Question {
            bucket: input.bucket.clone(),
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().unwrap_or_default(),
            // The token is the last entry of the page before, in hex: an opaque word.
            after: match input.continuation_token.as_deref() {
                Some(token) => decode_token(token)?,
                None => start.to_owned(),
            },
            entries,
        })?;
        let count = i32::try_from(page.len()).map_err(S3Error::internal_error)?;
        Ok(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(spelling.spell(input.prefix.unwrap_or_default())),
            max_keys: Some(max_keys),
            key_count: Some(count),
            delimiter: spelling.spell_some(input.delimiter),
            encoding_type: input.encoding_type,
            is_truncated: Some(page.next.is_some()),
            continuation_token: input.continuation_token,
            next_continuation_token: page.next.map(hex::encode),
            start_after: spelling.spell_some(input.start_after),
            contents: Some(spelled(page.objects, spelling)),
            common_prefixes: Some(spelled_prefixes(page.prefixes, spelling)),
            ..ListObjectsV2Output::default()
        })
    }

    /// One page of objects by key. Objects that go away while they are listed are left out.
    fn page_of_objects(&self, question: &Question) -> S3Result<Page> {
        let dir = self.bucket_dir(&question.bucket)?;
        let keys = keys_below(&dir, &question.prefix).map_err(disk("list the objects"))?;
        let mut page = Page::default();
        let mut last: Option<String> = None;
        for key in keys {
            let common = common_prefix(&key, question);
            let is_known = |entry: &str| entry == question.after || last.as_deref() == Some(entry);
            if key <= question.after || common.is_some_and(is_known) {
                continue;
            }
            if page.len() >= question.entries {
                page.next = last;
                return Ok(page);
            }
            match common {
                Some(prefix) => page.prefixes.push(CommonPrefix {
                    prefix: Some(prefix.to_owned()),
                }),
                None => match self.listed(&question.bucket, &key)? {
                    Some(object) => page.objects.push(object),
                    None => continue,
                },
            }
            last = Some(common.unwrap_or(&key).to_owned());
        }
        Ok(page)
    }

    /// An object as listings show it, unless it went away.
    fn listed(&self, bucket: &str, key: &str) -> S3Result<Option<Object>> {
        let object = match self.object(bucket, key) {
            Ok(object) => object,
            Err(error) => {
                return match error.code() {
                    S3ErrorCode::NoSuchKey => Ok(None),
                    // A file that somebody put there, whose path is no key.
                    S3ErrorCode::InvalidArgument | S3ErrorCode::KeyTooLongError => Ok(None),
                    _ => Err(error),
                };
            }
        };
        let class = object.meta.attributes.storage_class;
        Ok(Some(Object {
            key: Some(key.to_owned()),
            size: Some(i64::try_from(object.size).map_err(S3Error::internal_error)?),
            last_modified: Some(object.modified.into()),
            e_tag: Some(ETag::Strong(object.meta.etag)),
            storage_class: Some(ObjectStorageClass::from(class)),
            ..Object::default()
        }))
    }
}

/// The common prefix that stands for `key` in the answer, if it has the delimiter behind the
/// prefix.
fn common_prefix<'a>(key: &'a str, question: &Question) -> Option<&'a str> {
    if question.delimiter.is_empty() {
        return None;
    }
    let rest = key.strip_prefix(&question.prefix)?;
    let (before, _) = rest.split_once(&question.delimiter)?;
    let len = question.prefix.len();
    let len = len.checked_add(before.len())?;
    key.get(..len.checked_add(question.delimiter.len())?)
}

/// The keys in a bucket's directory that begin with `prefix`, ascending.
fn keys_below(bucket: &Path, prefix: &str) -> io::Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    let mut dirs: Vec<(PathBuf, String)> = vec![(bucket.to_owned(), String::new())];
    while let Some((dir, above)) = dirs.pop() {
        // A directory goes away with the last object below it.
        let Some(entries) = present(fs::read_dir(&dir))? else {
            continue;
        };
        for entry in entries {
            let Some(entry) = present(entry)? else {
                continue;
            };
            let Some(kind) = present(entry.file_type())? else {
                continue;
            };
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let key = format!("{above}{name}");
            if kind.is_dir() {
                let below = format!("{key}/");
                if below.starts_with(prefix) || prefix.starts_with(&below) {
                    dirs.push((entry.path(), below));
                }
            } else if key.starts_with(prefix) {
                keys.insert(key);
            }
        }
    }
    Ok(keys)
}

/// `None` for what is not there any more.
fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn decode_token(token: &str) -> S3Result<String> {
    hex::decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| {
            s3_error!(
                InvalidArgument,
                "the continuation token is not from this server"
            )
        })
}

fn spelled(mut objects: Vec<Object>, spelling: Spelling) -> Vec<Object> {
    for object in &mut objects {
        object.key = spelling.spell_some(object.key.take());
    }
    objects
}

fn spelled_prefixes(mut prefixes: Vec<CommonPrefix>, spelling: Spelling) -> Vec<CommonPrefix> {
    for common in &mut prefixes {
        common.prefix = spelling.spell_some(common.prefix.take());
    }
    prefixes
}
