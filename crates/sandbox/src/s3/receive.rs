//! Request bodies onto the disk, hashed on the way, never held in memory.

use std::io::SeekFrom;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use diskimg::zero::is_zero;
use futures::StreamExt as _;
use md5::{Digest as _, Md5};
use s3s::dto::StreamingBlob;
use s3s::{S3Error, S3Result, StdError, s3_error};
use tempfile::NamedTempFile;
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _, BufWriter};

use super::{disk, obs_error};

/// Most bytes of one PUT or one part: 5 GiB, as on OBS.
pub(super) const MAX_BODY: u64 = 5 << 30;

/// Bytes that are collected for one write.
const WRITE_BUFFER: usize = 1 << 20;

/// A body that is on the disk in a temporary file, which goes away if it is not persisted.
pub(super) struct Received {
    pub(super) file: NamedTempFile,
    /// Lower-case hex.
    pub(super) md5: String,
}

/// Writes `body` to a new file in `tmp` and checks it against `content_md5` (base64).
///
/// # Errors
/// IncompleteBody, EntityTooLarge, BadDigest, and XAmzContentSHA256Mismatch when the signed hash is
/// not the body's.
pub(super) async fn receive(
    tmp: &Path,
    body: Option<StreamingBlob>,
    content_md5: Option<&str>,
) -> S3Result<Received> {
    let expected = content_md5.map(decode_md5).transpose()?;
    let file = NamedTempFile::new_in(tmp).map_err(disk("store the body"))?;
    let handle = file.reopen().map_err(disk("store the body"))?;
    let mut writer = BufWriter::with_capacity(WRITE_BUFFER, tokio::fs::File::from_std(handle));
    let mut hasher = Md5::new();
    let mut size = 0_u64;
    // Where the file goes on.
    let mut written = 0_u64;
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(broken_body)?;
            size = u64::try_from(chunk.len())
                .ok()
                .and_then(|len| size.checked_add(len))
                .filter(|size| *size <= MAX_BODY)
                .ok_or_else(|| s3_error!(EntityTooLarge, "more than {MAX_BODY} bytes"))?;
            hasher.update(&chunk);
            // Zeros are left out: a raw disk may have more of them than the machine has room.
            if is_zero(&chunk) {
                continue;
            }
            let start = size.saturating_sub(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            if start != written {
                writer
                    .seek(SeekFrom::Start(start))
                    .await
                    .map_err(disk("store the body"))?;
            }
            writer
                .write_all(&chunk)
                .await
                .map_err(disk("store the body"))?;
            written = size;
        }
    }
    writer.flush().await.map_err(disk("store the body"))?;
    file.as_file()
        .set_len(size)
        .map_err(disk("store the body"))?;
    let digest: [u8; 16] = hasher.finalize().into();
    if expected.is_some_and(|expected| expected != digest) {
        return Err(s3_error!(
            BadDigest,
            "the Content-MD5 you specified did not match what we received"
        ));
    }
    Ok(Received {
        file,
        md5: hex::encode(digest),
    })
}

fn broken_body(error: StdError) -> S3Error {
    // s3s keeps the type of this error to itself; the text is all there is.
    let text = error.to_string();
    if text.contains("Sha256Mismatch") {
        return obs_error(
            "XAmzContentSHA256Mismatch",
            "the provided 'x-amz-content-sha256' header does not match what was computed",
        );
    }
    let mut answer = s3_error!(IncompleteBody, "the body ended early");
    answer.set_source(error);
    answer
}

/// The 16 bytes of a Content-MD5 header.
fn decode_md5(text: &str) -> S3Result<[u8; 16]> {
    BASE64
        .decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| s3_error!(InvalidDigest, "the Content-MD5 you specified is not valid"))
}
