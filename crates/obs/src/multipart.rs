//! The four requests of a multipart upload, each tried again by its own rules.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, StorageClass};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use net::retry::{Policy, Verdict};

use crate::classify::from_sdk;
use crate::client::Client;
use crate::confirmed::{Confirmed, Expected, check_doubtful};
use crate::error::{Error, ErrorKind};
use crate::etag::{self, Thing, unquoted};
use crate::hashing::Hashes;
use crate::moving::{Meter, Watch};
use crate::pace::{Pace, Pacer};
use crate::part_log::ListedPart;
use crate::signing::SignedBody;

/// Which upload.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) upload_id: String,
}

/// What was sent, over all parts and attempts.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) retries: AtomicU64,
    /// Bytes of parts that turned out to be stored already when they were made again.
    pub(crate) found_bytes: AtomicU64,
    /// Bytes that the server copied from another object.
    pub(crate) copied_bytes: AtomicU64,
    pub(crate) pacer: Pacer,
}

impl Traffic {
    /// Sends as many parts at the same time as `pace` says.
    pub(crate) fn paced(pace: Pace) -> Self {
        Self {
            pacer: Pacer::new(pace),
            ..Self::default()
        }
    }
}

impl Client {
    /// The policy for a part of `len` bytes: the time that two attempts may spend on sending does
    /// not count, or else a large part on a slow line would have one attempt only.
    pub(crate) fn data_policy(&self, len: u64) -> Policy {
        let policy = *self.policy();
        Policy {
            budget: policy
                .budget
                .saturating_add(self.data_limit(len, 1))
                .saturating_add(self.data_limit(len, 2)),
            ..policy
        }
    }
}

pub(crate) fn limit(limit: Duration) -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::Config::builder().timeout_config(
        TimeoutConfig::builder()
            .operation_attempt_timeout(limit)
            .build(),
    )
}

impl Client {
    /// Starts an upload and returns its id.
    pub(crate) async fn create_upload(
        &self,
        bucket: &str,
        key: &str,
        content_type: &str,
        metadata: &BTreeMap<String, String>,
    ) -> Result<String, Error> {
        let what = format!("starting the upload of {bucket}/{key}");
        self.call(self.policy(), &what, |_| async {
            let mut request = self
                .s3()
                .create_multipart_upload()
                .bucket(bucket)
                .key(key)
                .content_type(content_type)
                .storage_class(StorageClass::Standard);
            for (name, value) in metadata {
                request = request.metadata(name, value);
            }
            let answer = request.send().await.map_err(from_sdk)?;
            match answer.upload_id() {
                Some(id) if !id.is_empty() && id.len() <= 1024 => Ok(id.to_owned()),
                _ => Err(Error::new(ErrorKind::Server, "the answer has no upload id")),
            }
        })
        .await
        .map_err(|error: Error| error.doing(what))
    }

    /// Sends one part. `hashes` are those of `body`.
    pub(crate) async fn upload_part(
        &self,
        target: &Target,
        number: u32,
        body: Bytes,
        hashes: &Hashes,
        traffic: &Traffic,
    ) -> Result<Confirmed, Error> {
        let md5 = hashes.md5;
        let what = format!("part {number} of {}/{}", target.bucket, target.key);
        let size = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let policy = self.data_policy(size);
        let part_number = i32::try_from(number)
            .map_err(|_| Error::refused(format!("part number {number} is too large")))?;
        let content_md5 = BASE64.encode(md5);
        // Kept between attempts: a server that is busy gets fewer parts.
        let _turn = self.turn().await;
        self.call(&policy, &what, |attempt| {
            traffic.sent_bytes.fetch_add(size, Ordering::Relaxed);
            traffic
                .retries
                .fetch_add(u64::from(attempt > 1), Ordering::Relaxed);
            let meter = Meter::new(self.limits());
            let request = self
                .s3()
                .upload_part()
                .bucket(&target.bucket)
                .key(&target.key)
                .upload_id(&target.upload_id)
                .part_number(part_number)
                .content_md5(&content_md5)
                .body(ByteStream::from(body.clone()))
                .customize()
                .config_override(limit(self.data_limit(size, attempt)))
                .interceptor(Watch::new(body.clone(), &meter, self.rate()));
            let request = match &hashes.sha256 {
                Some(sha256) if self.signs_bodies() => {
                    request.interceptor(SignedBody(sha256.clone()))
                }
                _ => request,
            };
            async move {
                let answer = meter.watch(request.send()).await?.map_err(|error| {
                    let error = from_sdk(error);
                    if error.is_busy() {
                        traffic.pacer.pushed_back();
                    }
                    error
                })?;
                let etag = answer.e_tag().map(unquoted).unwrap_or_default();
                let encrypts = etag::encrypts(
                    answer.server_side_encryption(),
                    answer.sse_customer_algorithm(),
                    answer.ssekms_key_id(),
                );
                let etag_is_md5 = self
                    .etags()
                    .judge(Thing::Part, &etag, md5, encrypts, attempt)?;
                Ok(Confirmed {
                    number,
                    size,
                    etag,
                    md5,
                    etag_is_md5,
                    etag_may_differ: encrypts,
                })
            }
        })
        .await
        .map_err(|error: Error| error.doing(format!("sending {what}")))
    }

    /// Lists the parts if the answers to them were inconclusive. Their ETags may be in the list,
    /// and completing must repeat them; a part that is not in the list was never stored, although
    /// it was confirmed. An ETag that is still the MD5 of other bytes means damage, if other parts
    /// have their MD5s.
    ///
    /// # Errors
    /// [`ErrorKind::Integrity`] when the list lacks a part, or a part is damaged. A list that
    /// cannot be fetched is no error.
    pub(crate) async fn settle(
        &self,
        target: &Target,
        parts: &mut [Confirmed],
    ) -> Result<(), Error> {
        if parts.iter().all(|part| part.etag_is_md5) {
            return Ok(());
        }
        let Target {
            bucket,
            key,
            upload_id,
        } = target;
        let listed = match self.list_parts(bucket, key, upload_id).await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::info!("cannot list the parts before completing: {error}");
                return check_doubtful(parts)
                    .map_err(|error| error.doing(format!("completing {bucket}/{key}")));
            }
        };
        let listed: BTreeMap<u32, ListedPart> =
            listed.into_iter().map(|part| (part.number, part)).collect();
        for part in parts.iter_mut().filter(|part| !part.etag_is_md5) {
            let found = listed.get(&part.number);
            if found.is_none_or(|found| found.size != part.size) {
                return Err(Error::new(
                    ErrorKind::Integrity,
                    format!(
                        "the server confirmed part {} with {} bytes, but lists {}",
                        part.number,
                        part.size,
                        found.map_or("no such part".to_owned(), |found| format!(
                            "{} bytes",
                            found.size
                        ))
                    ),
                )
                .doing(format!("completing {bucket}/{key}"))
                .with_hint("run the same command again: it sends the missing parts"));
            }
            let Some(found) = found.filter(|found| !found.etag.is_empty()) else {
                continue;
            };
            part.etag_is_md5 = found.etag.eq_ignore_ascii_case(&hex::encode(part.md5));
            part.etag = found.etag.clone();
        }
        check_doubtful(parts).map_err(|error| error.doing(format!("completing {bucket}/{key}")))
    }

    /// Joins `parts`, which are in order, into the object. Returns the ETag that the server
    /// reported, if any. `asked_before` says that an earlier call was abandoned without an answer.
    ///
    /// The answer to this request can be lost after it took effect, and a second request is then
    /// answered with "no such upload". So after any such failure the object is checked: it is there
    /// if it has the length and the ETag that these parts make.
    pub(crate) async fn complete_upload(
        &self,
        target: &Target,
        parts: &[Confirmed],
        expected: &Expected,
        asked_before: bool,
    ) -> Result<Option<String>, Error> {
        let what = format!("completing {}/{}", target.bucket, target.key);
        let list = completed_list(parts)?;
        self.call(self.policy(), &what, |attempt| {
            let request = self
                .s3()
                .complete_multipart_upload()
                .bucket(&target.bucket)
                .key(&target.key)
                .upload_id(&target.upload_id)
                .multipart_upload(list.clone())
                .customize()
                .config_override(limit(self.limits().complete));
            async move {
                let error = match request.send().await {
                    Ok(answer) => match answer.e_tag().map(unquoted) {
                        Some(etag) if !etag.is_empty() => return Ok(Some(etag)),
                        // Some servers report it with the object only.
                        _ if self.may_be_there(target, expected).await => return Ok(None),
                        _ => Error::new(
                            ErrorKind::Server,
                            "the answer does not name the object, and no matching object exists",
                        )
                        .with_verdict(Verdict::Retry),
                    },
                    Err(error) => from_sdk(error),
                };
                if may_be_done(&error, asked_before || attempt > 1)
                    && self.is_there(target, expected).await
                {
                    tracing::info!(
                        "{what}: the object exists, although the server answered: {error}",
                        what = target.key
                    );
                    return Ok(None);
                }
                Err(error)
            }
        })
        .await
        .map_err(|error: Error| error.doing(what))
    }

    /// Whether the object contradicts the confirmed completion. A key that may not read objects has
    /// to trust the answer.
    async fn may_be_there(&self, target: &Target, expected: &Expected) -> bool {
        match self.object(&target.bucket, &target.key).await {
            Ok(Some(object)) => expected.check(None, &object).is_ok(),
            Ok(None) => false,
            Err(error) => error.kind() == ErrorKind::AccessDenied,
        }
    }

    /// Whether the object exists with the expected length and ETag. No answer counts as no.
    pub(crate) async fn is_there(&self, target: &Target, expected: &Expected) -> bool {
        // Where the server encrypts, the ETag says nothing, and the length alone proves nothing.
        let Some(etag) = &expected.etag else {
            return false;
        };
        match self.object(&target.bucket, &target.key).await {
            Ok(Some(object)) => {
                object.size == expected.size
                    && object
                        .etag
                        .is_some_and(|found| found.eq_ignore_ascii_case(etag))
            }
            _ => false,
        }
    }

    /// Deletes an upload and its parts. An upload that the server does not know (any more) is no
    /// error.
    ///
    /// # Errors
    /// What the server says; parts may then still be stored and cost money.
    pub async fn abort_upload(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
    ) -> Result<(), Error> {
        self.check_bucket_name(bucket)?;
        let what = format!("aborting upload {upload_id} of {bucket}/{key}");
        let aborted = self
            .call(self.policy(), &what, |_| async {
                self.s3()
                    .abort_multipart_upload()
                    .bucket(bucket)
                    .key(key)
                    .upload_id(upload_id)
                    .send()
                    .await
                    .map_err(from_sdk)
            })
            .await;
        match aborted {
            Ok(_) => Ok(()),
            Err(error) if error.is_unknown_upload() => Ok(()),
            Err(error) => Err(error.doing(what)),
        }
    }
}

/// Whether the request may have taken effect all the same; `asked_before`, whether an earlier one
/// may have.
fn may_be_done(error: &Error, asked_before: bool) -> bool {
    match error.kind() {
        ErrorKind::Network | ErrorKind::Server => true,
        ErrorKind::NotFound => asked_before && error.is_unknown_upload(),
        _ => false,
    }
}

fn completed_list(parts: &[Confirmed]) -> Result<CompletedMultipartUpload, Error> {
    let mut list = CompletedMultipartUpload::builder();
    for part in parts {
        let number = i32::try_from(part.number)
            .map_err(|_| Error::refused(format!("part number {} is too large", part.number)))?;
        list = list.parts(
            CompletedPart::builder()
                .part_number(number)
                .e_tag(format!("\"{}\"", part.etag_to_send()))
                .build(),
        );
    }
    Ok(list.build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Limits};

    #[test]
    fn large_part_on_a_slow_line_gets_three_attempts() {
        let len = 128 << 20;
        let limits = Limits::default();
        let key = net::secret::AccessKey {
            id: "AKID".into(),
            secret: "secret".into(),
            session_token: None,
        };
        let endpoint = "https://obs.example.com".parse().unwrap();
        let client = Client::new(Config::new(endpoint, "region-1", key)).unwrap();
        let two = limits.attempt(len, 1) + limits.attempt(len, 2);
        assert!(client.data_policy(len).budget > two + Policy::default().max_delay * 2);
        assert!(limits.attempt(8 << 20, 1) < Duration::from_secs(200));
    }
}
