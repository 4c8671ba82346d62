//! LVM's configuration: which devices it looks at.

use regex::bytes::{Regex, RegexBuilder};

use crate::Seen;
use crate::known::Known;
use crate::linux::source::Source;
use crate::view::View;

/// The devices file.
const DEVICES: &str = "/etc/lvm/devices/system.devices";
/// Bytes of one compiled pattern.
const MAX_PATTERN: usize = 1 << 20;
/// Patterns of one filter.
const MAX_PATTERNS: usize = 64;

/// A line of the devices file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownDevice {
    pub(crate) seen: Seen,
    /// How the device is recognised: `sys_wwid`, `devname`, …
    pub(crate) id_type: String,
    /// UUID of the physical volume, without dashes.
    pub(crate) volume: String,
}

/// `filter = [ … ]` or `global_filter = [ … ]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) seen: Seen,
    /// The line that it ends on.
    pub(crate) end: u32,
    /// As written: `a|…|`, `r|…|`.
    pub(crate) patterns: Vec<String>,
}

/// Which devices LVM looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lvm {
    pub(crate) devices: Vec<KnownDevice>,
    /// `use_devicesfile`, when it is set.
    pub(crate) uses_devices: Option<bool>,
    pub(crate) filters: Vec<Filter>,
}

impl Lvm {
    pub(crate) fn collect(view: &View) -> Known<Self> {
        let mut lvm = Self::default();
        if let Some(file) = Source::read(view, DEVICES)? {
            lvm.devices = known_devices(&file);
        }
        // What stands in the second file replaces what stands in the first.
        for path in ["/etc/lvm/lvm.conf", "/etc/lvm/lvmlocal.conf"] {
            if let Some(file) = Source::read(view, path)? {
                lvm.configure(&file);
            }
        }
        Ok(lvm)
    }

    fn configure(&mut self, file: &Source) {
        let mut open: Option<(String, Filter)> = None;
        for (line, text) in file.lines() {
            let text = String::from_utf8_lossy(text);
            let text = without_comment(&text);
            if open.is_none() {
                let Some((key, value)) = text.split_once('=') else {
                    continue;
                };
                let key = key.trim().rsplit('/').next().unwrap_or_default().trim();
                match key {
                    "use_devicesfile" => self.uses_devices = Some(value.trim() != "0"),
                    "filter" | "global_filter" => {
                        let filter = Filter {
                            seen: file.seen(line),
                            end: line,
                            patterns: strings(value),
                        };
                        self.filters.retain(|known| !starts_with(known, key));
                        if value.contains('[') && !closes(value) {
                            open = Some((key.to_owned(), filter));
                        } else {
                            self.filters.push(filter);
                        }
                    }
                    _ => {}
                }
            } else if let Some((_, filter)) = &mut open {
                filter.patterns.extend(strings(text));
                filter.end = line;
                if closes(text) {
                    self.filters.extend(open.take().map(|(_, filter)| filter));
                }
            }
        }
    }
}

/// Whether `filter` was assigned to `key`.
fn starts_with(filter: &Filter, key: &str) -> bool {
    let text = filter.seen.text.as_deref().unwrap_or_default();
    text.split_once('=')
        .is_some_and(|(name, _)| name.trim().rsplit('/').next() == Some(key))
}

/// The lines of a devices file: words `KEY=value`.
pub(crate) fn known_devices(file: &Source) -> Vec<KnownDevice> {
    file.lines()
        .filter_map(|(line, text)| {
            let text = String::from_utf8_lossy(text);
            let word = |key: &str| {
                text.split_ascii_whitespace()
                    .find_map(|word| word.strip_prefix(key))
            };
            Some(KnownDevice {
                seen: file.seen(line),
                id_type: word("IDTYPE=")?.to_owned(),
                volume: word("PVID=").unwrap_or_default().to_owned(),
            })
        })
        .collect()
}

impl Filter {
    /// Whether LVM looks at a device with these names. The first pattern that matches a name
    /// decides about it; one accepted name is enough, and what no pattern matches is accepted.
    pub(crate) fn accepts(&self, names: &[String]) -> Known<bool> {
        if self.patterns.len() > MAX_PATTERNS {
            return Err(format!("the filter has more than {MAX_PATTERNS} patterns"));
        }
        let mut patterns = Vec::new();
        for text in &self.patterns {
            patterns.push(pattern(text)?);
        }
        let verdicts: Vec<bool> = names
            .iter()
            .filter_map(|name| {
                patterns
                    .iter()
                    .find(|(_, pattern)| pattern.is_match(name.as_bytes()))
                    .map(|(accepts, _)| *accepts)
            })
            .collect();
        Ok(verdicts.is_empty() || verdicts.contains(&true))
    }
}

/// `a|…|` or `r|…|`: whether it accepts, and what.
fn pattern(text: &str) -> Known<(bool, Regex)> {
    let broken = || format!("the filter's pattern {text:?} is not understood");
    let mut letters = text.chars();
    let accepts = match letters.next() {
        Some('a') => true,
        Some('r') => false,
        _ => return Err(broken()),
    };
    let open = letters.next().ok_or_else(broken)?;
    let close = match open {
        '(' => ')',
        '[' => ']',
        '{' => '}',
        other => other,
    };
    let inner = letters.as_str();
    let inner = inner.strip_suffix(close).ok_or_else(broken)?;
    let regex = RegexBuilder::new(inner)
        .size_limit(MAX_PATTERN)
        .nest_limit(32)
        .unicode(false)
        .build()
        .map_err(|_| broken())?;
    Ok((accepts, regex))
}

/// `text` up to a `#` that is in no string.
fn without_comment(text: &str) -> &str {
    let mut quoted = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            '#' if !quoted => return text.get(..at).unwrap_or_default(),
            _ => {}
        }
    }
    text
}

/// The strings in `text`.
fn strings(text: &str) -> Vec<String> {
    text.split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Whether a list ends in `text`, outside of strings.
fn closes(text: &str) -> bool {
    text.split('"').step_by(2).any(|part| part.contains(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(text: &str) -> Lvm {
        let mut lvm = Lvm::default();
        lvm.configure(&Source::new("/etc/lvm/lvm.conf", text.into()));
        lvm
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn filters_are_read_over_several_lines_and_comments_are_not() {
        let lvm = configured(
            "devices {\n\t# filter = [ \"r|.*|\" ]\n\tfilter = [ \"a|^/dev/sd[a-z]|\", # x\n\t\t\"r|.*|\" ]\n\
             \tuse_devicesfile = 0\n}\n",
        );
        assert_eq!(lvm.filters.len(), 1);
        assert_eq!(lvm.filters[0].patterns, ["a|^/dev/sd[a-z]|", "r|.*|"]);
        assert_eq!(lvm.filters[0].seen.line, Some(3));
        assert_eq!(lvm.uses_devices, Some(false));
    }

    #[test]
    fn the_first_pattern_that_matches_decides_and_one_good_name_is_enough() {
        let filter = |text: &str| configured(&format!("filter = [ {text} ]")).filters[0].clone();
        let sda = filter(r#""a|/dev/sda|", "r|.*|""#);
        assert_eq!(sda.accepts(&names(&["/dev/vda2"])), Ok(false));
        assert_eq!(sda.accepts(&names(&["/dev/vda2", "/dev/sda2"])), Ok(true));
        let cdrom = filter(r#""r|/dev/cdrom|""#);
        assert_eq!(cdrom.accepts(&names(&["/dev/vda2"])), Ok(true));
        let all = filter(r#""a/.*/", "r|.*|""#);
        assert_eq!(all.accepts(&names(&["/dev/vda2"])), Ok(true));
        assert!(filter(r#""a|(|""#).accepts(&names(&["/dev/vda2"])).is_err());
    }

    #[test]
    fn the_devices_file_names_its_lines() {
        let text = "# x\nVERSION=1.1.1\nIDTYPE=sys_wwid IDNAME=naa.6 DEVNAME=/dev/sda3 PVID=abc\n";
        let devices = known_devices(&Source::new(DEVICES, text.into()));
        assert_eq!(devices.len(), 1);
        assert_eq!(
            (devices[0].id_type.as_str(), devices[0].volume.as_str()),
            ("sys_wwid", "abc")
        );
        assert_eq!(devices[0].seen.line, Some(3));
    }
}
