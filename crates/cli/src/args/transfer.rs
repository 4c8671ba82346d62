//! Options about objects: their location, the transfer rate, and open uploads.

use std::ffi::OsStr;
use std::fmt;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::TypedValueParser;
use clap::{Args, Subcommand};

use diskimg::text::shown;

use super::cloud::CloudArgs;
use super::size::parse_size;
use super::state::StateArgs;
use ::import::{Concurrency, public_name};

/// `obs://bucket/key`, or `obs://bucket` where a bucket is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObsUrl {
    pub(crate) bucket: String,
    /// Empty for the bucket itself.
    pub(crate) key: String,
}

impl FromStr for ObsUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected obs://BUCKET/KEY, such as obs://images/disk.zvhd2".to_owned();
        let rest = text.strip_prefix("obs://").ok_or_else(expected)?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(expected());
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
        })
    }
}

impl fmt::Display for ObsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "obs://{}", self.bucket)?;
        if !self.key.is_empty() {
            write!(f, "/{}", self.key)?;
        }
        Ok(())
    }
}

/// An object, not only a bucket.
pub(super) fn parse_object(text: &str) -> Result<ObsUrl, String> {
    let url: ObsUrl = text.parse()?;
    if url.key.is_empty() {
        return Err(format!("{url} names no object: add /KEY"));
    }
    Ok(url)
}

/// Where a disk image is: in a file, or in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    File(PathBuf),
    Object(ObsUrl),
}

impl Place {
    /// The bucket, if it is in one.
    pub(crate) fn bucket(&self) -> Option<&str> {
        match self {
            Self::File(_) => None,
            Self::Object(url) => Some(&url.bucket),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => shown(&public_name(path)).fmt(f),
            Self::Object(url) => url.fmt(f),
        }
    }
}

/// Paths need not be UTF-8, so this parser takes `OsStr`.
#[derive(Clone, Debug)]
pub(super) struct PlaceParser;

impl TypedValueParser for PlaceParser {
    type Value = Place;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Place, clap::Error> {
        match value.to_str() {
            Some(text) if text.starts_with("obs://") => parse_object
                .parse_ref(command, arg, value)
                .map(Place::Object),
            _ => Ok(Place::File(super::streams::standard_input(value.into()))),
        }
    }
}

/// A bucket with or without `obs://`, and an optional prefix of keys.
fn parse_bucket(text: &str) -> Result<ObsUrl, String> {
    if text.starts_with("obs://") {
        return text.parse();
    }
    format!("obs://{text}").parse()
}

/// A bucket, or an object in it. `obs://` is required, so that a file name is never taken for a
/// bucket.
pub(super) fn parse_bucket_or_object(text: &str) -> Result<ObsUrl, String> {
    text.parse()
        .map_err(|_| "expected obs://BUCKET or obs://BUCKET/KEY".to_owned())
}

#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Transfer")]
pub(crate) struct PaceArgs {
    /// Parts to send at the same time: a number, or auto to start with 4 and tune the number within
    /// --memory
    #[arg(long, value_name = "N|auto", default_value = "auto")]
    pub(crate) concurrency: Concurrency,
    /// Limit of all parts together in bytes per second, such as 50M [default: no limit]
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub(crate) limit_rate: Option<NonZeroU64>,
}

/// Bytes per second, as a size.
pub(super) fn parse_rate(text: &str) -> Result<NonZeroU64, String> {
    let text = text.trim();
    let size = text.strip_suffix("/s").unwrap_or(text);
    let rate = parse_size(size).map_err(|_| "expected bytes per second, such as 50M".to_owned())?;
    // Slower than this a part of 8 MiB takes more than two hours.
    match NonZeroU64::new(rate) {
        Some(rate) if rate.get() >= 1024 => Ok(rate),
        _ => Err("at least 1K is needed".into()),
    }
}

/// A span such as `7d`, `12h` or `30m`.
pub(super) fn parse_age(text: &str) -> Result<Duration, String> {
    let expected = || "expected a span, such as 7d, 12h or 30m".to_owned();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(expected)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| expected())?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return Err(expected()),
    };
    number
        .checked_mul(unit)
        .map(Duration::from_secs)
        .ok_or_else(expected)
}

/// Upload a file to the object storage
///
/// Sends several parts at a time, verifies each by MD5, and retries failed ones. The object appears
/// complete and verified, or not at all. To resume the interrupted upload of a file, run the same
/// command again. FILE may be - for standard input.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  imgferry upload disk.zvhd2 obs://images/disk.zvhd2\n  imgferry upload --limit-rate 20M disk.raw obs://images/disk.raw\n  imgferry convert disk.qcow2 - | imgferry upload - obs://images/disk.zvhd2"
)]
pub(crate) struct UploadArgs {
    /// The file, or - for standard input
    #[arg(value_parser = super::streams::input())]
    pub(crate) file: PathBuf,
    /// Target object: obs://BUCKET/KEY
    #[arg(value_name = "OBJECT", value_parser = parse_object)]
    pub(crate) target: ObsUrl,
    /// Replace the object if it already exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Memory limit of all parts [default: 224MiB; more for files that need it and for standard
    /// input]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) memory: Option<u64>,
    /// Start over and discard an interrupted upload of the file instead of resuming it
    #[arg(long)]
    pub(crate) restart: bool,
    #[command(flatten)]
    pub(crate) state: StateArgs,
    #[command(flatten)]
    pub(crate) pace: PaceArgs,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// List or abort uploads that were never completed
///
/// Their parts are invisible, but stored and charged until the upload is completed or aborted.
#[derive(Debug, Args)]
pub(crate) struct UploadsArgs {
    #[command(subcommand)]
    pub(crate) command: UploadsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UploadsCommand {
    List(Box<ListArgs>),
    Abort(Box<AbortArgs>),
}

/// List the open uploads of a bucket, and which of them can be resumed
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  imgferry uploads list images\n  imgferry uploads list obs://images/disks/ --json"
)]
pub(crate) struct ListArgs {
    /// Bucket, or obs://BUCKET/PREFIX
    #[arg(value_name = "BUCKET", value_parser = parse_bucket)]
    pub(crate) place: ObsUrl,
    /// Directory of the import journals [default: $XDG_STATE_HOME/imgferry or
    /// ~/.local/state/imgferry]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

/// Abort open uploads of a bucket and delete their parts
///
/// Uploads that a journal on this machine can resume are kept unless selected by --id or
/// --resumable.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  imgferry uploads abort images --older-than 7d\n  imgferry uploads abort images --id 0000018A...\n  imgferry uploads abort obs://images/disks/ --all --dry-run"
)]
pub(crate) struct AbortArgs {
    /// Bucket, or obs://BUCKET/PREFIX
    #[arg(value_name = "BUCKET", value_parser = parse_bucket)]
    pub(crate) place: ObsUrl,
    #[command(flatten)]
    pub(crate) which: Which,
    /// Also abort uploads that a journal on this machine can resume
    #[arg(long)]
    pub(crate) resumable: bool,
    /// Show what would be aborted without changing anything
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Directory of the import journals [default: $XDG_STATE_HOME/imgferry or
    /// ~/.local/state/imgferry]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// Abort uploads older than this, such as 7d or 12h
    #[arg(long, value_name = "SPAN", value_parser = parse_age)]
    pub(crate) older_than: Option<Duration>,
    /// Abort the upload with this id; may be repeated
    #[arg(long = "id", value_name = "UPLOAD_ID")]
    pub(crate) ids: Vec<String>,
    /// Abort all uploads
    #[arg(long)]
    pub(crate) all: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_buckets_are_read_as_people_write_them() {
        let url: ObsUrl = "obs://images/a/b c".parse().unwrap();
        assert_eq!((url.bucket.as_str(), url.key.as_str()), ("images", "a/b c"));
        assert_eq!(url.to_string(), "obs://images/a/b c");
        assert!(parse_object("obs://images").is_err());
        assert!(parse_object("obs://images/").is_err());
        assert!("s3://images/a".parse::<ObsUrl>().is_err());
        assert!("obs:///a".parse::<ObsUrl>().is_err());
        assert_eq!(parse_bucket("images").unwrap().bucket, "images");
        assert_eq!(parse_bucket("obs://images/disks/").unwrap().key, "disks/");
    }

    #[test]
    fn rates_and_spans_have_units() {
        assert_eq!(parse_rate("50M").unwrap().get(), 50 << 20);
        assert_eq!(parse_rate("50M/s").unwrap().get(), 50 << 20);
        assert!(parse_rate("0").is_err());
        assert!(parse_rate("fast").is_err());
        assert_eq!(parse_age("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(parse_age("30m"), Ok(Duration::from_secs(1800)));
        assert!(parse_age("7").is_err());
        assert!(parse_age("d").is_err());
        assert!(parse_age("99999999999999999999w").is_err());
    }
}
