//! Images, shown.

use diskimg::units::human;
use ims::{ImageDetail, ImageId, ImageQuery};
use serde_json::{Value, json};

use super::super::table::{plain, table};
use super::{image_id, no_image};
use crate::args::{ImageListArgs, ImageShowArgs, ImageTagsArgs, Owner};
use crate::console::Console;
use cloud::{Result, Session};

pub(super) async fn list(session: &Session, args: &ImageListArgs, console: Console) -> Result {
    let text = |text: &str| Some(text.to_owned());
    let (image_type, visibility, member_status) = match args.owner {
        Owner::Private => (text("private"), None, None),
        Owner::Public => (text("gold"), None, None),
        Owner::Shared => (text("shared"), None, None),
        Owner::Pending => (text("shared"), text("shared"), text("pending")),
        Owner::Rejected => (text("shared"), text("shared"), text("rejected")),
        Owner::All => (None, None, None),
    };
    let query = ImageQuery {
        name: args.name.clone(),
        status: args.status.clone(),
        image_type,
        visibility,
        member_status,
        os_type: args.os_type.clone(),
        platform: args.platform.clone(),
        virtual_env_type: None,
        tag: args.tag.clone(),
        other: Vec::new(),
    };
    let limit = args.limit.get();
    let images = session.images().list_images(&query, limit).await?;
    if images.len() == limit {
        console.warn(format_args!(
            "the first {} images are listed; --limit shows more, if there are any",
            limit
        ));
    }
    let mut rows = vec![row(
        ["ID", "STATUS", "MIN DISK", "SIZE", "OS", "NAME"].map(String::from)
    )];
    rows.extend(images.iter().map(|image| {
        let or_dash = |text: &Option<String>| text.as_deref().map_or("-".to_owned(), plain);
        row([
            image.id.to_string(),
            plain(image.status.as_str()),
            image
                .min_disk
                .map_or("-".to_owned(), |gib| format!("{gib} GiB")),
            image
                .size
                .map_or("-".to_owned(), |size| human(size).to_string()),
            or_dash(&image.os_version),
            or_dash(&image.name),
        ])
    }));
    let all: Vec<&Value> = images.iter().map(ImageDetail::raw).collect();
    console.result(table(&rows), &json!({"images": all}))
}

fn row<const N: usize>(cells: [String; N]) -> Vec<String> {
    cells.to_vec()
}

pub(super) async fn show(session: &Session, args: &ImageShowArgs, console: Console) -> Result {
    let id = image_id(&args.id)?;
    let image = session
        .images()
        .image(&id)
        .await?
        .ok_or_else(|| no_image(&id))?;
    console.result(attributes(&image), image.raw())
}

/// Every attribute that has a value, by name.
pub(super) fn attributes(image: &ImageDetail) -> String {
    let fields = image.raw().as_object().into_iter().flatten();
    let rows: Vec<Vec<String>> = fields
        .filter(|(_, value)| !value.is_null() && value.as_str() != Some(""))
        .map(|(name, value)| {
            let value = match value {
                Value::String(text) => plain(text),
                other => plain(&other.to_string()),
            };
            vec![plain(name), value]
        })
        .collect();
    table(&rows)
}

pub(super) async fn members(session: &Session, args: &ImageShowArgs, console: Console) -> Result {
    let id = image_id(&args.id)?;
    let members = session.images().image_members(&id).await?;
    let rows: Vec<Vec<String>> = members
        .iter()
        .map(|member| {
            let text = |text: &Option<String>| text.as_deref().map_or("-".to_owned(), plain);
            vec![text(&member.member_id), text(&member.status)]
        })
        .collect();
    let text = match rows.is_empty() {
        true => "the image is shared with nobody".to_owned(),
        false => table(&rows),
    };
    console.result(text, &json!({"image_id": id.as_str(), "members": members}))
}

pub(super) async fn tags(session: &Session, args: &ImageTagsArgs, console: Console) -> Result {
    if let Some(id) = &args.id {
        return tags_now(session, &image_id(id)?, console).await;
    }
    let tags = session.images().all_tags().await?;
    let rows: Vec<Vec<String>> = tags
        .iter()
        .flat_map(|tag| {
            let values = tag.values.iter();
            values.map(|value| vec![format!("{}={}", plain(&tag.key), plain(value))])
        })
        .collect();
    let text = match rows.is_empty() {
        true => "no tags".to_owned(),
        false => table(&rows),
    };
    console.result(text, &json!({"tags": tags}))
}

pub(super) async fn tags_now(session: &Session, id: &ImageId, console: Console) -> Result {
    let tags = session.images().image_tags(id).await?;
    let lines: Vec<String> = tags
        .iter()
        .map(|tag| format!("{}={}", plain(&tag.key), plain(&tag.value)))
        .collect();
    let text = if lines.is_empty() {
        "no tags".to_owned()
    } else {
        lines.join("\n")
    };
    console.result(text, &json!({"image_id": id.as_str(), "tags": tags}))
}
