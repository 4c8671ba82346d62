//! Uploads that were started and neither completed nor aborted, and their parts.

use std::collections::BTreeMap;

use aws_sdk_s3::types::EncodingType;
use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::classify::from_sdk;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::etag::unquoted;
use crate::names;
use crate::part_log::ListedPart;
use crate::parts;

/// Entries of a listing that are asked for at a time: an answer with the longest keys, encoded,
/// still fits the cap of an answer.
pub(crate) const PAGE: i32 = 200;
/// Most uploads that are listed; more are an error.
const MOST: usize = 100_000;

/// An upload whose parts are stored and billed without an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenUpload {
    /// The key that the object would have.
    pub key: String,
    /// The server's id of the upload.
    pub upload_id: String,
    /// When it was started, in seconds since 1970, if the server reports it.
    pub initiated: Option<i64>,
    /// Storage class of its parts, if the server reports it.
    pub storage_class: Option<String>,
}

/// A key in a listing, decoded where the server says that it is percent-encoded.
pub(crate) fn decoded(key: &str, encoding: Option<&EncodingType>) -> String {
    if encoding != Some(&EncodingType::Url) {
        return key.to_owned();
    }
    // As in forms: a plus sign is `%2B`.
    let spaced = key.replace('+', " ");
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(key) => key.into_owned(),
        Err(_) => key.to_owned(),
    }
}

impl Client {
    /// All open uploads of `bucket` whose keys begin with `prefix`, as the server sorts them.
    ///
    /// # Errors
    /// What the server says; [`ErrorKind::Server`] when its pages lead nowhere.
    pub async fn list_uploads(
        &self,
        bucket: &str,
        prefix: Option<&str>,
    ) -> Result<Vec<OpenUpload>, Error> {
        self.check_bucket_name(bucket)?;
        let what = format!("listing the uploads of {bucket}");
        let mut uploads = Vec::new();
        let mut after: Option<(String, String)> = None;
        loop {
            let page = self
                .call(self.policy(), &what, |_| {
                    let (key, id) = after.clone().unzip();
                    // No encoding-type: Ceph would encode the keys and not say so.
                    let request = self
                        .s3()
                        .list_multipart_uploads()
                        .bucket(bucket)
                        .set_prefix(prefix.map(str::to_owned))
                        .set_key_marker(key)
                        .set_upload_id_marker(id)
                        .max_uploads(PAGE);
                    async move { request.send().await.map_err(from_sdk) }
                })
                .await
                .map_err(|error| error.doing(what.clone()))?;
            let decoded = |key: &str| decoded(key, page.encoding_type());
            uploads.extend(page.uploads().iter().filter_map(|upload| {
                Some(OpenUpload {
                    key: decoded(upload.key()?),
                    upload_id: upload.upload_id()?.to_owned(),
                    initiated: upload.initiated().map(|time| time.secs()),
                    storage_class: upload
                        .storage_class()
                        .map(|class| class.as_str().to_owned()),
                })
            }));
            if page.is_truncated() != Some(true) {
                return Ok(uploads);
            }
            let next = match (page.next_key_marker(), page.next_upload_id_marker()) {
                (Some(key), id) => (decoded(key), id.unwrap_or_default().to_owned()),
                (None, _) => (String::new(), String::new()),
            };
            if uploads.len() > MOST || next.0.is_empty() || after.as_ref() == Some(&next) {
                return Err(Error::new(
                    ErrorKind::Server,
                    format!("the list does not end after {} uploads", uploads.len()),
                )
                .doing(what)
                .with_hint("narrow the list with a prefix: obs://bucket/prefix"));
            }
            after = Some(next);
        }
    }

    /// The parts that the server has of an upload, ascending.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when the server does not know the upload; what the server says.
    pub async fn list_parts(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
    ) -> Result<Vec<ListedPart>, Error> {
        self.check_bucket_name(bucket)?;
        names::check_key(key)?;
        let what = format!("listing the parts of {bucket}/{key}");
        let wrong = |message: String| Err(Error::new(ErrorKind::Server, message).doing(&what));
        // Some servers do not sort.
        let mut parts: BTreeMap<u32, ListedPart> = BTreeMap::new();
        let mut marker: Option<u32> = None;
        loop {
            let page = self
                .call(self.policy(), &what, |_| async move {
                    let request = self
                        .s3()
                        .list_parts()
                        .bucket(bucket)
                        .key(key)
                        .upload_id(upload_id)
                        .max_parts(1000)
                        .set_part_number_marker(marker.map(|number| number.to_string()));
                    request.send().await.map_err(from_sdk)
                })
                .await
                .map_err(|error: Error| error.doing(&what))?;
            let before = parts.len();
            for part in page.parts() {
                let Some(listed) = listed(part) else {
                    return wrong("the list has a part without a number or a size".into());
                };
                if !(1..=parts::MAX_PARTS).contains(&listed.number) {
                    return wrong(format!("the list has a part {}", listed.number));
                }
                parts.insert(listed.number, listed);
            }
            if !page.is_truncated().unwrap_or(false) {
                return Ok(parts.into_values().collect());
            }
            // Each page must get on, or the list would never end.
            if parts.len() == before {
                return wrong("the list is truncated, but its next page adds nothing".into());
            }
            let told = page.next_part_number_marker();
            let told = told
                .and_then(|marker| marker.parse().ok())
                .filter(|marker| *marker > 0);
            marker = told.or_else(|| parts.keys().next_back().copied());
        }
    }
}

fn listed(part: &aws_sdk_s3::types::Part) -> Option<ListedPart> {
    Some(ListedPart {
        number: u32::try_from(part.part_number()?).ok()?,
        size: u64::try_from(part.size()?).ok()?,
        etag: part.e_tag().map(unquoted).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_decoded_only_where_the_server_says_that_it_encoded_them() {
        let url = Some(&EncodingType::Url);
        assert_eq!(decoded("a%1B%5B31m+b%2Bc", url), "a\u{1b}[31m b+c");
        assert_eq!(decoded("100%25", url), "100%");
        assert_eq!(decoded("a%1B+b", None), "a%1B+b");
        // What is no UTF-8 stays as it is.
        assert_eq!(decoded("a%FF+", url), "a%FF+");
    }
}
