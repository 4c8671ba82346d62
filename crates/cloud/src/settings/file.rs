//! The configuration file: TOML with named profiles.
//!
//! Errors name the line and never quote it: there may be a secret in it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use diskimg::source::open_regular;
use diskimg::text::shown;
use nearest::did_you_mean;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Environment;
use super::layers::{Layer, Place};
use super::names::{self, Kind, SPECS};

/// Largest configuration file in bytes. Ours: a profile has some hundred.
const MAX_BYTES: u64 = 1 << 20;

/// The profile that is used when none is named.
pub(crate) const DEFAULT_PROFILE: &str = "default";

/// Where the file is looked for, and whether the user named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) path: PathBuf,
    pub(crate) given: bool,
}

/// `given`, or IMGFERRY_CONFIG, or `imgferry/config.toml` in the user's configuration directory.
pub(crate) fn location(given: Option<&Path>, env: &dyn Environment) -> Option<Location> {
    if let Some(path) = given {
        return Some(Location {
            path: path.to_owned(),
            given: true,
        });
    }
    if let Some(path) = env.get("IMGFERRY_CONFIG") {
        return Some(Location {
            path: path.into(),
            given: true,
        });
    }
    Some(Location {
        path: config_dir(env)?.join("imgferry").join("config.toml"),
        given: false,
    })
}

/// The user's configuration directory: XDG_CONFIG_HOME, which must be absolute to count, or
/// ~/.config.
pub(crate) fn config_dir(env: &dyn Environment) -> Option<PathBuf> {
    env.get("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(env.get("HOME")?).join(".config")))
}

/// The profile `wanted`, or the file's default one. `Ok(None)` when nothing was named and nothing
/// is there.
pub(crate) fn profile(location: &Location, wanted: Option<&str>) -> Result<Option<Layer>, String> {
    let shown = shown(&location.path);
    let Some((text, is_private)) = read(&location.path)? else {
        return match wanted {
            _ if location.given => Err(format!("there is no configuration file {shown}")),
            Some(name) => Err(format!(
                "profile {name:?} is asked for, but there is no configuration file {shown}"
            )),
            None => Ok(None),
        };
    };
    let table = DeTable::parse(&text).map_err(|error| {
        let line = error.span().map(|span| line_of(&text, span.start));
        format!(
            "{shown}{}: {}",
            line.map(|line| format!(", line {line}"))
                .unwrap_or_default(),
            error.message()
        )
    })?;
    let at = |span: std::ops::Range<usize>| format!("{shown}, line {}", line_of(&text, span.start));

    let mut default = None;
    let mut profiles = None;
    for (key, value) in table.get_ref() {
        match key.get_ref().as_ref() {
            "default_profile" => default = Some(string(value, "default_profile", &at)?),
            "profile" => profiles = Some(sub_table(value, "profile", &at)?),
            other => {
                let hint = if names::by_key(other).is_some() {
                    "; settings stand in a profile, such as [profile.default]".to_owned()
                } else {
                    did_you_mean(other, ["default_profile", "profile"])
                };
                return Err(format!("{}: unknown key {other:?}{hint}", at(key.span())));
            }
        }
    }
    let empty = DeTable::new();
    let profiles = profiles.unwrap_or(&empty);
    // Every profile is checked, so that an error in one is not found only on the day it is needed.
    let mut found = None;
    let name = wanted.or(default.as_deref()).unwrap_or(DEFAULT_PROFILE);
    for (key, value) in profiles {
        let layer = layer(&location.path, key, value, &at)?;
        let holds_secret = SPECS
            .iter()
            .any(|spec| spec.secret && layer.get(spec.name).is_some());
        if holds_secret && !is_private {
            return Err(format!(
                "{shown} holds secrets and can be read by others, expected mode 0600: chmod 600 {shown}"
            ));
        }
        if key.get_ref().as_ref() == name {
            found = Some(layer);
        }
    }
    match (found, wanted.or(default.as_deref())) {
        (Some(layer), _) => Ok(Some(layer)),
        (None, Some(name)) => Err(format!(
            "{shown} has no profile {name:?}{}",
            did_you_mean(name, profiles.keys().map(|key| key.get_ref().as_ref()))
        )),
        (None, None) => Ok(None),
    }
}

/// The file for who wants none.
pub(super) const NOTHING: &str = "/dev/null";

/// The text, and whether only its owner can read it. `None` when there is no file.
fn read(path: &Path) -> Result<Option<(String, bool)>, String> {
    let failed =
        |what: &str, error: std::io::Error| format!("{} cannot be {what}: {error}", shown(&path));
    if path == Path::new(NOTHING) {
        return Ok(Some((String::new(), true)));
    }
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed("opened", error)),
    };
    // Of the opened file: what is checked is what is read.
    let metadata = file.metadata().map_err(|e| failed("read", e))?;
    let mut text = String::new();
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|e| failed("read", e))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(format!(
            "{} has more than {MAX_BYTES} bytes, which no configuration needs",
            shown(&path)
        ));
    }
    Ok(Some((text, is_private(&metadata))))
}

#[cfg(unix)]
fn is_private(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o077 == 0
}

#[cfg(not(unix))]
fn is_private(_: &std::fs::Metadata) -> bool {
    true
}

/// Line number, from 1, of a byte of `text`.
fn line_of(text: &str, at: usize) -> usize {
    let before = text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    before.saturating_add(1)
}

fn layer(
    path: &Path,
    name: &Spanned<std::borrow::Cow<'_, str>>,
    value: &Spanned<DeValue<'_>>,
    at: &impl Fn(std::ops::Range<usize>) -> String,
) -> Result<Layer, String> {
    let mut layer = Layer::new(Place::Profile {
        name: name.get_ref().to_string(),
        path: path.to_owned(),
    });
    for (key, value) in sub_table(value, name.get_ref(), at)? {
        let Some(spec) = names::by_key(key.get_ref()) else {
            return Err(format!(
                "{}: unknown key {:?}{}",
                at(key.span()),
                key.get_ref(),
                did_you_mean(key.get_ref(), SPECS.iter().map(|spec| spec.key))
            ));
        };
        let text = match (spec.kind, value.get_ref()) {
            (Kind::Switch, DeValue::Boolean(on)) => on.to_string(),
            (Kind::Switch, other) => {
                return Err(format!(
                    "{}: {} is {}, expected true or false",
                    at(value.span()),
                    spec.key,
                    other.type_str()
                ));
            }
            (Kind::Text, _) => string(value, spec.key, at)?,
        };
        // As in the environment: empty is unset.
        layer.set(spec.name, Some(text).filter(|text| !text.is_empty()));
    }
    Ok(layer)
}

fn string(
    value: &Spanned<DeValue<'_>>,
    key: &str,
    at: &impl Fn(std::ops::Range<usize>) -> String,
) -> Result<String, String> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        other => Err(format!(
            "{}: {key} is {}, expected text in quotes",
            at(value.span()),
            other.type_str()
        )),
    }
}

fn sub_table<'a, 'i>(
    value: &'a Spanned<DeValue<'i>>,
    key: &str,
    at: &impl Fn(std::ops::Range<usize>) -> String,
) -> Result<&'a DeTable<'i>, String> {
    match value.get_ref() {
        DeValue::Table(table) => Ok(table),
        other => Err(format!(
            "{}: {key} is {}, expected a table such as [profile.work]",
            at(value.span()),
            other.type_str()
        )),
    }
}
