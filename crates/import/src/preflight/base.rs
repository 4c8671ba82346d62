//! The earlier object that an import is based on: named by its key, or by the image that was made of
//! it.

use ::convert::Target;
use cloud::{Class, Failure, ImportHint, Result, from_ims};
use ims::{ImageId, ImageUrl};
use obs::Client as Storage;

use crate::observe::Context;
use crate::piece::{Disk, Form, Pieces};
use crate::register::origin;
use crate::send::{Base, check_min_part};
use crate::spec::ImportSpec;
use crate::stdin::is_standard_input;

/// The object that `named` says, checked.
pub(super) async fn find(
    spec: &ImportSpec,
    cx: Context<'_>,
    storage: &Storage,
    pieces: &Pieces,
    named: &str,
) -> Result<Base> {
    let refused = |message: String, hint| Err(Failure::new(Class::Refused, message).hint(hint));
    let system = &pieces.system;
    if is_standard_input(&spec.disk.path) {
        return refused(
            "what comes from standard input is read once, and an import with a base reads twice \
             what has changed"
                .to_owned(),
            ImportHint::NameFile,
        );
    }
    check_min_part(spec.min_part)?;
    let Some(disk) = single(pieces) else {
        return refused(
            "only a single disk that is converted can be based on an earlier object".to_owned(),
            ImportHint::ImportWithoutBase,
        );
    };
    if spec.open.bitmap.is_some() && spec.target == Target::Raw {
        return refused(
            "all of the disk is read for the bitmap of a raw object, so nobody need say what has \
             changed"
                .to_owned(),
            ImportHint::ReadWholeDisk,
        );
    }
    let url = match image_id(named) {
        Some(id) => of_image(cx, &id).await?,
        None => ImageUrl {
            bucket: spec.bucket.clone(),
            key: named.to_owned(),
        },
    };
    if system.request.image_url == url {
        let message = format!(
            "{}/{} is to be replaced, so it cannot be the base",
            url.bucket, url.key
        );
        return refused(message, ImportHint::NameKey);
    }
    let place = (url.bucket.as_str(), url.key.as_str());
    let base = Base::find(storage, place, spec.min_part, &disk.plan, cx.stop).await?;
    match &spec.open.bitmap {
        Some(bitmap) => base.changed_by(bitmap, &disk.image, cx.stop).await,
        None => Ok(base),
    }
}

/// The disk, if it is a single one that is converted.
fn single(pieces: &Pieces) -> Option<&Disk> {
    match &pieces.system.form {
        Form::Stream(disk) | Form::Parts(disk, _) if pieces.data.is_empty() => Some(disk),
        _ => None,
    }
}

/// `named` as the id of an image. Nobody calls an object so.
fn image_id(named: &str) -> Option<ImageId> {
    /// Digits of a UUID, with its hyphens.
    const LEN: usize = 36;
    let is_id = named.len() == LEN && uuid::Uuid::try_parse(named).is_ok();
    named.parse().ok().filter(|_| is_id)
}

/// The object that an image was made of.
async fn of_image(cx: Context<'_>, id: &ImageId) -> Result<ImageUrl> {
    let refused = |why: &str| {
        Failure::new(
            Class::Refused,
            format!("image {id} cannot be the base of this import: {why}"),
        )
        .hint(ImportHint::ImportWithoutBase)
    };
    let image = cx.session.images().image(id).await;
    let image = image.map_err(|error| from_ims(&error))?;
    let image = image.ok_or_else(|| refused("there is no such image"))?;
    origin(&image).ok_or_else(|| refused("the service names no object that it was made of"))
}
