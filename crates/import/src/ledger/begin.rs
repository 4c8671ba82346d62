//! What a journal begins with: which disk, which object, which command.

use cloud::{Class, Failure, Result};
use std::ffi::OsStr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use ::convert::{Level, Plan};
use diskimg::text::{shell_word, shown};
use journal::{Begun, PlanRecord, SourceIdentity};

use crate::spec::JournalSpec;
use crate::stdin::{is_standard_input, redirected_file};

/// Format, plan and encoder of a file that is uploaded as it is.
const AS_IT_IS: &str = "file";

/// The file that is imported, if it is one.
pub(crate) fn source(disk: &Path) -> Result<Option<SourceIdentity>> {
    if is_standard_input(disk) {
        // A file without a name cannot be looked at again, and is imported all the same.
        return Ok(redirected_file().and_then(|path| SourceIdentity::of(path).ok()));
    }
    identify(disk).map(Some)
}

pub(crate) fn identify(file: &Path) -> Result<SourceIdentity> {
    SourceIdentity::of(file).map_err(|error| {
        Failure::from_error(Class::Io, &error)
            .context(format!("{}: looking at the file failed", shown(file)))
    })
}

/// The disk that becomes the image `name`, or a snapshot of it.
pub(crate) fn begun(
    (name, snapshot): (&str, Option<&str>),
    endpoint: String,
    (bucket, key): (&str, &str),
    plan: &Plan,
    source: Option<&SourceIdentity>,
    journal: Option<&JournalSpec>,
) -> Begun {
    let identity = identity();
    Begun {
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        encoder: zvhd2::encoder_version(),
        endpoint,
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        name: name.to_owned(),
        source: source.cloned().unwrap_or_else(|| SourceIdentity {
            path: "-".to_owned(),
            size: plan.virtual_size,
            modified: 0,
            modified_nanos: 0,
            inode: 0,
            header: String::new(),
            status_changed: None,
            block_device: false,
            export: false,
        }),
        plan: PlanRecord {
            source_format: plan.source_format.to_string(),
            snapshot: snapshot.map(str::to_owned),
            member: None,
            discarded: None,
            target: plan.target.to_string(),
            virtual_size: plan.virtual_size,
            worst_case_bytes: plan.worst_case_bytes,
            level: plan.level.and_then(Level::fixed),
            auto_level: plan.level == Some(Level::Auto),
        },
        uuid: identity.uuid.iter().map(|b| format!("{b:02x}")).collect(),
        timestamp: identity.timestamp,
        started: now(),
        command: command(journal),
        directory: directory(),
        other_files: None,
        verified: false,
        data_disks: 0,
    }
}

/// A file that is uploaded as it is.
pub(crate) fn begun_of_file(
    endpoint: String,
    (bucket, key): (&str, &str),
    source: &SourceIdentity,
    journal: Option<&JournalSpec>,
) -> Begun {
    Begun {
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        encoder: AS_IT_IS.to_owned(),
        endpoint,
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        name: String::new(),
        source: source.clone(),
        plan: PlanRecord {
            source_format: AS_IT_IS.to_owned(),
            snapshot: None,
            member: None,
            discarded: None,
            target: AS_IT_IS.to_owned(),
            virtual_size: source.size,
            worst_case_bytes: source.size,
            level: None,
            auto_level: false,
        },
        uuid: String::new(),
        timestamp: 0,
        started: now(),
        command: command(journal),
        directory: directory(),
        other_files: None,
        verified: false,
        data_disks: 0,
    }
}

/// The identity of a new ZVHD2 file: a random UUID, and the time in the format's own epoch.
pub fn identity() -> zvhd2::Identity {
    /// 2000-01-01 00:00 UTC in seconds since 1970.
    const EPOCH: i64 = 946_684_800;
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    zvhd2::Identity {
        uuid: uuid::Uuid::new_v4().into_bytes(),
        timestamp: u32::try_from(now.saturating_sub(EPOCH)).unwrap_or_default(),
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

fn command(journal: Option<&JournalSpec>) -> Vec<String> {
    journal.map_or_else(Vec::new, |journal| journal.command.clone())
}

pub(crate) fn directory() -> String {
    std::env::current_dir().map_or_else(|_| ".".to_owned(), |dir| dir.display().to_string())
}

pub(crate) fn parse_hex(text: &str, bytes: &mut [u8; 16]) -> bool {
    if text.len() != 32 || !text.is_ascii() {
        return false;
    }
    bytes.iter_mut().enumerate().all(|(index, byte)| {
        let digits = text.get(2 * index..2 * index + 2);
        match digits.map(|digits| u8::from_str_radix(digits, 16)) {
            Some(Ok(value)) => {
                *byte = value;
                true
            }
            _ => false,
        }
    })
}

/// A command as a shell takes it.
pub fn command_line(arguments: &[String]) -> String {
    let words = arguments
        .iter()
        .map(|argument| shell_word(OsStr::new(argument)).unwrap_or_else(|| argument.clone()));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_goes_on_can_be_pasted_into_a_shell() {
        let command = [
            "imgferry",
            "import",
            "a disk.raw",
            "it's",
            "--key=a/b.zvhd2",
            "",
        ];
        let line = command_line(&command.map(str::to_owned));
        assert_eq!(
            line,
            r"imgferry import 'a disk.raw' 'it'\''s' --key=a/b.zvhd2 ''"
        );
    }

    #[test]
    fn an_identity_reads_back_from_its_digits() {
        let mut uuid = [0; 16];
        assert!(parse_hex("000102030405060708090a0b0c0d0eff", &mut uuid));
        assert_eq!(uuid[15], 0xff);
        assert_eq!(uuid[10], 10);
        assert!(!parse_hex("00", &mut uuid));
        assert!(!parse_hex(&"g".repeat(32), &mut uuid));
    }
}
