//! `imgferry uploads`: what was begun in a bucket and never completed.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use journal::StateDir;
use obs::OpenUpload;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::storage;
use crate::args::{AbortArgs, ListArgs, ObsUrl, UploadsArgs, UploadsCommand};
use crate::console::Console;
use cloud::{Class, Failure, Result, StopToken, from_obs};

pub(crate) async fn run(args: &UploadsArgs, console: Console, stop: &StopToken) -> Result {
    match &args.command {
        UploadsCommand::List(args) => list(args, console, stop).await,
        UploadsCommand::Abort(args) => abort(args, console, stop).await,
    }
}

/// An upload in a listing.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    upload: OpenUpload,
    /// Whether a journal on this machine can go on with it.
    resumable: bool,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let begun = self
            .upload
            .initiated
            .and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok())
            .and_then(|at| at.format(&Rfc3339).ok())
            .unwrap_or_else(|| "unknown".into());
        write!(
            f,
            "{begun:20}  {}  {}{}",
            shown(&self.upload.upload_id),
            shown(&self.upload.key),
            if self.resumable {
                "  (resumable here: imgferry status)"
            } else {
                ""
            }
        )
    }
}

/// A name of the server's: quoted and escaped where it would not show as it is, so that no two
/// names look the same.
fn shown(name: &str) -> Cow<'_, str> {
    let quoted = format!("{name:?}");
    let inside = quoted.get(1..quoted.len().saturating_sub(1));
    match inside == Some(name) {
        true => Cow::Borrowed(name),
        false => Cow::Owned(quoted),
    }
}

/// Rows for people, one a line.
struct Rows<'a>(&'a [Row]);

impl fmt::Display for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, row) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{row}")?;
        }
        Ok(())
    }
}

/// The open uploads of a place, with what journals here know of them.
async fn rows(
    client: &obs::Client,
    place: &ObsUrl,
    state_dir: Option<&Path>,
    stop: &StopToken,
) -> Result<Vec<Row>> {
    let known = known(state_dir)?;
    let prefix = (!place.key.is_empty()).then_some(place.key.as_str());
    let uploads = stop
        .unless_asked(client.list_uploads(&place.bucket, prefix))
        .await??;
    let row = |upload: OpenUpload| Row {
        resumable: known.contains(&(place.bucket.clone(), upload.upload_id.clone())),
        upload,
    };
    Ok(uploads.into_iter().map(row).collect())
}

/// Bucket and id of the uploads that journals here can go on with.
fn known(state_dir: Option<&Path>) -> Result<HashSet<(String, String)>> {
    let failed = |error: journal::Error| {
        Failure::from_error(Class::Io, &error).context("the journals cannot be read")
    };
    let dir = match StateDir::resolve(state_dir, |name| std::env::var_os(name)) {
        // Nowhere to keep journals: there are none.
        Err(journal::Error::NoPlace) => return Ok(HashSet::new()),
        dir => dir.map_err(failed)?,
    };
    let uploads = dir.uploads().map_err(failed)?;
    let ids = uploads.into_iter().map(|(bucket, _, id)| (bucket, id));
    Ok(ids.collect())
}

async fn list(args: &ListArgs, console: Console, stop: &StopToken) -> Result {
    let (session, client) = storage::open(&args.cloud, Some(&args.place.bucket), None).await?;
    let rows = rows(&client, &args.place, args.state_dir.as_deref(), stop).await;
    let rows = session.close(rows).await?;
    let data = serde_json::json!({ "bucket": args.place.bucket, "uploads": rows });
    if rows.is_empty() {
        return console.result(format_args!("no open uploads in {}", args.place), &data);
    }
    console.result(Rows(&rows), &data)
}

/// What became of the uploads that were picked.
#[derive(Debug, Default, Serialize)]
struct Aborted {
    dry_run: bool,
    aborted: Vec<Row>,
    /// Left alone, because a journal here can go on with them.
    kept: Vec<Row>,
}

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let did = if self.dry_run {
            "would be aborted"
        } else {
            "aborted"
        };
        match self.aborted.as_slice() {
            [] => write!(f, "no upload {did}")?,
            rows => write!(f, "{}\n{} {did}", Rows(rows), plural(rows.len()))?,
        }
        if !self.kept.is_empty() {
            write!(
                f,
                "\n{}\n{} can be resumed and were kept; --resumable aborts those too",
                Rows(&self.kept),
                plural(self.kept.len())
            )?;
        }
        Ok(())
    }
}

fn plural(uploads: usize) -> String {
    match uploads {
        1 => "1 upload".into(),
        n => format!("{n} uploads"),
    }
}

async fn abort(args: &AbortArgs, console: Console, stop: &StopToken) -> Result {
    let (session, client) = storage::open(&args.cloud, Some(&args.place.bucket), None).await?;
    let ended = abort_all(args, &client, console, stop).await;
    let aborted = session.close(ended).await?;
    console.result(&aborted, &aborted)
}

async fn abort_all(
    args: &AbortArgs,
    client: &obs::Client,
    console: Console,
    stop: &StopToken,
) -> Result<Aborted> {
    let rows = rows(client, &args.place, args.state_dir.as_deref(), stop).await?;
    let missing = args
        .which
        .ids
        .iter()
        .find(|id| !rows.iter().any(|row| row.upload.upload_id == **id));
    if let Some(id) = missing {
        return Err(Failure::new(
            Class::Refused,
            format!("{} has no open upload with id {id}", args.place),
        )
        .hint(format!("imgferry uploads list {}", args.place.bucket)));
    }
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let mut result = Aborted {
        dry_run: args.dry_run,
        ..Aborted::default()
    };
    for row in rows {
        if !picked(args, &row.upload, now) {
            continue;
        }
        if row.resumable && !args.resumable && args.which.ids.is_empty() {
            result.kept.push(row);
            continue;
        }
        if !args.dry_run {
            let OpenUpload { key, upload_id, .. } = &row.upload;
            stop.unless_asked(client.abort_upload(&args.place.bucket, key, upload_id))
                .await?
                .map_err(|error| {
                    from_obs(&error).note(format!("{} before", plural(result.aborted.len())))
                })?;
            // An import to raw has an object of zeros beside its upload.
            if key.ends_with(".raw")
                && let Err(error) = client
                    .delete_zeros(&args.place.bucket, key, upload_id)
                    .await
            {
                console.warn(format_args!(
                    "an object of zeros beside {key} may be left: {}",
                    from_obs(&error)
                ));
            }
        }
        result.aborted.push(row);
    }
    Ok(result)
}

/// Whether the options mean this upload. One whose age nobody tells is never old.
fn picked(args: &AbortArgs, upload: &OpenUpload, now: i64) -> bool {
    if args.which.all {
        return true;
    }
    match args.which.older_than {
        Some(span) => upload.initiated.is_some_and(|at| {
            u64::try_from(now.saturating_sub(at)).is_ok_and(|age| age > span.as_secs())
        }),
        None => args.which.ids.contains(&upload.upload_id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_not_show_as_they_are_are_quoted_and_stay_apart() {
        for (name, expected) in [
            ("disks/a b.zvhd2", "disks/a b.zvhd2"),
            ("größe", "größe"),
            ("\u{1b}[31mx", "\"\\u{1b}[31mx\""),
            ("[31mx", "[31mx"),
            ("a\nb", "\"a\\nb\""),
            ("a\\nb", "\"a\\\\nb\""),
            ("\u{202e}x", "\"\\u{202e}x\""),
            ("\"a\"", "\"\\\"a\\\"\""),
        ] {
            assert_eq!(shown(name), expected);
        }
    }
}
