//! Menus without a language: the old GRUB, syslinux and its relatives, LILO.

use super::entry::{BootFile, Entry, MAX_INITRDS, Menu, Timeout};
use super::places::Places;
use crate::Seen;
use crate::budget::{MAX_BOOT_ENTRIES, MAX_FILE};
use crate::linux::command_line::CommandLine;
use crate::tree::Result;

/// A line without comment and blanks around it, split into its first word and the rest.
struct Line<'a> {
    number: u32,
    text: &'a [u8],
    word: String,
    rest: &'a [u8],
}

fn lines(content: &[u8]) -> impl Iterator<Item = Line<'_>> {
    (1..)
        .zip(content.split(|&byte| byte == b'\n'))
        .filter_map(|(number, text)| {
            let text = text.trim_ascii();
            if text.is_empty() || text.starts_with(b"#") {
                return None;
            }
            let end = text
                .iter()
                .position(|byte| byte.is_ascii_whitespace() || *byte == b'=')
                .unwrap_or(text.len());
            let (word, rest) = text.split_at_checked(end)?;
            let rest = rest.trim_ascii_start();
            let rest = rest.strip_prefix(b"=").unwrap_or(rest).trim_ascii();
            Some(Line {
                number,
                text,
                word: String::from_utf8_lossy(word).to_ascii_lowercase(),
                rest,
            })
        })
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// The first word of `text`, and the rest.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text
        .iter()
        .position(u8::is_ascii_whitespace)
        .unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or((text, b""));
    (word, rest.trim_ascii())
}

/// The menu of the old GRUB at `path`; `None` when there is none.
pub(super) fn legacy(places: &Places<'_>, path: &[u8]) -> Result<Option<Menu>> {
    let Some(content) = places.view.read(path, MAX_FILE)? else {
        return Ok(None);
    };
    let mut menu = Menu::default();
    let mut wanted = 0;
    let mut root = None;
    for line in lines(&content) {
        match line.word.as_str() {
            "default" if line.rest == b"saved" => wanted = legacy_saved(places)?,
            "default" => wanted = number(line.rest).unwrap_or(0),
            "timeout" => {
                menu.timeout = number(line.rest).map(|seconds| Timeout {
                    seconds: Some(seconds),
                    seen: Seen::line(path, line.number, line.text),
                });
            }
            "title" if menu.entries.len() >= MAX_BOOT_ENTRIES => break,
            "title" => {
                root = None;
                menu.entries.push(begun(path, &line));
            }
            "root" | "rootnoverify" => {
                let device = split(line.rest).0;
                let inner = device
                    .strip_prefix(b"(")
                    .and_then(|rest| rest.strip_suffix(b")"));
                root = inner.and_then(|device| places.legacy_device(device));
            }
            "kernel" | "module" | "initrd" => {
                legacy_file(places, &mut menu, &line, root)?;
            }
            _ => {}
        }
    }
    menu.default = usize::try_from(wanted).ok();
    Ok((!menu.entries.is_empty()).then_some(menu))
}

/// What was chosen before, a number in a file of its own.
fn legacy_saved(places: &Places<'_>) -> Result<u64> {
    let content = places.view.read("/boot/grub/default", MAX_FILE)?;
    let content = content.unwrap_or_default();
    Ok(content
        .split(|&byte| byte == b'\n')
        .find_map(number)
        .unwrap_or(0))
}

fn legacy_file(
    places: &Places<'_>,
    menu: &mut Menu,
    line: &Line<'_>,
    root: Option<usize>,
) -> Result<()> {
    let Some(entry) = menu.entries.last_mut() else {
        return Ok(());
    };
    let mut rest = line.rest;
    while rest.starts_with(b"--") {
        rest = split(rest).1;
    }
    let (written, arguments) = split(rest);
    // A device before the path takes the place of the root.
    let (device, path) = match written.strip_prefix(b"(") {
        Some(inner) => match inner.iter().position(|&byte| byte == b')') {
            Some(at) => {
                let (device, path) = inner.split_at(at);
                (
                    places.legacy_device(device).or(root),
                    path.get(1..).unwrap_or_default(),
                )
            }
            None => (root, written),
        },
        None => (root, written),
    };
    let file = BootFile {
        written: written.to_vec(),
        line: line.number,
        path: places.find(device, path)?,
    };
    match line.word.as_str() {
        "initrd" => entry.initrds.push(file),
        // Behind Xen: the kernel, then the initramfs.
        "module" if entry.hypervisor.is_some() => entry.initrds.push(file),
        word => {
            if word == "module" {
                entry.hypervisor = entry.kernel.take();
            }
            entry.kernel = Some(file);
            entry.line = line.number;
            entry.text = line.text.to_vec();
            entry.command_line = CommandLine::parse(arguments);
        }
    }
    Ok(())
}

fn begun(path: &[u8], line: &Line<'_>) -> Entry {
    Entry {
        title: line.rest.to_vec(),
        path: path.to_vec(),
        line: line.number,
        text: line.text.to_vec(),
        ..Entry::default()
    }
}

/// The menu of syslinux or extlinux at `path`; `None` when there is none.
pub(super) fn syslinux(places: &Places<'_>, path: &[u8]) -> Result<Option<Menu>> {
    let Some(content) = places.view.read(path, MAX_FILE)? else {
        return Ok(None);
    };
    let dir = path
        .iter()
        .rposition(|&byte| byte == b'/')
        .and_then(|at| path.get(..at))
        .unwrap_or_default();
    let mut menu = Menu::default();
    let mut wanted: &[u8] = b"";
    for line in lines(&content) {
        let (first, rest) = split(line.rest);
        let count = menu.entries.len();
        match (line.word.as_str(), menu.entries.last_mut()) {
            ("default", _) => wanted = first,
            // Tenths of a second; 0 waits for ever.
            ("timeout", _) => {
                menu.timeout = number(line.rest).map(|tenths| Timeout {
                    seconds: (tenths > 0).then_some(tenths / 10),
                    seen: Seen::line(path, line.number, line.text),
                });
            }
            ("label", _) if count >= MAX_BOOT_ENTRIES => break,
            ("label", _) => menu.entries.push(begun(path, &line)),
            ("menu", Some(_)) if first.eq_ignore_ascii_case(b"default") => {
                menu.default = count.checked_sub(1);
            }
            ("kernel" | "linux", Some(entry)) => {
                entry.kernel = Some(beside(places, dir, first, line.number)?);
                if entry.command_line.is_empty() {
                    (entry.line, entry.text) = (line.number, line.text.to_vec());
                    entry.command_line = CommandLine::parse(rest);
                }
            }
            ("initrd", Some(entry)) => initrds(places, dir, entry, line.rest, line.number)?,
            ("append", Some(entry)) => {
                (entry.line, entry.text) = (line.number, line.text.to_vec());
                entry.command_line = CommandLine::parse(line.rest);
                if let Some(list) = entry.command_line.value("initrd").map(<[u8]>::to_vec) {
                    initrds(places, dir, entry, &list, line.number)?;
                }
            }
            _ => {}
        }
    }
    if menu.entries.is_empty() {
        return Ok(None);
    }
    // A menu program as the default leaves the choice to the marked label.
    let named = menu.entries.iter().position(|entry| entry.title == wanted);
    menu.default = named.or(menu.default).or(Some(0));
    Ok(Some(menu))
}

fn initrds(
    places: &Places<'_>,
    dir: &[u8],
    entry: &mut Entry,
    list: &[u8],
    line: u32,
) -> Result<()> {
    entry.initrds.clear();
    for path in list.split(|&byte| byte == b',').take(MAX_INITRDS) {
        entry.initrds.push(beside(places, dir, path, line)?);
    }
    Ok(())
}

/// Paths that do not begin with a slash begin at the configuration.
fn beside(places: &Places<'_>, dir: &[u8], written: &[u8], line: u32) -> Result<BootFile> {
    let path = match written.first() {
        Some(b'/') => places.find(None, written)?,
        _ => places.below(dir, written)?,
    };
    Ok(BootFile {
        written: written.to_vec(),
        line,
        path,
    })
}

/// The menu of LILO; `None` when there is none. The list of blocks that it starts is not looked at.
pub(super) fn lilo(places: &Places<'_>, path: &[u8]) -> Result<Option<Menu>> {
    let Some(content) = places.view.read(path, MAX_FILE)? else {
        return Ok(None);
    };
    let mut menu = Menu::default();
    let mut wanted = Vec::new();
    // What stands before the first image holds for all.
    let mut common = Vec::new();
    for line in lines(&content) {
        let value = line.rest.trim_ascii_start();
        let value = value
            .strip_prefix(b"\"")
            .and_then(|rest| rest.strip_suffix(b"\""))
            .unwrap_or(value);
        let option = match line.word.as_str() {
            "root" => [b"root=", value].concat(),
            "append" | "addappend" => value.to_vec(),
            _ => Vec::new(),
        };
        let count = menu.entries.len();
        match (line.word.as_str(), menu.entries.last_mut()) {
            ("default", None) => wanted = value.to_vec(),
            ("timeout" | "delay", None) => {
                menu.timeout = number(value).map(|tenths| Timeout {
                    seconds: Some(tenths / 10),
                    seen: Seen::line(path, line.number, line.text),
                });
            }
            ("image", _) if count >= MAX_BOOT_ENTRIES => break,
            ("image", _) => {
                let mut entry = begun(path, &line);
                entry.title.clear();
                entry.kernel = Some(beside(places, b"", value, line.number)?);
                entry.command_line = CommandLine::parse(&common);
                menu.entries.push(entry);
            }
            ("label", Some(entry)) => entry.title = value.to_vec(),
            ("initrd", Some(entry)) => {
                entry.initrds = vec![beside(places, b"", value, line.number)?]
            }
            ("root" | "append" | "addappend", Some(entry)) => {
                (entry.line, entry.text) = (line.number, line.text.to_vec());
                entry.command_line.extend(CommandLine::parse(&option));
            }
            ("root" | "append", None) => {
                common.extend(option);
                common.push(b' ');
            }
            _ => {}
        }
    }
    if menu.entries.is_empty() {
        return Ok(None);
    }
    let named = menu.entries.iter().position(|entry| entry.title == wanted);
    menu.default = named.or(Some(0));
    Ok(Some(menu))
}
