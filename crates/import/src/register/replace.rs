//! Names that an import takes over: the images that have them are renamed and kept.

use cloud::{Result, from_ims};

use ims::rules::MAX_NAME;
use ims::{Change, ImageDetail, QuickImport};
use journal::Record;
use journal::registration::{Found, Known};
use serde::Serialize;

use super::attach::Attach;
use super::call::Call;
use crate::ledger::Entry;
use crate::observe::Context;

/// Characters of the id that make a name unique.
const OF_ID: usize = 8;

/// An image that had the name of an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Renamed {
    /// The image.
    pub image_id: String,
    /// Its name now.
    pub name: String,
}

/// The images that earlier runs of this import have renamed, as its journal records them.
pub(crate) fn renamed_before(entry: &Entry) -> Vec<Renamed> {
    let renamed = entry.state().into_iter().flat_map(|state| &state.renamed);
    let renamed = renamed.map(|(image, name)| Renamed {
        image_id: image.clone(),
        name: name.clone(),
    });
    renamed.collect()
}

/// Renames the images that have the name of `request` and are not this import's own.
pub(crate) async fn free_name(
    cx: Context<'_>,
    storage: &obs::Client,
    request: &QuickImport,
    call: &Call,
    attach: &Attach<'_>,
) -> Result<Vec<Renamed>> {
    let images = cx.session.images();
    let url = &request.image_url;
    let object = storage.object(&url.bucket, &url.key);
    let object = cx.stop.unless_asked(object).await?;
    let mut own = attach.own(request, call);
    own.stored = object.ok().flatten().and_then(|object| object.modified);
    // Nothing can have been registered from an object that is new.
    let is_theirs = |image: &ImageDetail| match attach.known() {
        Known::Nothing => !image.has_failed(),
        _ => own.judge(image) == Found::Theirs,
    };
    let listed = images.images_named(&request.name);
    let listed = cx.stop.unless_asked(listed).await?;
    let mut renamed = Vec::new();
    for image in listed
        .map_err(|e| from_ims(&e))?
        .iter()
        .filter(|i| is_theirs(i))
    {
        let name = new_name(&request.name, image.id.as_str());
        // Before: what is renamed twice gets the same name again.
        attach.entry.record(&Record::Renamed {
            image: image.id.to_string(),
            name: name.clone(),
        })?;
        let changes = [Change::replace("name", name.as_str())];
        let changed = images.update_image(&image.id, &changes).await;
        changed.map_err(|e| {
            from_ims(&e).context(format!(
                "image {} has the name {:?} and could not be renamed",
                image.id, request.name
            ))
        })?;
        cx.observer.notice(format_args!(
            "image {} gave up the name {:?}; it is kept as {name:?}",
            image.id, request.name
        ));
        renamed.push(Renamed {
            image_id: image.id.to_string(),
            name,
        });
    }
    Ok(renamed)
}

fn new_name(name: &str, id: &str) -> String {
    let suffix: String = "-replaced-".chars().chain(id.chars().take(OF_ID)).collect();
    let kept = MAX_NAME.saturating_sub(suffix.len());
    let name: String = name.chars().take(kept).collect();
    format!("{name}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_name_of_a_replaced_image_fits_and_is_its_own() {
        let id = "0a1b2c3d-4e5f-6789";
        assert_eq!(new_name("web01", id), "web01-replaced-0a1b2c3d");
        let long = new_name(&"n".repeat(128), id);
        assert_eq!(long.len(), 128);
        assert!(long.ends_with("n-replaced-0a1b2c3d"), "{long}");
    }
}
