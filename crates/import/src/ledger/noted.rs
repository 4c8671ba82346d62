//! What the journal records of object and image, and uploads in the bucket that no journal records.

use ::convert::ContentDigest;
use journal::registration::Known;
use obs::{Client, ObjectInfo, PartRecord, Uploaded};

use super::entry::Entry;
use crate::observe::Before;
use crate::observe::Observer;

/// Most abandoned uploads that are reported.
const TOLD_UPLOADS: usize = 5;

/// What of the cloud's state may be this import's own doing.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    /// Length and ETag that the object has if it is this import's.
    pub(crate) object: Option<(u64, String)>,
    /// What is known of the registration: an image of the name may be this import's.
    pub(crate) known: Known,
    /// When it was sent first, or else when the upload began, in seconds since 1970.
    pub(crate) since: Option<i64>,
    /// What earlier runs may have done that the journal does not tell.
    pub(crate) before: Before,
}

impl Default for Ours {
    fn default() -> Self {
        Self {
            object: None,
            known: Known::Nothing,
            since: None,
            before: Before::default(),
        }
    }
}

impl Ours {
    /// Whether the registration was sent, as far as is noted, and nobody said no.
    pub(crate) fn registering(&self) -> bool {
        matches!(self.known, Known::Sent | Known::Job | Known::Done)
    }

    /// Whether `found` may be this import's object. Without ETags the length has to do.
    pub(crate) fn may_be(&self, found: &ObjectInfo) -> bool {
        let object = self.object.as_ref();
        object.is_some_and(|(size, etag)| found.may_be(*size, etag))
    }
}

impl Entry {
    /// What of the cloud's state may be this import's.
    pub(crate) fn ours(&self) -> Ours {
        let Some(state) = &self.state else {
            return Ours::default();
        };
        let object = match (&state.completed, &state.sent) {
            (Some(completed), _) => Some((completed.size, completed.etag.clone())),
            (None, Some((size, _))) => obs::etag_of(&self.parts()).map(|etag| (*size, etag)),
            (None, None) => None,
        };
        Ours {
            object,
            known: self.known(),
            since: self.since(),
            before: Before::default(),
        }
    }

    /// What is known of the registration.
    pub(crate) fn known(&self) -> Known {
        let state = self.state.as_ref();
        state.map_or(Known::Nothing, |state| {
            state.registration(&self.service, &self.begun.name)
        })
    }

    /// Whether the journal says that this import has asked for its image, whatever came of that.
    pub(crate) fn has_asked(&self) -> bool {
        let asked = self.state.as_ref();
        let asked = asked.and_then(|state| state.registering.as_ref());
        asked.is_some_and(|(service, name)| *service == self.service && *name == self.begun.name)
    }

    /// When the registration was sent first, or else when the upload began, in seconds since 1970.
    pub(crate) fn since(&self) -> Option<i64> {
        let state = self.state.as_ref()?;
        let since = match self.known() {
            Known::Nothing => return None,
            _ => state.asked_at.unwrap_or(state.begun.started),
        };
        i64::try_from(since).ok()
    }

    /// Address of the image service.
    pub(crate) fn service(&self) -> &str {
        &self.service
    }

    /// The object of an earlier run, as it was when that had completed it.
    pub(crate) fn noted_object(&self) -> Option<Uploaded> {
        let state = self.state.as_ref().or(self.kept.as_ref())?;
        let completed = state.completed.as_ref()?;
        Some(Uploaded {
            size: completed.size,
            etag: completed.etag.clone(),
            etag_verified: completed.etag_verified,
            parts: completed.parts,
            upload_id: state.upload.clone().unwrap_or_default(),
            sent_bytes: 0,
            kept_bytes: completed.size,
            copied_bytes: 0,
            retries: 0,
            copies: None,
        })
    }

    /// The digest of that object's content, if it was read as a disk.
    pub(crate) fn noted_digest(&self) -> Option<ContentDigest> {
        let state = self.state.as_ref().or(self.kept.as_ref())?;
        state.sent.as_ref()?.1.parse().ok()
    }

    /// The image that an earlier run saw active is gone, if it saw one.
    pub(crate) fn image_is_gone(&mut self) {
        if self.known() != Known::Done {
            return;
        }
        match self.ended {
            true => self.forget(),
            false => {
                if let Some(state) = &mut self.state {
                    state.image_is_gone();
                }
            }
        }
    }

    /// Parts that an earlier run has noted.
    pub(crate) fn parts(&self) -> Vec<PartRecord> {
        let parts = self.state.iter().flat_map(|state| state.parts.values());
        parts
            .map(|part| PartRecord {
                number: part.number,
                size: part.size,
                md5: part.md5,
                etag: part.etag.clone(),
            })
            .collect()
    }

    /// Reports uploads of this object that no journal records. They may be another
    /// machine's, so they are left alone.
    pub(crate) async fn tell_left_behind(&self, storage: &Client, observer: &dyn Observer) {
        let (bucket, key) = (&self.begun.bucket, &self.begun.key);
        // Whoever may not list them has no way to know.
        let listed = storage.list_uploads(bucket, Some(key)).await;
        let left = listed.unwrap_or_default().into_iter();
        for upload in left.filter(|upload| upload.key == *key).take(TOLD_UPLOADS) {
            let id = &upload.upload_id;
            observer.warn(format_args!(
                "upload {id} of {bucket}/{key} was started earlier and never completed; its parts are still charged. If \
                 nobody is working on it: imgferry uploads abort {bucket} --id {id}"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_of_another_length_is_not_ours_without_etags_either() {
        let found = |size, etag: Option<&str>| ObjectInfo {
            size,
            etag: etag.map(str::to_owned),
            weak_etag: false,
            modified: None,
            storage_class: None,
            encrypted: false,
        };
        let ours = |etag: &str| Ours {
            object: Some((5, etag.to_owned())),
            ..Ours::default()
        };
        assert!(ours("ab").may_be(&found(5, Some("ab"))));
        assert!(ours("").may_be(&found(5, None)));
        for (noted, size, etag) in [
            ("", 6, None),
            ("ab", 6, None),
            ("", 6, Some("ab")),
            ("ab", 5, Some("cd")),
        ] {
            assert!(!ours(noted).may_be(&found(size, etag)), "{size} {etag:?}");
        }
        assert!(!Ours::default().may_be(&found(5, None)));
    }
}
