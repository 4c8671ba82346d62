//! Whose an image is: what an earlier run has registered, or may have registered, is not registered
//! twice.

use ims::{ImageDetail, ImageStatus, ImageUrl, QuickImport};
use journal::registration::{Found, Known};

use super::call::Call;
use crate::ledger::Entry;
use crate::observe::Before;

/// Seconds by which the service's clock, as far as its answers tell it, may be wrong.
const SLACK: i64 = 120;

/// Seconds by which the clocks of storage and image service may differ. An image of an object that
/// was replaced within that time looks like one of the new object, so only an import that asked for
/// the image allows for it.
const APART: i64 = 5;

/// What is known of the registration before this run.
pub(crate) struct Attach<'a> {
    pub(crate) entry: &'a Entry,
    /// What the journal may not know.
    pub(crate) before: Before,
}

impl<'a> Attach<'a> {
    /// What is known of it.
    pub(crate) fn known(&self) -> Known {
        match self.entry.known() {
            Known::Nothing if self.before.registered => Known::Perhaps,
            known => known,
        }
    }

    /// What tells an image of `request` that is this import's own.
    pub(crate) fn own(&self, request: &'a QuickImport, call: &Call) -> Own<'a> {
        Own {
            two_steps: matches!(call, Call::TwoSteps(_)),
            since: self.entry.since(),
            trusting: matches!(self.entry.known(), Known::Sent | Known::Job),
            asked: self.entry.has_asked(),
            ..Own::of(request)
        }
    }
}

/// What tells that an image is this import's own.
#[derive(Clone, Debug)]
pub(crate) struct Own<'a> {
    pub(crate) request: &'a QuickImport,
    /// Whether an image may be there that waits for its file.
    pub(crate) two_steps: bool,
    /// When this import asked first, in seconds since 1970: what was there before is not its own.
    pub(crate) since: Option<i64>,
    /// When the object was stored, in seconds since 1970: an older image was made of one that it
    /// replaced.
    pub(crate) stored: Option<i64>,
    /// Whether an image of which nothing is told is its own: the name was free before it asked, and
    /// nobody refused.
    pub(crate) trusting: bool,
    /// Whether this import has asked for the image. Otherwise the image has to prove by both times
    /// that it was made of the object that is there.
    pub(crate) asked: bool,
}

impl<'a> Own<'a> {
    /// An image that is told by its object alone.
    pub(crate) fn of(request: &'a QuickImport) -> Self {
        Self {
            request,
            two_steps: false,
            since: None,
            stored: None,
            trusting: false,
            asked: false,
        }
    }
}

impl Own<'_> {
    /// Whose `image` is.
    pub(crate) fn judge(&self, image: &ImageDetail) -> Found {
        let made = image.created_at.zip(self.since);
        let early = made.is_some_and(|(made, since)| made < since.saturating_sub(SLACK));
        if image.has_failed() {
            Found::Nothing
        } else if early || !self.may_follow_object(image) {
            Found::Theirs
        } else if self.two_steps && waits_for_file(image, self.request) {
            Found::Half
        } else {
            // A service that does not tell what an image is made of may still tell when.
            match comes_from(image, self.request) {
                Some(true) => Found::Ours,
                None if made.is_some() || self.trusting => Found::Ours,
                Some(false) | None => Found::Theirs,
            }
        }
    }

    /// Whether `image` may have been made after the object was stored, which replaced another one.
    fn may_follow_object(&self, image: &ImageDetail) -> bool {
        match self.asked {
            true => {
                let times = image.created_at.zip(self.stored);
                times.is_none_or(|(made, stored)| made >= stored.saturating_sub(APART))
            }
            false => follows(image, self.stored),
        }
    }

    /// The image among those of the name that matters most, and whose it is.
    pub(crate) fn among(&self, images: Vec<ImageDetail>) -> (Found, Option<ImageDetail>) {
        let rank = |found: &Found| match found {
            Found::Ours => 0,
            Found::Half => 1,
            Found::Theirs => 2,
            Found::Nothing => 3,
        };
        images
            .into_iter()
            .map(|image| (self.judge(&image), Some(image)))
            .min_by_key(|(found, _)| rank(found))
            .unwrap_or((Found::Nothing, None))
    }
}

/// Whether it is known that `image` was not made before its object was `stored`: of one that this
/// object has replaced.
pub(crate) fn follows(image: &ImageDetail, stored: Option<i64>) -> bool {
    let times = image.created_at.zip(stored);
    times.is_some_and(|(made, stored)| made >= stored)
}

/// Whether `image` has no file, as far as is told: one that was made by the first of two calls.
pub(crate) fn waits_for_file(image: &ImageDetail, request: &QuickImport) -> bool {
    image.status == ImageStatus::Queued && comes_from(image, request).is_none()
}

/// The object that `image` was made of, where the service tells.
pub(crate) fn origin(image: &ImageDetail) -> Option<ImageUrl> {
    let told = image
        .data_origin
        .clone()
        .or_else(|| image.field("__image_location"))?;
    let told = told.strip_prefix("file,").unwrap_or(&told);
    let (bucket, key) = told.split_once(':')?;
    let is_named = !bucket.is_empty() && !key.is_empty();
    is_named.then(|| ImageUrl {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
    })
}

/// Whether `image` was made of the object of `request`, where the service tells. Of an image that
/// has no file yet it tells an origin that names nothing, if any.
pub(crate) fn comes_from(image: &ImageDetail, request: &QuickImport) -> Option<bool> {
    let origin = request.image_url.to_string();
    let told = image
        .data_origin
        .clone()
        .or_else(|| image.field("__image_location"))?;
    let nothing = told
        .split(',')
        .all(|piece| ["file", "", ":"].contains(&piece));
    (!nothing).then(|| told.split(',').any(|piece| piece == origin))
}
