//! Single objects: a small one in one request, and a part copied from one.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::StorageClass;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use md5::{Digest, Md5};
use net::retry::Verdict;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::classify::from_sdk;
use crate::client::Client;
use crate::confirmed::Confirmed;
use crate::error::{Error, ErrorKind, broken};
use crate::etag::{self, Thing, unquoted};
use crate::moving::{Meter, Watch};
use crate::multipart::{Target, limit};
use crate::names;
use crate::part::CopyPart;

/// What stays as it is in the header that names a copy's source.
const IN_SOURCE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

impl Client {
    /// Stores `body` as the object `key` in one request, in storage class STANDARD; its ETag.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when bucket or key cannot be; [`ErrorKind::Integrity`] when the
    /// server confirms other bytes; what the server says.
    pub async fn put_object(
        &self,
        bucket: &str,
        key: &str,
        body: Bytes,
        content_type: &str,
    ) -> Result<String, Error> {
        self.check_bucket_name(bucket)?;
        names::check_key(key)?;
        let what = format!("storing {bucket}/{key}");
        let size = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let md5 = md5_of(body.clone()).await?;
        self.call(&self.data_policy(size), &what, |attempt| {
            let meter = Meter::new(self.limits());
            let request = self
                .s3()
                .put_object()
                .bucket(bucket)
                .key(key)
                .storage_class(StorageClass::Standard)
                .content_type(content_type)
                .content_md5(BASE64.encode(md5))
                .body(ByteStream::from(body.clone()))
                .customize()
                .config_override(limit(self.data_limit(size, attempt)))
                .interceptor(Watch::new(body.clone(), &meter, self.rate()));
            async move {
                let answer = meter.watch(request.send()).await?.map_err(from_sdk)?;
                let encrypts = etag::encrypts(
                    answer.server_side_encryption(),
                    answer.sse_customer_algorithm(),
                    answer.ssekms_key_id(),
                );
                let etag = answer.e_tag().map(unquoted).unwrap_or_default();
                self.etags()
                    .judge(Thing::Object, &etag, md5, encrypts, attempt)?;
                Ok(etag)
            }
        })
        .await
        .map_err(|error: Error| error.doing(what))
    }

    /// Makes part `number` of the first `size` bytes of the object `source` in the same bucket,
    /// which has `source_size` bytes. `md5` is the MD5 of those bytes.
    ///
    /// Success is a document about the part, and nothing else: a server that has begun to answer
    /// 200 can still fail.
    pub(crate) async fn copy_part(
        &self,
        target: &Target,
        number: u32,
        source: &str,
        source_size: u64,
        size: u64,
        md5: [u8; 16],
    ) -> Result<Confirmed, Error> {
        let from = From {
            bucket: &target.bucket,
            key: source,
            range: (size < source_size).then_some((0, size)),
            condition: None,
            limit: aws_sdk_s3::Config::builder(),
        };
        self.copy(target, number, from, |copied, attempt| {
            let etag_is_md5 =
                self.etags()
                    .judge(Thing::Copy, &copied.etag, md5, copied.encrypts, attempt)?;
            Ok(Confirmed {
                number,
                size,
                etag: copied.etag,
                md5,
                etag_is_md5,
                // That parts have MD5s says nothing of copies.
                etag_may_differ: true,
            })
        })
        .await
    }

    /// Makes `part` of bytes of another object, only while that is the one that is expected. Nobody
    /// here knows their MD5: the ETag is taken for it where it has that form.
    pub(crate) async fn copy_range(
        &self,
        target: &Target,
        part: &CopyPart,
    ) -> Result<Confirmed, Error> {
        let CopyPart {
            number,
            start,
            size,
            source,
        } = part;
        let from = From {
            bucket: &source.bucket,
            key: &source.key,
            range: Some((*start, *size)),
            condition: source.info.condition(),
            limit: limit(self.limits().complete),
        };
        self.copy(target, *number, from, |copied, _| {
            let mut md5 = [0; 16];
            let etag_is_md5 =
                !copied.encrypts && hex::decode_to_slice(&copied.etag, &mut md5).is_ok();
            Ok(Confirmed {
                number: *number,
                size: *size,
                etag: copied.etag,
                md5,
                etag_is_md5,
                etag_may_differ: true,
            })
        })
        .await
    }

    async fn copy(
        &self,
        target: &Target,
        number: u32,
        source: From<'_>,
        judge: impl Fn(Copied, u32) -> Result<Confirmed, Error>,
    ) -> Result<Confirmed, Error> {
        let what = format!("copying part {number} of {}/{}", target.bucket, target.key);
        let part_number = i32::try_from(number)
            .map_err(|_| Error::refused(format!("part number {number} is too large")))?;
        let from = format!(
            "{}/{}",
            source.bucket,
            utf8_percent_encode(source.key, IN_SOURCE)
        );
        let range = source.range.map(|(start, size)| {
            let last = start.saturating_add(size).saturating_sub(1);
            format!("bytes={start}-{last}")
        });
        let judge = &judge;
        self.call(self.policy(), &what, |attempt| {
            let request = self
                .s3()
                .upload_part_copy()
                .bucket(&target.bucket)
                .key(&target.key)
                .upload_id(&target.upload_id)
                .part_number(part_number)
                .copy_source(&from)
                .set_copy_source_range(range.clone())
                .set_copy_source_if_match(source.condition.clone())
                .customize()
                .config_override(source.limit.clone());
            async move {
                let answer = request.send().await.map_err(from_sdk)?;
                let Some(result) = answer.copy_part_result() else {
                    return Err(
                        Error::new(ErrorKind::Server, "the answer has no copied part")
                            .with_verdict(Verdict::Retry),
                    );
                };
                let encrypts = etag::encrypts(
                    answer.server_side_encryption(),
                    answer.sse_customer_algorithm(),
                    answer.ssekms_key_id(),
                );
                let etag = result.e_tag().map(unquoted).unwrap_or_default();
                judge(Copied { etag, encrypts }, attempt)
            }
        })
        .await
        .map_err(|error: Error| error.doing(what))
    }
}

/// Bytes of an object.
struct From<'a> {
    bucket: &'a str,
    key: &'a str,
    /// First byte, and how many; `None` for all.
    range: Option<(u64, u64)>,
    /// The ETag that the object must have.
    condition: Option<String>,
    /// How long the server may take.
    limit: aws_sdk_s3::config::Builder,
}

/// What the server says of a part that it has copied.
struct Copied {
    etag: String,
    encrypts: bool,
}

/// MD5 of `bytes`, away from the async threads.
pub(crate) async fn md5_of(bytes: Bytes) -> Result<[u8; 16], Error> {
    tokio::task::spawn_blocking(move || Md5::digest(&bytes).into())
        .await
        .map_err(|error| broken(&error))
}
