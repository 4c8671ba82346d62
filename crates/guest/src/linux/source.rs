//! Configuration files: their lines, and the assignments in them.

use std::ffi::OsStr;

use crate::Seen;
use crate::budget::MAX_FILE;
use crate::known::Known;
use crate::tree::Kind;
use crate::view::View;

/// Files of one directory that are read.
const MAX_FILES: usize = 256;
/// Files that one command names.
const MAX_NAMED: usize = 16;
/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) path: Vec<u8>,
    pub(crate) content: Vec<u8>,
    /// Where lines begin.
    starts: Vec<usize>,
}

/// `KEY=value`, in a section when the format has sections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// From 1.
    pub(crate) line: u32,
    /// Empty outside of sections.
    pub(crate) section: String,
    pub(crate) key: String,
    /// Without quotes.
    pub(crate) value: String,
}

impl Source {
    pub(crate) fn new(path: impl Into<Vec<u8>>, content: Vec<u8>) -> Self {
        let ends = content
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n');
        let starts = std::iter::once(0)
            .chain(ends.map(|(at, _)| at + 1))
            .collect();
        Self {
            path: path.into(),
            content,
            starts,
        }
    }

    /// The file at `path`, or `None` when there is none.
    pub(crate) fn read(view: &View, path: impl AsRef<[u8]>) -> Known<Option<Self>> {
        let path = path.as_ref();
        Ok(view
            .read(path, MAX_FILE)?
            .map(|content| Self::new(path, content)))
    }

    /// The files in the directory `path` whose names are `wanted`, by name. Empty when there is no
    /// directory.
    pub(crate) fn all(view: &View, path: &str, wanted: impl Fn(&[u8]) -> bool) -> Known<Vec<Self>> {
        let mut sources = Vec::new();
        for entry in view.list(path)? {
            if entry.kind == Kind::Directory || !wanted(&entry.name) {
                continue;
            }
            if sources.len() == MAX_FILES {
                return Err(format!("{path} has more than {MAX_FILES} files"));
            }
            sources.extend(Self::read(view, below(path, &entry.name))?);
        }
        Ok(sources)
    }

    /// The file's name, without its directories.
    pub(crate) fn name(&self) -> &[u8] {
        self.path.rsplit(|&byte| byte == b'/').next().unwrap_or(&[])
    }

    /// Lines with their numbers, without blanks at their ends.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (u32, &[u8])> {
        (1..).zip((0..self.starts.len()).map(|at| self.text(at)))
    }

    /// The line `at`, from 0.
    fn text(&self, at: usize) -> &[u8] {
        let line = |from: usize| {
            let rest = self.content.get(from..)?;
            rest.split(|&byte| byte == b'\n').next()
        };
        let line = self.starts.get(at).and_then(|&from| line(from));
        line.unwrap_or_default().trim_ascii()
    }

    /// The line `number`.
    pub(crate) fn seen(&self, number: u32) -> Seen {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        Seen::line(&self.path, number, self.text(at.saturating_sub(1)))
    }

    /// The file as such.
    pub(crate) fn whole(&self) -> Seen {
        Seen::at(&self.path)
    }

    /// Assignments as shells read them: `KEY='value'`, `export` allowed, nothing expanded.
    pub(crate) fn shell(&self) -> Vec<Setting> {
        self.lines()
            .filter_map(|(line, text)| {
                let text = String::from_utf8_lossy(text);
                let text = text.strip_prefix("export ").unwrap_or(&text).trim_start();
                let (key, value) = text.split_once('=')?;
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                (!key.is_empty() && key.chars().all(is_name)).then(|| Setting {
                    line,
                    section: String::new(),
                    key: key.to_owned(),
                    value: unquoted(value),
                })
            })
            .collect()
    }

    /// Assignments below `[section]` lines, blanks around `=` allowed.
    pub(crate) fn ini(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        let mut section = String::new();
        for (line, text) in self.lines() {
            let text = String::from_utf8_lossy(text);
            if text.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = text
                .strip_prefix('[')
                .and_then(|text| text.strip_suffix(']'))
            {
                name.trim().clone_into(&mut section);
            } else if let Some((key, value)) = text.split_once('=') {
                settings.push(Setting {
                    line,
                    section: section.clone(),
                    key: key.trim().to_owned(),
                    value: value.trim().to_owned(),
                });
            }
        }
        settings
    }
}

/// The last assignment to `key`, which is the one that counts.
pub(crate) fn last<'a>(settings: &'a [Setting], key: &str) -> Option<&'a Setting> {
    settings.iter().rev().find(|setting| setting.key == key)
}

/// The last assignment to `key` in `section`.
pub(crate) fn last_in<'a>(
    settings: &'a [Setting],
    section: &str,
    key: &str,
) -> Option<&'a Setting> {
    settings
        .iter()
        .rev()
        .find(|setting| setting.section == section && setting.key == key)
}

/// Whether `value` means yes, in any of the usual words.
pub(crate) fn is_yes(value: &str) -> bool {
    ["yes", "true", "1", "on", "y", "t"]
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word))
}

/// Whether `value` means no, in any of the usual words.
pub(crate) fn is_no(value: &str) -> bool {
    ["no", "false", "0", "off", "n", "f"]
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word))
}

/// `directory`/`name`.
pub(crate) fn below(directory: &str, name: &[u8]) -> Vec<u8> {
    [directory.as_bytes(), b"/", name].concat()
}

/// The files in which `seen` are, each once, as words of a shell.
pub(crate) fn files<'a>(seen: impl IntoIterator<Item = &'a Seen>) -> String {
    let mut words: Vec<String> = Vec::new();
    for seen in seen {
        let word = diskimg::text::shell_word(OsStr::new(&seen.path));
        if let Some(word) = word.filter(|word| !words.contains(word)) {
            words.push(word);
        }
        if words.len() == MAX_NAMED {
            break;
        }
    }
    words.join(" ")
}

/// The first of `paths` that exists.
pub(crate) fn first(view: &View, paths: &[&str]) -> Known<Option<Seen>> {
    for path in paths {
        if view.exists(path)? {
            return Ok(Some(Seen::at(path)));
        }
    }
    Ok(None)
}

/// Whether `pattern`, in which `*` is any text and `?` any character, matches `name`.
pub(crate) fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut in_name) = (0, 0);
    // Where the last `*` stood, and how much of the name it takes.
    let mut star: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(at), name.get(in_name)) {
            (Some(b'*'), _) => {
                star = Some((at, in_name));
                at += 1;
            }
            (Some(&wanted), Some(&byte)) if wanted == b'?' || wanted == byte => {
                at += 1;
                in_name += 1;
            }
            (None, None) => return true,
            _ => match star {
                Some((place, taken)) if taken < name.len() => {
                    star = Some((place, taken + 1));
                    at = place + 1;
                    in_name = taken + 1;
                }
                _ => return false,
            },
        }
    }
}

/// A word of a shell: quotes removed, up to the first blank outside of them.
fn unquoted(text: &str) -> String {
    let mut plain = String::new();
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\'' | '"', None) => quote = Some(letter),
            (_, Some(open)) if letter == open => quote = None,
            ('\\', None | Some('"')) => plain.extend(letters.next()),
            (' ' | '\t' | ';', None) => break,
            _ => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(content: &str) -> Source {
        Source::new("/etc/x", content.into())
    }

    #[test]
    fn shell_assignments_lose_quotes_and_comments() {
        let file = source("# A=0\nA='x y' # no\n export B=\"1\\\"2\"\nC=3;D=4\n E = 5\nA=last\n");
        let settings = file.shell();
        let all: Vec<_> = settings
            .iter()
            .map(|is| (is.line, is.key.as_str(), is.value.as_str()))
            .collect();
        assert_eq!(
            all,
            [
                (2, "A", "x y"),
                (3, "B", "1\"2"),
                (4, "C", "3"),
                (6, "A", "last")
            ]
        );
        assert_eq!(last(&settings, "A").unwrap().value, "last");
        assert_eq!(file.seen(2), Seen::line("/etc/x", 2, "A='x y' # no"));
    }

    #[test]
    fn ini_assignments_know_their_section() {
        let settings = source("a=0\n[one]\n;a=1\na = 2\n[two]\na=3\n").ini();
        assert_eq!(last_in(&settings, "one", "a").unwrap().value, "2");
        assert_eq!(last_in(&settings, "two", "a").unwrap().line, 6);
        assert_eq!(last_in(&settings, "", "a").unwrap().value, "0");
    }

    #[test]
    fn a_command_names_each_file_once_and_quoted() {
        let seen = [
            Seen::line("/etc/a b", 1, "x"),
            Seen::line("/etc/a b", 2, "y"),
            Seen::at("/c"),
        ];
        assert_eq!(files(&seen), "'/etc/a b' /c");
    }

    #[test]
    fn globs_match_whole_names() {
        assert!(glob(b"e*", b"eth0") && glob(b"*", b"") && glob(b"e?h*0", b"eth10"));
        assert!(!glob(b"en*", b"eth0") && !glob(b"eth", b"eth0") && !glob(b"eth?", b"eth"));
        assert!(glob(b"*a*b", b"xaybab") && !glob(b"*a*b", b"xayba"));
    }
}
