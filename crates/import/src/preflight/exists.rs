//! What exists already: the images of the names, and the objects of the keys.

use cloud::{ImportHint, Problem, Result, from_ims, from_obs};
use ims::{Client as Images, ImageDetail, ImageStatus, QuickImport};
use journal::registration::Found;
use obs::{Client as Storage, ErrorKind};

use crate::bitmap::RawJob;
use crate::checks::Findings;
use crate::ledger::Ours;
use crate::observe::Context;
use crate::piece::{Form, Piece, Pieces};
use crate::register::{Own, comes_from, follows};
use crate::send::Existing;
use crate::spec::{IfExists, ImportSpec, Register};

/// What ends an import with [`IfExists::Skip`].
pub(crate) enum Skipped {
    /// The image of the name.
    Image(Box<ImageDetail>),
    /// The object, where nothing is registered.
    Object,
}

/// What exists and ends the import with [`IfExists::Skip`]. What an interrupted run of this import
/// has begun is finished instead.
pub(crate) async fn to_skip(
    spec: &ImportSpec,
    cx: Context<'_>,
    pieces: &Pieces,
    ours: &Ours,
) -> Result<Option<Skipped>> {
    if spec.if_exists != IfExists::Skip || ours.registering() {
        return Ok(None);
    }
    let request = &pieces.system.request;
    if spec.registers() {
        let found = cx.session.images().image_named(&request.name).await;
        return match found {
            Ok(found) => Ok(found
                .filter(|image| !image.has_failed())
                .map(|image| Skipped::Image(Box::new(image)))),
            // The checks tell.
            Err(error) if may_not_list(&error) => Ok(None),
            Err(error) => Err(from_ims(&error)),
        };
    }
    let storage = match cx.storage {
        Some(storage) => storage.clone(),
        None => cx.session.storage().await?,
    };
    let url = &request.image_url;
    match storage.object(&url.bucket, &url.key).await {
        Ok(found) => Ok(found
            .filter(|found| !ours.may_be(found))
            .map(|_| Skipped::Object)),
        Err(error) if error.kind() == ErrorKind::AccessDenied => Ok(None),
        Err(error) => Err(from_obs(&error)),
    }
}

/// Whether the caller lacks the right to look.
fn may_not_list(error: &ims::Error) -> bool {
    error.status() == Some(403) && !error.is_foreign()
}

/// The images that have the names of the pieces. Names are unique.
#[derive(Default)]
pub(super) struct Named {
    /// In the order of [`Pieces::all`]; empty when nothing is registered or `own` is known without
    /// them.
    images: Vec<Option<ImageDetail>>,
    /// Whether that of the system is this import's own doing, as its journal tells.
    pub(super) own: bool,
}

impl Named {
    /// Looks for them. Asking also proves endpoint, credentials and project to the service that
    /// registers the image, before anything is uploaded.
    pub(super) async fn look(
        spec: &ImportSpec,
        images: &Images,
        pieces: &Pieces,
        ours: &[Ours],
        findings: &mut Findings,
    ) -> Result<Self> {
        let mut named = Self::default();
        let Some(ours) = ours.last() else {
            return Ok(named);
        };
        if ours.registering() {
            named.own = true;
            return Ok(named);
        }
        for piece in pieces.all() {
            let request = &piece.request;
            let listed = match images.images_named(&request.name).await {
                Ok(listed) => listed,
                Err(error) if may_not_list(&error) => {
                    findings.warnings.push(format!(
                        "whether an image is named {:?} already could not be looked up: {error}",
                        request.name
                    ));
                    Vec::new()
                }
                Err(error) => return Err(from_ims(&error)),
            };
            // The name of one that has failed is free again.
            let there = listed.into_iter().filter(|image| !image.has_failed());
            let nearest = there.min_by_key(|image| comes_from(image, request) != Some(true));
            named.images.push(nearest);
        }
        if let Some(image) = named.images.last().and_then(Option::as_ref)
            && (ours.before.registered || ours.known.may_have_an_image())
        {
            let own = Own {
                two_steps: spec.register == Register::Glance,
                since: ours.since,
                // When the object was stored is held against it before anything is registered.
                asked: true,
                ..Own::of(&pieces.system.request)
            };
            named.own = matches!(own.judge(image), Found::Ours | Found::Half);
        }
        Ok(named)
    }

    /// The image of the system's name.
    pub(super) fn system(&self) -> Option<&ImageDetail> {
        self.images.last()?.as_ref()
    }

    /// Whether all images exist and were created from the objects in `places`, which can be
    /// compared with the pieces.
    pub(super) fn come_from(&self, pieces: &Pieces, places: &[Place]) -> bool {
        let came = |((image, piece), place): ((&Option<ImageDetail>, &Piece), &Place)| {
            let (Some(image), Place::Taken(Taken { found: Ok(_), .. })) = (image, place) else {
                return false;
            };
            place.own(&piece.request).judge(image) == Found::Ours
        };
        !self.images.is_empty() && self.images.iter().zip(pieces.all()).zip(places).all(came)
    }

    /// Rejects names that are taken, if the import is not to rename their images.
    pub(super) fn check(
        &self,
        spec: &ImportSpec,
        pieces: &Pieces,
        places: &[Place],
        findings: &mut Findings,
    ) {
        if self.own {
            return;
        }
        for ((image, piece), place) in self.images.iter().zip(pieces.all()).zip(places) {
            let (Some(image), request) = (image, &piece.request) else {
                continue;
            };
            let taken = format!("image {} already has the name {:?}", image.id, request.name);
            match spec.if_exists {
                IfExists::Replace if image.status == ImageStatus::Active => {}
                IfExists::Replace => findings.problems.push(Problem::new(
                    format!(
                        "{taken} and is {}, so it cannot be renamed",
                        image.status.as_str()
                    ),
                    ImportHint::WaitOrRename,
                )),
                IfExists::Adopt | IfExists::Fail | IfExists::Skip => findings.broken(
                    "name-free",
                    &spec.skip_checks,
                    &match spec.if_exists {
                        IfExists::Fail => taken,
                        _ => format!("{taken}; {}", place.why_not(image, request)),
                    },
                    ImportHint::FreeName,
                ),
            }
        }
    }
}

/// What is in the place of an object.
pub(super) enum Place {
    /// Nothing, or what may be replaced: this import's own, or anything with
    /// [`IfExists::Replace`].
    Free,
    Taken(Taken),
}

/// An object that exists.
pub(super) struct Taken {
    size: u64,
    /// When it was stored, in seconds since 1970.
    stored: Option<i64>,
    /// What it can be compared by, or why it cannot.
    found: Result<Existing, String>,
}

impl Place {
    pub(super) async fn look(
        spec: &ImportSpec,
        storage: &Storage,
        piece: &Piece,
        ours: &Ours,
        findings: &mut Findings,
    ) -> Result<Self> {
        let url = &piece.request.image_url;
        let found = match storage.object(&url.bucket, &url.key).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Self::Free),
            Err(error) if error.kind() == ErrorKind::AccessDenied => {
                findings.warnings.push(format!(
                    "whether object {url} exists could not be looked up; it would be replaced"
                ));
                return Ok(Self::Free);
            }
            Err(error) => return Err(from_obs(&error)),
        };
        if spec.if_exists == IfExists::Replace || ours.may_be(&found) {
            return Ok(Self::Free);
        }
        Ok(Self::Taken(Taken {
            size: found.size,
            stored: found.modified,
            found: match spec.if_exists {
                IfExists::Fail => Err("it is not compared".to_owned()),
                _ => Existing::find(storage, piece, &found).await?,
            },
        }))
    }

    /// What tells an image that was created from this very object.
    fn own<'a>(&self, request: &'a QuickImport) -> Own<'a> {
        Own {
            stored: match self {
                Self::Free => None,
                Self::Taken(taken) => taken.stored,
            },
            ..Own::of(request)
        }
    }

    /// Why it is not known that `image` was created from this disk.
    fn why_not(&self, image: &ImageDetail, request: &QuickImport) -> String {
        let url = &request.image_url;
        match (comes_from(image, request), self) {
            (None, _) => "the service does not say what it was created from".to_owned(),
            (Some(false), _) => format!(
                "it was created from {}, not from {url}",
                image
                    .data_origin
                    .as_deref()
                    .map_or("another object", |origin| {
                        origin.strip_prefix("file,").unwrap_or(origin)
                    })
            ),
            (Some(true), Self::Free) => {
                format!("it was created from an object {url} that is gone or was replaced")
            }
            (Some(true), Self::Taken(taken)) if !follows(image, taken.stored) => {
                match image.created_at.zip(taken.stored) {
                    Some(_) => format!("it was created before the object {url} was stored"),
                    None => format!(
                        "whether it was created after the object {url} was stored is not known"
                    ),
                }
            }
            (
                Some(true),
                Self::Taken(Taken {
                    found: Err(why), ..
                }),
            ) => {
                format!("it was created from the object {url}, but {why}")
            }
            (Some(true), Self::Taken(_)) => {
                "another image of this import does not exist".to_owned()
            }
        }
    }

    /// An object that exists is replaced only if the user says so, or an earlier owner of this
    /// import has stored it. One that can be compared is compared later.
    pub(super) fn check(
        &self,
        spec: &ImportSpec,
        piece: &Piece,
        ours: &Ours,
        findings: &mut Findings,
    ) {
        let Self::Taken(Taken { size, found, .. }) = self else {
            return;
        };
        let why = match found {
            _ if ours.before.uploaded => return,
            // Its bitmap could be that of another disk.
            Ok(_) if matches!(piece.form, Form::Parts(..)) => String::new(),
            Ok(_) => return,
            Err(_) if spec.if_exists == IfExists::Fail => String::new(),
            Err(why) => format!("; {why}"),
        };
        let url = &piece.request.image_url;
        findings.problems.push(Problem::new(
            format!("object {url} already exists, with {size} bytes{why}"),
            ImportHint::ReplaceObject,
        ));
    }

    /// The object, if it can be used when it holds `piece`. A raw object needs a bitmap, which
    /// nothing describes; where the image is `made`, nobody needs it any more.
    pub(super) fn existing(self, piece: &Piece, made: bool) -> Option<Existing> {
        match self {
            Self::Taken(taken) if made || !matches!(piece.form, Form::Parts(..)) => {
                taken.found.ok()
            }
            _ => None,
        }
    }
}

/// A bitmap object that exists is not replaced unless the user says so.
pub(super) async fn bitmap_key(
    spec: &ImportSpec,
    storage: &Storage,
    raw: &RawJob,
    ours: &Ours,
    findings: &mut Findings,
) -> Result {
    let (bucket, key) = (&spec.bucket, &raw.bitmap_key);
    match storage.object(bucket, key).await {
        // An earlier run or an earlier owner of this import has stored it.
        Ok(Some(_)) if ours.object.is_some() || ours.before.uploaded => {}
        Ok(Some(_)) if spec.if_exists != IfExists::Replace => findings.problems.push(Problem::new(
            format!("object {bucket}:{key} already exists"),
            ImportHint::ReplaceObject,
        )),
        Ok(_) => {}
        // Reported for the object itself.
        Err(error) if error.kind() == ErrorKind::AccessDenied => {}
        Err(error) => return Err(from_obs(&error)),
    }
    Ok(())
}
