//! Request bodies onto the disk, hashed on the way, never held in memory.

use std::fs::File;
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

use super::assembly::Place;
use super::error::{disk, obs_error};
use super::uploads::{Arrived, ArrivedIn};

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
    let file = NamedTempFile::new_in(tmp).map_err(disk("store the body"))?;
    let handle = file.reopen().map_err(disk("store the body"))?;
    let (size, md5) = write(handle, 0, MAX_BODY, body, content_md5).await?;
    file.as_file()
        .set_len(size)
        .map_err(disk("store the body"))?;
    Ok(Received { file, md5 })
}

/// Writes the body of a part to `place`, or to a new file in `tmp`.
///
/// # Errors
/// As for [`receive`]. What was written in the place then counts for nothing.
pub(super) async fn receive_part(
    tmp: &Path,
    place: Option<Place>,
    body: Option<StreamingBlob>,
    content_md5: Option<&str>,
) -> S3Result<Arrived> {
    let Some(place) = place else {
        return Ok(receive(tmp, body, content_md5).await?.into());
    };
    let handle = place.file.try_clone().map_err(disk("store the body"))?;
    let (size, md5) = write(handle, place.offset, place.len, body, content_md5).await?;
    Ok(Arrived {
        md5,
        body: ArrivedIn::Place(place, size),
    })
}

impl From<Received> for Arrived {
    fn from(received: Received) -> Self {
        Self {
            md5: received.md5,
            body: ArrivedIn::File(received.file),
        }
    }
}

/// Writes up to `most` bytes from `start` on in `file`, which are holes before. Their number, and
/// MD5 in lower-case hex.
async fn write(
    file: File,
    start: u64,
    most: u64,
    body: Option<StreamingBlob>,
    content_md5: Option<&str>,
) -> S3Result<(u64, String)> {
    let expected = content_md5.map(decode_md5).transpose()?;
    let mut writer = BufWriter::with_capacity(WRITE_BUFFER, tokio::fs::File::from_std(file));
    let mut hasher = Md5::new();
    let mut size = 0_u64;
    // Where the file goes on, behind the start; unknown at first.
    let mut written = None;
    if let Some(mut body) = body {
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(broken_body)?;
            let before = size;
            size = u64::try_from(chunk.len())
                .ok()
                .and_then(|len| size.checked_add(len))
                .filter(|size| *size <= most)
                .ok_or_else(|| s3_error!(EntityTooLarge, "more than {most} bytes"))?;
            hasher.update(&chunk);
            // Zeros are left out: a raw disk may have more of them than the machine has room.
            if is_zero(&chunk) {
                continue;
            }
            if written != Some(before) {
                writer
                    .seek(SeekFrom::Start(start.saturating_add(before)))
                    .await
                    .map_err(disk("store the body"))?;
            }
            writer
                .write_all(&chunk)
                .await
                .map_err(disk("store the body"))?;
            written = Some(size);
        }
    }
    writer.flush().await.map_err(disk("store the body"))?;
    let digest: [u8; 16] = hasher.finalize().into();
    if expected.is_some_and(|expected| expected != digest) {
        return Err(s3_error!(
            BadDigest,
            "the Content-MD5 you specified did not match what we received"
        ));
    }
    Ok((size, hex::encode(digest)))
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
