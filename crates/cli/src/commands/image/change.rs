//! Images, changed and deleted.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use ims::{Change, ErrorKind, ImageId, Tag};
use serde_json::json;

use super::super::table::plain;
use super::show::{self, tags_now};
use super::{image_id, image_ids, no_image};
use crate::args::{Boot, ImageDeleteArgs, ImageSetArgs, ImageTagArgs, ImageUntagArgs};
use crate::console::Console;
use cloud::{Class, Failure, Result, Session, from_ims};

pub(super) async fn set(session: &Session, args: &ImageSetArgs, console: Console) -> Result {
    let id = image_id(&args.id)?;
    let image = session.images().update_image(&id, &changes(args)).await?;
    console.result(show::attributes(&image), image.raw())
}

fn changes(args: &ImageSetArgs) -> Vec<Change> {
    let text = |name: &str, value: &Option<String>| {
        let value = value.as_deref()?;
        Some(Change::replace(name, value))
    };
    let number = |name: &str, value: Option<u32>| Some(Change::replace(name, value?));
    let firmware = args.firmware.map(|boot| match boot {
        Boot::Bios => "bios",
        Boot::Uefi => "uefi",
    });
    let known = [
        text("name", &args.name),
        text("__description", &args.description),
        number("min_disk", args.min_disk),
        number("min_ram", args.min_ram),
        // The reference has this one as text.
        args.max_ram
            .map(|mib| Change::add("max_ram", mib.to_string())),
        // Images of old regions lack the attribute, so it is added.
        firmware.map(|firmware| Change::add("hw_firmware_type", firmware)),
        text("__os_version", &args.os_version),
        args.protected.map(|on| Change::replace("protected", on)),
    ];
    let more = args
        .property
        .iter()
        .map(|(name, value)| Change::add(name, value.as_str()));
    let unset = args.unset.iter().map(|name| Change::remove(name));
    known
        .into_iter()
        .flatten()
        .chain(more)
        .chain(unset)
        .collect()
}

/// Times that a deleted image is looked for: the service answers before it is gone.
const LOOKS: u32 = 30;

pub(super) async fn delete(session: &Session, args: &ImageDeleteArgs, console: Console) -> Result {
    let ids = image_ids(&args.ids)?;
    if !args.yes {
        confirm(session, &ids).await?;
    }
    let mut deleted: Vec<&str> = Vec::new();
    for id in &ids {
        remove(session, id, args.delete_backup)
            .await
            .map_err(|failure| failure.data("deleted", &deleted))?;
        console.notice(format_args!("image {id} is deleted"));
        deleted.push(id.as_str());
    }
    console.result(
        format_args!("{} deleted", deleted.len()),
        &json!({"deleted": deleted}),
    )
}

async fn remove(session: &Session, id: &ImageId, backups: bool) -> Result {
    match session.images().delete_image(id, backups).await {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(no_image(id)),
        Err(error) => return Err(from_ims(&error)),
    }
    let pause = session.patience(0).first;
    for _ in 0..LOOKS {
        let left = session.images().image(id).await?;
        if left.is_none_or(|image| image.status == ims::ImageStatus::Deleted) {
            return Ok(());
        }
        tokio::time::sleep(pause).await;
    }
    Err(Failure::new(
        Class::Cloud,
        format!("image {id} is still listed; the service took the request to delete it"),
    ))
}

/// Asks on a terminal; elsewhere nobody can answer.
async fn confirm(session: &Session, ids: &[ImageId]) -> Result {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::new(
            Class::Refused,
            "deleting images needs --yes where there is no terminal to ask on",
        ));
    }
    let mut err = io::stderr();
    for id in ids {
        let image = session.images().image(id).await?;
        let name = image.ok_or_else(|| no_image(id))?.name.unwrap_or_default();
        let _ = writeln!(err, "{id}  {}", plain(&name));
    }
    let _ = write!(err, "delete {} images for good? [y/N] ", ids.len());
    let _ = err.flush();
    // A thread of its own: the program does not wait for it when it is interrupted.
    let (told, answer) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line).map(|_| line);
        let _ = told.send(read);
    });
    let answer = answer
        .await
        .map_err(|e| Failure::from_error(Class::Io, &e))?
        .map_err(|e| Failure::from_error(Class::Io, &e))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    Err(Failure::new(Class::Refused, "nothing was deleted"))
}

pub(super) async fn tag(session: &Session, args: &ImageTagArgs, console: Console) -> Result {
    let id = image_id(&args.id)?;
    let tags: Vec<Tag> = args
        .tags
        .iter()
        .map(|(key, value)| Tag::new(key, value))
        .collect();
    session.images().set_image_tags(&id, &tags).await?;
    tags_now(session, &id, console).await
}

pub(super) async fn untag(session: &Session, args: &ImageUntagArgs, console: Console) -> Result {
    let id = image_id(&args.id)?;
    let tags: Vec<Tag> = args.keys.iter().map(|key| Tag::new(key, "")).collect();
    session.images().remove_image_tags(&id, &tags).await?;
    tags_now(session, &id, console).await
}
