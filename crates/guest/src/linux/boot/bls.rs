//! Entries of the boot loader specification: a file for each, in `loader/entries`.

use super::entry::{BootFile, Entry, MAX_INITRDS, Menu, Timeout};
use super::places::Places;
use super::script::Variables;
use crate::Seen;
use crate::budget::{MAX_BOOT_ENTRIES, MAX_RELEASE};
use crate::linux::command_line::CommandLine;
use crate::linux::version;
use crate::tree::Result;

/// An entry and the name of its file without `.conf`.
pub(super) struct Found {
    pub(super) id: Vec<u8>,
    pub(super) entry: Entry,
}

/// The entries below `boot`, the newest first. Variables are put in where GRUB has them.
pub(super) fn read(places: &Places<'_>, boot: &[u8], variables: &Variables) -> Result<Vec<Found>> {
    let dir = [boot, b"/loader/entries"].concat();
    let mut ids: Vec<Vec<u8>> = places
        .view
        .list(&dir)?
        .into_iter()
        .filter_map(|entry| entry.name.strip_suffix(b".conf").map(<[u8]>::to_vec))
        .collect();
    ids.sort_by(|a, b| version::compare(b, a));
    let mut found = Vec::new();
    // One more than menus take, so that they see that there are more.
    for id in ids.into_iter().take(MAX_BOOT_ENTRIES + 1) {
        let path = [dir.as_slice(), b"/", &id, b".conf"].concat();
        if let Some(content) = places.view.read(&path, MAX_RELEASE)? {
            let entry = parse(places, boot, path, &content, variables)?;
            found.push(Found { id, entry });
        }
    }
    Ok(found)
}

fn parse(
    places: &Places<'_>,
    boot: &[u8],
    path: Vec<u8>,
    content: &[u8],
    variables: &Variables,
) -> Result<Entry> {
    let mut entry = Entry {
        path,
        ..Entry::default()
    };
    let mut options = Vec::new();
    for (line, text) in (1..).zip(content.split(|&byte| byte == b'\n')) {
        let text = text.trim_ascii();
        let end = text.iter().position(u8::is_ascii_whitespace);
        let Some((key, value)) = end.and_then(|end| text.split_at_checked(end)) else {
            continue;
        };
        let value = expanded(value.trim_ascii(), variables);
        match key {
            b"title" => entry.title = value,
            b"linux" | b"efi" | b"uki" if entry.kernel.is_none() => {
                entry.kernel = Some(file(places, boot, &value, line)?);
                if entry.line == 0 {
                    entry.line = line;
                    entry.text = text.to_vec();
                }
            }
            b"initrd" => {
                for word in value
                    .split(u8::is_ascii_whitespace)
                    .filter(|word| !word.is_empty())
                    .take(MAX_INITRDS)
                {
                    entry.initrds.push(file(places, boot, word, line)?);
                }
            }
            b"options" => {
                if options.is_empty() {
                    entry.line = line;
                    entry.text = text.to_vec();
                }
                options.extend(value);
                options.push(b' ');
            }
            _ => {}
        }
    }
    entry.command_line = CommandLine::parse(&options);
    Ok(entry)
}

fn file(places: &Places<'_>, boot: &[u8], written: &[u8], line: u32) -> Result<BootFile> {
    let path = match places.below(boot, written)? {
        // Paths begin at the top of the file system: `/boot/vmlinuz` where that is the root's.
        None if places.is_on_root(boot) => places.below(b"", written)?,
        found => found,
    };
    Ok(BootFile {
        written: written.to_vec(),
        line,
        path,
    })
}

/// `text` with the values of `$name` and `${name}`.
fn expanded(text: &[u8], variables: &Variables) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&byte| byte == b'$') {
        let (before, after) = rest.split_at(at);
        out.extend(before);
        let after = after.get(1..).unwrap_or_default();
        let braces = after.strip_prefix(b"{");
        let name = braces.unwrap_or(after);
        let len = name
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_')
            .count();
        let (name, behind) = name.split_at_checked(len).unwrap_or((name, b""));
        out.extend(variables.get(name).into_iter().flatten());
        rest = match braces {
            Some(_) => behind.strip_prefix(b"}").unwrap_or(behind),
            None => behind,
        };
        if out.len() > usize::try_from(MAX_RELEASE).unwrap_or(usize::MAX) {
            return out;
        }
    }
    out.extend(rest);
    out
}

/// The menu of systemd-boot on the file system at `boot`; `None` without one.
pub(super) fn menu(places: &Places<'_>, boot: &[u8]) -> Result<Option<Menu>> {
    let found = read(places, boot, &Variables::new())?;
    if found.is_empty() {
        return Ok(None);
    }
    let conf = [boot, b"/loader/loader.conf"].concat();
    let content = places.view.read(&conf, MAX_RELEASE)?.unwrap_or_default();
    let mut menu = Menu::default();
    let mut wanted = Vec::new();
    for (line, text) in (1..).zip(content.split(|&byte| byte == b'\n')) {
        let mut words = text
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        match (words.next(), words.next()) {
            (Some(b"default"), Some(glob)) => wanted = glob.to_vec(),
            (Some(b"timeout"), Some(value)) => {
                let value = std::str::from_utf8(value).unwrap_or_default();
                let seconds = match value {
                    "menu-force" => Some(None),
                    value => value.parse().ok().map(Some),
                };
                menu.timeout = seconds.map(|seconds| Timeout {
                    seconds,
                    seen: Seen::line(&conf, line, text.trim_ascii()),
                });
            }
            _ => {}
        }
    }
    let wanted = wanted.strip_suffix(b".conf").unwrap_or(&wanted);
    menu.default = found
        .iter()
        .position(|entry| matches(wanted, &entry.id))
        // What was started last, `@saved`, is a variable of the firmware.
        .or((!wanted.starts_with(b"@") || found.len() == 1).then_some(0));
    menu.entries = found.into_iter().map(|found| found.entry).collect();
    Ok(Some(menu))
}

/// Index of the name in `ids` that the configuration of systemd-boot at `boot` starts.
pub(super) fn wanted(places: &Places<'_>, boot: &[u8], ids: &[&[u8]]) -> Result<Option<usize>> {
    let conf = [boot, b"/loader/loader.conf"].concat();
    let content = places.view.read(&conf, MAX_RELEASE)?.unwrap_or_default();
    let lines = content.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let glob = lines.rev().find_map(|line| {
        let rest = line.strip_prefix(b"default")?;
        rest.first()?
            .is_ascii_whitespace()
            .then(|| rest.trim_ascii())
    });
    Ok(glob.and_then(|glob| ids.iter().position(|id| matches(glob, id))))
}

/// Whether `name` matches `glob`, in which `*` stands for any text and `?` for a byte.
fn matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut g, mut n) = (0, 0);
    let mut star = None;
    loop {
        match (glob.get(g), name.get(n)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                star = Some((g, n));
                g += 1;
            }
            (Some(b'?'), Some(_)) => (g, n) = (g + 1, n + 1),
            (Some(a), Some(b)) if a.eq_ignore_ascii_case(b) => (g, n) = (g + 1, n + 1),
            _ => match star {
                // The star takes one byte more.
                Some((at, from)) if from < name.len() => {
                    star = Some((at, from + 1));
                    (g, n) = (at + 1, from + 1);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_like_systemd_boots() {
        for (glob, name, matched) in [
            ("arch-*", "arch-lts", true),
            ("*", "", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcd", false),
            ("a?c", "abc", true),
            ("", "x", false),
            ("ARCH", "arch", true),
        ] {
            assert_eq!(
                matches(glob.as_bytes(), name.as_bytes()),
                matched,
                "{glob} {name}"
            );
        }
    }

    #[test]
    fn variables_are_put_in_and_unknown_ones_vanish() {
        let variables = Variables::from([(b"kernelopts".to_vec(), b"root=UUID=1 ro".to_vec())]);
        assert_eq!(
            expanded(b"$kernelopts ${kernelopts}x $no$", &variables),
            b"root=UUID=1 ro root=UUID=1 rox "
        );
    }
}
