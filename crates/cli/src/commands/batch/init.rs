//! `imgferry batch init`: a manifest of what is found.

use std::path::{Path, PathBuf};

use ::convert::{CancelToken, OutputFile, Overwrite, Sink};
use ::import::stopping;
use batch::init::{Draft, Error, Notation, Settings, find};
use diskimg::text::shown;
use diskimg::{OpenOptions, printable};
use serde::Serialize;

use crate::args::BatchInitArgs;
use crate::commands::typed;
use crate::console::Console;
use cloud::{Class, Failure, Result};

/// Most refused files that an error lists.
const MAX_NOTES: usize = 10;

/// The result, as it is in JSON.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    draft: &'a Draft,
    /// The manifest's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<&'a Path>,
    /// The manifest, when it is not written to a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<&'a str>,
}

pub(crate) fn run(args: &BatchInitArgs, console: Console, cancel: &CancelToken) -> Result {
    // What cannot be written is refused before anything is opened.
    let file = args.output.as_deref().map(|path| {
        let overwrite = match args.force {
            true => Overwrite::Replace,
            false => Overwrite::Refuse,
        };
        OutputFile::create(path, overwrite)
    });
    let mut file = file.transpose()?;
    let dir = directory(args.output.as_deref())?;
    let stop = stopping(&OpenOptions::default(), cancel).stop;
    let found = find(&args.places, &stop).map_err(|error| match error {
        Error::Cancelled => Failure::new(Class::Interrupted, error.to_string()),
        _ => Failure::new(Class::Refused, error.to_string()),
    })?;
    let draft = Draft::of(found);
    if draft.images.is_empty() && draft.servers.is_empty() {
        return Err(nothing(args, &draft));
    }
    let settings = Settings {
        dir: &dir,
        bucket: args.bucket.as_deref(),
        notation: notation(args),
    };
    let text = draft.manifest(&settings);
    for refused in &draft.refused {
        console.warn(format_args!(
            "{}: {}",
            printable(&refused.path.to_string_lossy()),
            printable(&refused.reason)
        ));
    }
    for disk in draft.snapshots() {
        console.warn(format_args!(
            "{}: {}",
            printable(&disk.path.to_string_lossy()),
            printable(&disk.needs_backing())
        ));
    }
    let Some(mut file) = file.take() else {
        return console.result(
            text.trim_end(),
            &Written {
                draft: &draft,
                written: None,
                manifest: Some(&text),
            },
        );
    };
    file.write(text.as_bytes())
        .map_err(::convert::Error::Sink)?;
    let target = file.target().to_owned();
    file.commit()?;
    console.notice(format_args!(
        "replace each TODO in {}, then: imgferry batch plan {}",
        shown(&target),
        typed(&target, "MANIFEST")
    ));
    console.result(
        format_args!("written: {}", shown(&target)),
        &Written {
            draft: &draft,
            written: Some(&target),
            manifest: None,
        },
    )
}

fn notation(args: &BatchInitArgs) -> Notation {
    let extension = args.output.as_deref().and_then(Path::extension);
    match args.toml || extension.is_some_and(|extension| extension.eq_ignore_ascii_case("toml")) {
        true => Notation::Toml,
        false => Notation::Yaml,
    }
}

/// Where the manifest will stand, without links: as the disks' own paths are.
fn directory(output: Option<&Path>) -> Result<PathBuf> {
    let dir = output
        .and_then(Path::parent)
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::canonicalize(dir).map_err(|error| {
        Failure::from_error(Class::Refused, &error)
            .context(format!("{} cannot be found", shown(&dir)))
    })
}

fn nothing(args: &BatchInitArgs, draft: &Draft) -> Failure {
    let places: Vec<_> = args
        .places
        .iter()
        .map(|place| shown(place).to_string())
        .collect();
    let failure = Failure::new(
        Class::Refused,
        format!(
            "no importable disk image found in {}; {} files were skipped",
            places.join(", "),
            draft.passed_over
        ),
    );
    draft
        .refused
        .iter()
        .take(MAX_NOTES)
        .fold(failure, |failure, refused| {
            failure.note(format!(
                "{}: {}",
                printable(&refused.path.to_string_lossy()),
                printable(&refused.reason)
            ))
        })
        .data("refused", &draft.refused)
}
