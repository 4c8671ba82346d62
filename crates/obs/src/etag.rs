//! ETags: what a storage says about the bytes that it holds, as far as it says anything.
//!
//! S3 and OBS report the MD5 of a part, and `MD5-PARTS` of an object in parts. Other storages
//! report weak ETags, hashes of something else, or none. Each part carries `Content-MD5`, so the
//! server has checked its bytes already, and an ETag that is no MD5 proves nothing either way.

use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_s3::types::ServerSideEncryption;
use net::retry::Verdict;

use crate::error::{Error, ErrorKind};
use crate::text::clean_text;

/// An ETag without quotes and without the mark of a weak one.
pub(crate) fn unquoted(etag: &str) -> String {
    let etag = etag.trim();
    let etag = etag.strip_prefix("W/").unwrap_or(etag);
    etag.trim_matches('"').to_owned()
}

/// Whether the server calls the ETag weak: it can then not be used as a condition.
pub(crate) fn is_weak(etag: &str) -> bool {
    etag.trim().starts_with("W/")
}

/// Whether `etag` has the form of an MD5.
pub(crate) fn is_md5(etag: &str) -> bool {
    etag.len() == 32 && etag.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether `etag` has the form of the ETag of an object in parts.
pub(crate) fn is_md5_of_parts(etag: &str) -> bool {
    etag.split_once('-').is_some_and(|(md5, parts)| {
        is_md5(md5) && !parts.is_empty() && parts.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Whether an answer says that the server encrypts what it stores, so that its ETags are no MD5s.
pub(crate) fn encrypts(
    by: Option<&ServerSideEncryption>,
    customer: Option<&str>,
    key: Option<&str>,
) -> bool {
    // `AES256` with the storage's own keys keeps MD5s as ETags, but not everywhere.
    by.is_some() || customer.is_some() || key.is_some()
}

/// What is confirmed with an ETag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thing {
    Part,
    Copy,
    Object,
}

impl Thing {
    fn name(self) -> &'static str {
        match self {
            Self::Part => "part",
            Self::Copy => "copied part",
            Self::Object => "object",
        }
    }
}

/// What the ETags of one storage have turned out to be.
#[derive(Debug, Default)]
pub(crate) struct Etags {
    parts: Kind,
    copies: Kind,
    objects: Kind,
    noted: AtomicBool,
}

/// The same of one kind of thing.
#[derive(Debug, Default)]
struct Kind {
    /// An ETag was the MD5.
    md5s: AtomicBool,
    /// One with the form of an MD5 was something else twice, and was accepted.
    others: AtomicBool,
}

impl Etags {
    /// Whether `etag` is the MD5 of what was sent.
    ///
    /// One that has the form of an MD5 and is another one says that other bytes arrived, if this
    /// storage reports MD5s. As long as that is unknown, the data is sent once more; the second
    /// such answer settles that its ETags are something else, until one is the MD5.
    ///
    /// # Errors
    /// [`ErrorKind::Integrity`], which is worth another attempt.
    pub(crate) fn judge(
        &self,
        thing: Thing,
        etag: &str,
        md5: [u8; 16],
        encrypts: bool,
        attempt: u32,
    ) -> Result<bool, Error> {
        let kind = match thing {
            Thing::Part => &self.parts,
            Thing::Copy => &self.copies,
            Thing::Object => &self.objects,
        };
        let expected = hex::encode(md5);
        if etag.eq_ignore_ascii_case(&expected) {
            kind.md5s.store(true, Ordering::Relaxed);
            return Ok(true);
        }
        if encrypts {
            return Ok(false);
        }
        let is_other = || attempt > 1 || kind.others.load(Ordering::Relaxed);
        if is_md5(etag) && (kind.md5s.load(Ordering::Relaxed) || !is_other()) {
            return Err(Error::new(
                ErrorKind::Integrity,
                format!(
                    "the server confirmed the {} with ETag {etag:?}, expected {expected:?}",
                    thing.name()
                ),
            )
            .with_verdict(Verdict::Retry)
            .with_hint(
                "the storage has other bytes than were sent; ask its operator, and run \
                 imgferry config check --write",
            ));
        }
        if is_md5(etag) {
            kind.others.store(true, Ordering::Relaxed);
        }
        self.note(etag);
        Ok(false)
    }

    /// Warns once that this storage's ETags are no MD5s, with an example.
    pub(crate) fn note(&self, etag: &str) {
        if self.noted.swap(true, Ordering::Relaxed) {
            return;
        }
        let what = match etag {
            "" => "reports no ETags".to_owned(),
            etag => format!(
                "reports ETags that are not MD5s, such as {:?}",
                clean_text(etag)
            ),
        };
        tracing::warn!(
            "this storage {what}: Content-MD5 protects each part in transit, and the length of the \
             object is compared"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5: [u8; 16] = [0xab; 16];

    fn judge(etags: &Etags, etag: &str, attempt: u32) -> Option<bool> {
        etags.judge(Thing::Part, etag, MD5, false, attempt).ok()
    }

    #[test]
    fn quotes_and_the_mark_of_a_weak_etag_are_no_part_of_it() {
        for etag in ["\"ab\"", "W/\"ab\"", " \"ab\" ", "ab", "W/ab"] {
            assert_eq!(unquoted(etag), "ab", "{etag}");
        }
        assert!(is_weak("W/\"ab\"") && !is_weak("\"W/ab\""));
        assert!(is_md5_of_parts(&format!("{}-12", "0f".repeat(16))));
        for other in [
            "",
            "ab-1",
            &"0f".repeat(16),
            &format!("{}-", "0f".repeat(16)),
        ] {
            assert!(!is_md5_of_parts(other), "{other}");
        }
    }

    #[test]
    fn etags_that_are_no_md5_are_no_mismatch() {
        for etag in [
            "",
            "0123",
            "d41d8cd98f00b204e9800998ecf8427e-1",
            &"g".repeat(32),
        ] {
            let etags = Etags::default();
            assert_eq!(judge(&etags, etag, 1), Some(false), "{etag}");
            // Nor where the storage has reported MD5s before.
            assert_eq!(judge(&etags, &"AB".repeat(16), 1), Some(true));
            assert_eq!(judge(&etags, etag, 1), Some(false), "{etag}");
        }
    }

    #[test]
    fn another_md5_is_a_mismatch_until_the_storage_turns_out_to_report_none() {
        let other = "cd".repeat(16);
        let etags = Etags::default();
        assert_eq!(judge(&etags, &other, 1), None);
        assert_eq!(judge(&etags, &other, 2), Some(false));
        // What is known now holds for the next one.
        assert_eq!(judge(&etags, &other, 1), Some(false));
        // One right answer is enough to know better.
        assert_eq!(judge(&etags, &"ab".repeat(16), 1), Some(true));
        assert_eq!(judge(&etags, &other, 2), None);
        assert_eq!(judge(&etags, &other, 6), None);
        assert_eq!(judge(&etags, &other, 1), None);
        // That parts have MD5s says nothing of copies.
        let copy = etags.judge(Thing::Copy, &other, MD5, false, 1);
        assert!(copy.is_err(), "{copy:?}");
        let copy = etags.judge(Thing::Copy, &other, MD5, false, 2);
        assert!(matches!(copy, Ok(false)), "{copy:?}");
    }

    #[test]
    fn where_the_server_encrypts_nothing_is_compared() {
        let etags = Etags::default();
        let judged = etags.judge(Thing::Part, &"cd".repeat(16), MD5, true, 1);
        assert!(matches!(judged, Ok(false)), "{judged:?}");
    }
}
