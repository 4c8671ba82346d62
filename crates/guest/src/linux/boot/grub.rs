//! Menus of GRUB 2.

use super::bls;
use super::entry::{BootFile, Entry, MAX_INITRDS, Menu, Timeout};
use super::places::Places;
use super::script::{End, Script, Statement, Variables};
use crate::Seen;
use crate::budget::{MAX_BOOT_ENTRIES, MAX_FILE};
use crate::linux::command_line::CommandLine;
use crate::tree::Result;
use crate::volume::{Device, find};

/// Submenus in submenus.
const MAX_DEPTH: usize = 8;
/// Braces in braces.
const MAX_BRACES: usize = 32;

/// What a menu shows.
struct Item {
    /// Index of the submenu that shows it.
    parent: Option<usize>,
    title: Vec<u8>,
    id: Option<Vec<u8>>,
    what: What,
}

enum What {
    /// Index of an entry.
    Entry(usize),
    Submenu,
}

/// What is known of a script so far.
struct Reading<'a> {
    places: &'a Places<'a>,
    path: &'a [u8],
    variables: Variables,
    /// What grubenv sets stays.
    fixed: Variables,
    menu: Menu,
    items: Vec<Item>,
    defaults: Vec<Vec<u8>>,
    /// Of each open brace: the submenu or entry in `items`.
    open: Vec<Option<usize>>,
    /// Open braces beyond [`MAX_BRACES`].
    deep: usize,
    /// Volume that the entry's paths are on.
    root: Option<usize>,
    /// There are more entries than are read.
    cut: bool,
}

/// The menu in the script at `path`; `None` when there is none, or when it has no entries.
pub(super) fn read(places: &Places<'_>, path: &[u8]) -> Result<Option<Menu>> {
    let Some(text) = places.view.read(path, MAX_FILE)? else {
        return Ok(None);
    };
    let fixed = environment(places, path)?;
    let mut variables = fixed.clone();
    variables
        .entry(b"menuentry_id_option".to_vec())
        .or_insert_with(|| b"--id".to_vec());
    let mut reading = Reading {
        places,
        path,
        variables,
        fixed,
        menu: Menu::default(),
        items: Vec::new(),
        defaults: Vec::new(),
        open: Vec::new(),
        deep: 0,
        root: None,
        cut: false,
    };
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    let mut script = Script::new(&text);
    while let Some(statement) = script.next(&reading.variables) {
        let line = statement
            .line
            .checked_sub(1)
            .and_then(|at| usize::try_from(at).ok());
        let text = line.and_then(|at| lines.get(at)).copied();
        reading.statement(&statement, text.unwrap_or_default())?;
    }
    if reading.items.is_empty() {
        return Ok(None);
    }
    let default = reading.default();
    let mut menu = reading.menu;
    menu.default = default;
    Ok(Some(menu))
}

/// The variables in the grubenv beside `path`, or in the one of /boot.
fn environment(places: &Places<'_>, path: &[u8]) -> Result<Variables> {
    let dir = path
        .iter()
        .rposition(|&byte| byte == b'/')
        .and_then(|at| path.get(..at))
        .unwrap_or_default();
    let beside = [dir, b"/grubenv"].concat();
    for path in [
        beside.as_slice(),
        b"/boot/grub2/grubenv",
        b"/boot/grub/grubenv",
    ] {
        if let Some(content) = places.view.read(path, MAX_FILE)? {
            return Ok(content
                .split(|&byte| byte == b'\n')
                .filter(|line| !line.starts_with(b"#"))
                .filter_map(|line| {
                    let at = line.iter().position(|&byte| byte == b'=')?;
                    let (name, value) = line.split_at(at);
                    Some((name.to_vec(), value.get(1..)?.to_vec()))
                })
                .collect());
        }
    }
    Ok(Variables::new())
}

impl Reading<'_> {
    fn statement(&mut self, statement: &Statement, text: &[u8]) -> Result<()> {
        let words = &statement.words;
        let first = words.first().map(Vec::as_slice).unwrap_or_default();
        let mut opened = None;
        match first {
            b"menuentry" | b"submenu" if statement.end == End::Opens => {
                opened = self.item(statement, text);
            }
            b"set" => self.set(words.get(1), statement.line, text),
            b"search" | b"search.fs_uuid" | b"search.fs_label" => self.search(words),
            b"blscfg" => self.bls()?,
            b"linux" | b"linux16" | b"linuxefi" | b"multiboot" | b"multiboot2" => {
                self.kernel(words, statement.line, text)?;
            }
            // Behind a hypervisor: the kernel, then the initramfs.
            b"module" | b"module2" => self.module(words, statement.line, text)?,
            b"initrd" | b"initrd16" | b"initrdefi" => {
                self.initrds(words.get(1..).unwrap_or_default(), statement.line)?;
            }
            _ => {}
        }
        match statement.end {
            End::Opens if self.open.len() >= MAX_BRACES => self.deep += 1,
            End::Opens => self.open.push(opened),
            End::Closes if self.deep > 0 => self.deep -= 1,
            End::Closes => {
                self.open.pop();
            }
            End::Plain => {}
        }
        Ok(())
    }

    /// The submenu that is open.
    fn submenu(&self) -> Option<usize> {
        let is_submenu = |index: &usize| {
            let item = self.items.get(*index);
            item.is_some_and(|item| matches!(item.what, What::Submenu))
        };
        self.open.iter().rev().flatten().copied().find(is_submenu)
    }

    /// The entry that is open.
    fn entry(&mut self) -> Option<&mut Entry> {
        let item = self
            .items
            .get(self.open.iter().rev().flatten().copied().next()?)?;
        match item.what {
            What::Entry(index) => self.menu.entries.get_mut(index),
            What::Submenu => None,
        }
    }

    fn item(&mut self, statement: &Statement, text: &[u8]) -> Option<usize> {
        if self.open.len() >= MAX_DEPTH || self.items.len() >= MAX_BOOT_ENTRIES {
            self.cut = true;
            return None;
        }
        let words = &statement.words;
        let title = words.get(1).cloned().unwrap_or_default();
        let id = words
            .iter()
            .position(|word| word == b"--id")
            .and_then(|at| words.get(at + 1))
            .cloned();
        let what = if words.first().is_some_and(|word| word == b"submenu") {
            What::Submenu
        } else {
            self.root = None;
            self.menu.entries.push(Entry {
                title: title.clone(),
                path: self.path.to_vec(),
                line: statement.line,
                text: text.trim_ascii().to_vec(),
                ..Entry::default()
            });
            What::Entry(self.menu.entries.len() - 1)
        };
        self.items.push(Item {
            parent: self.submenu(),
            title,
            id,
            what,
        });
        Some(self.items.len() - 1)
    }

    fn set(&mut self, assignment: Option<&Vec<u8>>, line: u32, text: &[u8]) {
        let Some(assignment) = assignment else {
            return;
        };
        let Some(at) = assignment.iter().position(|&byte| byte == b'=') else {
            return;
        };
        let (name, value) = assignment.split_at(at);
        let value = value.get(1..).unwrap_or_default();
        match name {
            b"default" if self.open.is_empty() => self.defaults.push(value.to_vec()),
            b"timeout" if self.open.is_empty() => {
                let seen = Seen::line(self.path, line, text.trim_ascii());
                // A value of variables that are set at run time says nothing.
                self.menu.timeout = timeout(value, seen).or(self.menu.timeout.take());
            }
            _ => {}
        }
        if !self.fixed.contains_key(name) {
            self.variables.insert(name.to_vec(), value.to_vec());
        }
    }

    /// `search --fs-uuid --set=root --hint=hd0 UUID`, `search.fs_uuid UUID root`
    fn search(&mut self, words: &[Vec<u8>]) {
        let has = |options: &[&[u8]]| words.iter().any(|word| options.contains(&word.as_slice()));
        let by_command = words.first().map(Vec::as_slice);
        let value = match by_command {
            Some(b"search") => words.last(),
            _ => words.get(1),
        };
        let value = String::from_utf8_lossy(value.map(Vec::as_slice).unwrap_or_default());
        let device = if by_command == Some(b"search.fs_uuid") || has(&[b"--fs-uuid", b"-u"]) {
            Device::Uuid(value.into_owned())
        } else if by_command == Some(b"search.fs_label") || has(&[b"--label", b"-l", b"--fs-label"])
        {
            Device::Label(value.into_owned().into_bytes())
        } else {
            return;
        };
        self.root = find(&device, self.places.volumes);
    }

    fn kernel(&mut self, words: &[Vec<u8>], line: u32, text: &[u8]) -> Result<()> {
        let file = self.file(words.get(1), line)?;
        let words = words.get(2..).unwrap_or_default().to_vec();
        if let Some(entry) = self.entry() {
            entry.line = line;
            entry.text = text.trim_ascii().to_vec();
            entry.kernel = Some(file);
            entry.command_line = CommandLine::of_words(words);
        }
        Ok(())
    }

    fn module(&mut self, words: &[Vec<u8>], line: u32, text: &[u8]) -> Result<()> {
        let words: Vec<Vec<u8>> = words
            .iter()
            .filter(|word| *word != b"--nounzip")
            .cloned()
            .collect();
        let Some(entry) = self.entry() else {
            return Ok(());
        };
        if entry.hypervisor.is_none() {
            entry.hypervisor = entry.kernel.take();
            self.kernel(&words, line, text)
        } else {
            self.initrds(words.get(1..2).unwrap_or_default(), line)
        }
    }

    fn initrds(&mut self, words: &[Vec<u8>], line: u32) -> Result<()> {
        for word in words.iter().take(MAX_INITRDS) {
            let file = self.file(Some(word), line)?;
            if let Some(entry) = self.entry() {
                entry.initrds.push(file);
            }
        }
        Ok(())
    }

    fn file(&self, word: Option<&Vec<u8>>, line: u32) -> Result<BootFile> {
        let written = word.cloned().unwrap_or_default();
        let path = self.places.find(self.root, &written)?;
        Ok(BootFile {
            written,
            line,
            path,
        })
    }

    /// The entries of the boot loader specification take the place of the command.
    fn bls(&mut self) -> Result<()> {
        for found in bls::read(self.places, b"/boot", &self.variables)? {
            if self.items.len() >= MAX_BOOT_ENTRIES {
                self.cut = true;
                break;
            }
            self.items.push(Item {
                parent: self.submenu(),
                title: found.entry.title.clone(),
                id: Some(found.id),
                what: What::Entry(self.menu.entries.len()),
            });
            self.menu.entries.push(found.entry);
        }
        Ok(())
    }

    /// The entry that starts by itself.
    fn default(&self) -> Option<usize> {
        // What was chosen for the next start comes first, then the last value that says something.
        let once = self.fixed.get(b"next_entry".as_slice());
        let wanted = once
            .into_iter()
            .chain(self.defaults.iter().rev())
            .find(|value| !value.is_empty());
        let wanted = match wanted {
            Some(wanted) => wanted.as_slice(),
            // Without a script's word the saved entry is what GRUB's own blscfg takes.
            None => self
                .fixed
                .get(b"saved_entry".as_slice())
                .map(Vec::as_slice)
                .unwrap_or_default(),
        };
        let mut parent = None;
        if let Some(entry) = self.descend(self.child(parent, wanted)) {
            return Some(entry);
        }
        for part in wanted.split(|&byte| byte == b'>').take(MAX_DEPTH) {
            match self.child(parent, part) {
                Some(index) => match self.items.get(index)?.what {
                    What::Entry(entry) => return Some(entry),
                    What::Submenu => parent = Some(index),
                },
                None => break,
            }
        }
        if self.cut && !wanted.is_empty() {
            return None;
        }
        let first = self.items.iter().position(|item| item.parent == parent);
        self.descend(first)
    }

    /// The item `wanted` of the menu `parent`: an id, a title or a number.
    fn child(&self, parent: Option<usize>, wanted: &[u8]) -> Option<usize> {
        let mut children = self
            .items
            .iter()
            .enumerate()
            .filter(|(_, item)| item.parent == parent);
        let named = children
            .clone()
            .find(|(_, item)| item.id.as_deref() == Some(wanted) || item.title == wanted);
        let number = || {
            let number = std::str::from_utf8(wanted).ok()?.trim().parse().ok()?;
            children.nth(number)
        };
        named.or_else(number).map(|(index, _)| index)
    }

    /// The entry that item `index` starts: itself, or the first one of a submenu.
    fn descend(&self, index: Option<usize>) -> Option<usize> {
        let mut index = index?;
        for _ in 0..MAX_DEPTH {
            match self.items.get(index)?.what {
                What::Entry(entry) => return Some(entry),
                What::Submenu => {
                    let inner = |item: &Item| item.parent == Some(index);
                    index = self.items.iter().position(inner)?;
                }
            }
        }
        None
    }
}

/// A timeout in seconds; -1 waits for ever.
fn timeout(value: &[u8], seen: Seen) -> Option<Timeout> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let seconds = match text {
        "-1" => None,
        text => Some(text.parse().ok()?),
    };
    Some(Timeout { seconds, seen })
}
