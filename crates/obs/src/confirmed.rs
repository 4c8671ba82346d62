//! Parts that the server has confirmed, and the object that they make.

use md5::{Digest, Md5};

use crate::error::{Error, ErrorKind};
use crate::etag;
use crate::info::ObjectInfo;

/// A part that the server has confirmed.
#[derive(Clone, Debug)]
pub(crate) struct Confirmed {
    pub(crate) number: u32,
    pub(crate) size: u64,
    /// As the server reported it: completing must repeat it. Empty when it reported none.
    pub(crate) etag: String,
    pub(crate) md5: [u8; 16],
    /// Whether the ETag is the MD5 of what was sent; it is not where the server encrypts, nor with
    /// some gateways.
    pub(crate) etag_is_md5: bool,
    /// Whether the ETag may be none where those of other parts are: the server encrypts or has
    /// copied this part.
    pub(crate) etag_may_differ: bool,
}

impl Confirmed {
    /// The ETag that completing sends. A server that reported none accepts the MD5, if anything.
    pub(crate) fn etag_to_send(&self) -> String {
        match self.etag.as_str() {
            "" => hex::encode(self.md5),
            etag => etag.to_owned(),
        }
    }

    /// Whether the ETag is the MD5 of other bytes, if this storage reports MD5s.
    fn is_doubtful(&self) -> bool {
        !self.etag_is_md5 && !self.etag_may_differ && etag::is_md5(&self.etag)
    }
}

/// Checks parts that were accepted before it was known what this storage's ETags are.
pub(crate) fn check_doubtful(parts: &[Confirmed]) -> Result<(), Error> {
    let doubtful = parts.iter().find(|part| part.is_doubtful());
    match doubtful {
        Some(part) if parts.iter().any(|part| part.etag_is_md5) => Err(Error::new(
            ErrorKind::Integrity,
            format!(
                "the server confirmed part {} with ETag {:?}, expected {:?}: it reports MD5s of \
                 other parts",
                part.number,
                part.etag,
                hex::encode(part.md5)
            ),
        )
        .with_hint("run the same command again: it resends the damaged parts")),
        _ => Ok(()),
    }
}

/// What the object must be once its parts are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) size: u64,
    /// `None` where ETags of parts are not MD5s.
    pub(crate) etag: Option<String>,
}

impl Expected {
    /// Of `parts`, in order. The ETag is the MD5 of all parts' MD5s, and their number.
    pub(crate) fn of(parts: &[Confirmed]) -> Self {
        let mut md5 = Md5::new();
        for part in parts {
            md5.update(part.md5);
        }
        let etag = format!("{}-{}", hex::encode(md5.finalize()), parts.len());
        Self {
            size: parts
                .iter()
                .fold(0, |sum: u64, part| sum.saturating_add(part.size)),
            etag: parts.iter().all(|part| part.etag_is_md5).then_some(etag),
        }
    }

    /// Compares the object that the server has with this. Returns whether an ETag proves it: one
    /// that does not have the form of a multipart ETag proves nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Integrity`].
    pub(crate) fn check(&self, reported: Option<&str>, found: &ObjectInfo) -> Result<bool, Error> {
        if found.size != self.size {
            return Err(Error::new(
                ErrorKind::Integrity,
                format!(
                    "the object has {} bytes, {} were sent",
                    found.size, self.size
                ),
            ));
        }
        let Some(expected) = &self.etag else {
            return Ok(false);
        };
        let parts = |etag: &str| etag.rsplit_once('-').map(|(_, parts)| parts.to_owned());
        let mut is_proved = false;
        for etag in [reported, found.etag.as_deref()].into_iter().flatten() {
            if etag.eq_ignore_ascii_case(expected) {
                is_proved = true;
            } else if etag::is_md5_of_parts(etag)
                && parts(etag) == parts(expected)
                && !found.encrypted
            {
                return Err(Error::new(
                    ErrorKind::Integrity,
                    format!("the object has ETag {etag:?}, expected {expected:?}"),
                ));
            }
        }
        Ok(is_proved)
    }
}
