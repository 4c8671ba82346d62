//! Which disks belong to one server, as far as their names tell.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use diskimg::partitions::BootMode;
use serde::Serialize;

use super::{Disk, Found, Refused};

/// What a manifest is written from.
#[derive(Debug, Serialize)]
pub struct Draft {
    /// Disks that belong together.
    pub servers: Vec<Server>,
    /// All others.
    pub images: Vec<Named>,
    /// Files that cannot be taken as they are.
    pub refused: Vec<Refused>,
    /// Files that are no disks, and links.
    pub passed_over: usize,
}

/// The disks of one server.
#[derive(Debug, Serialize)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// The disk that it starts from.
    pub system: Disk,
    /// Its other disks.
    pub data: Vec<Named>,
}

/// A disk and its image's name.
#[derive(Debug, Serialize)]
pub struct Named {
    /// Name of the image.
    pub name: String,
    /// The disk.
    pub disk: Disk,
}

/// What a name tells: the server, and which of its disks it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Suffix<'a> {
    server: &'a str,
    /// Whether the suffix has a word such as disk: a number alone may be part of the server's name.
    has_word: bool,
    /// Whether the word is one for data disks.
    is_data: bool,
    number: u32,
}

/// Reads `web01-disk2`, `web01_1`, `web01-data`, `web01-vdb`.
fn suffix(stem: &str) -> Option<Suffix<'_>> {
    let (server, last) = stem.rsplit_once(['-', '_', '.'])?;
    if server.is_empty() {
        return None;
    }
    let lower = last.to_ascii_lowercase();
    let suffix = |has_word, is_data, number| {
        Some(Suffix {
            server,
            has_word,
            is_data,
            number,
        })
    };
    for device in ["sd", "vd", "xvd", "hd"] {
        let letter = lower.strip_prefix(device).map(str::as_bytes);
        if let Some([letter @ b'a'..=b'z']) = letter {
            let number = u32::from(letter.saturating_sub(b'a'));
            return suffix(true, number > 0, number);
        }
    }
    let digits = lower.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let word = lower.strip_suffix(digits)?;
    let number = match digits {
        "" => 0,
        digits if digits.len() <= 3 => digits.parse().ok()?,
        _ => return None,
    };
    match word {
        "" => suffix(false, false, number),
        "disk" | "hdd" | "drive" if !digits.is_empty() => suffix(true, false, number),
        "os" | "root" | "boot" | "system" | "sys" => suffix(true, false, number),
        "data" => suffix(true, true, number.saturating_add(1)),
        _ => None,
    }
}

impl Draft {
    /// Groups what was found.
    #[must_use]
    pub fn of(found: Found) -> Self {
        // By directory and the server's name, case apart: a disk is of the server in its own
        // directory.
        let mut by_place: HashMap<(PathBuf, String), Vec<usize>> = HashMap::new();
        let stems: Vec<String> = found.disks.iter().map(|disk| stem(&disk.path)).collect();
        let place = |index: usize, server: &str| {
            let dir = found
                .disks
                .get(index)
                .and_then(|disk| disk.path.parent())
                .unwrap_or(Path::new(""));
            (dir.to_owned(), server.to_owned())
        };
        let bases: HashSet<_> = stems
            .iter()
            .enumerate()
            .map(|(index, stem)| place(index, stem))
            .collect();
        for (index, stem) in stems.iter().enumerate() {
            let Some(suffix) = suffix(stem) else { continue };
            let place = place(index, suffix.server);
            if suffix.has_word || bases.contains(&place) {
                by_place.entry(place).or_default().push(index);
            }
        }
        // The disk that is called like the server is its system disk.
        for (index, stem) in stems.iter().enumerate() {
            if let Some(members) = by_place.get_mut(&place(index, stem)) {
                members.push(index);
            }
        }
        let mut servers: BTreeMap<usize, (usize, Vec<usize>)> = BTreeMap::new();
        let mut taken = HashSet::new();
        let mut groups: Vec<_> = by_place.into_iter().collect();
        groups.sort();
        for ((_, server), members) in groups {
            let rank = |index: &usize| match stems.get(*index).map(|stem| (stem, suffix(stem))) {
                Some((stem, _)) if *stem == server => (0, false, 0),
                Some((_, Some(suffix))) => (1, suffix.is_data, suffix.number),
                _ => (2, true, 0),
            };
            let mut members: Vec<usize> = members
                .into_iter()
                .filter(|index| !taken.contains(index))
                .collect();
            members.sort_by_key(|index| (rank(index), *index));
            let [system, data @ ..] = members.as_slice() else {
                continue;
            };
            // Data disks without their system disk belong to nothing that is here.
            if data.is_empty() || rank(system).1 {
                continue;
            }
            taken.extend(members.iter().copied());
            servers.insert(*system, (*system, data.to_vec()));
        }
        let mut names = Names::default();
        let mut draft = Self {
            servers: Vec::new(),
            images: Vec::new(),
            refused: found.refused,
            passed_over: found.passed_over,
        };
        for (system, data) in servers.into_values() {
            let Some(disk) = found.disks.get(system) else {
                continue;
            };
            let stem = stem(&disk.path);
            let server = match data.first().and_then(|index| stems.get(*index)) {
                Some(other) if other.starts_with(&stem) => stem.as_str(),
                _ => suffix(&stem).map_or(stem.as_str(), |suffix| suffix.server),
            };
            let name = names.unique(server, &disk.path);
            let data = data
                .iter()
                .enumerate()
                .filter_map(|(number, index)| {
                    let disk = found.disks.get(*index)?;
                    let name = format!("{name}-data{}", number.saturating_add(1));
                    Some(Named {
                        name: names.unique(&name, &disk.path),
                        disk: disk.clone(),
                    })
                })
                .collect();
            draft.servers.push(Server {
                name,
                system: disk.clone(),
                data,
            });
        }
        for (index, disk) in found.disks.into_iter().enumerate() {
            if !taken.contains(&index) {
                draft.images.push(Named {
                    name: names.unique(&stem(&disk.path), &disk.path),
                    disk,
                });
            }
        }
        draft
    }
}

impl Disk {
    /// Whether something on it can be started.
    pub(super) fn boots(&self) -> bool {
        !matches!(self.boot, None | Some(BootMode::Unknown))
    }
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            c if c.is_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.') => c,
            _ => '-',
        })
        .collect()
}

/// Names that were given.
#[derive(Default)]
struct Names(HashSet<String>);

impl Names {
    /// `wanted`, or with its directory's name before it, or with a number behind it; of characters
    /// that names of images have.
    fn unique(&mut self, wanted: &str, path: &Path) -> String {
        let dir = path.parent().and_then(Path::file_name);
        let dir = plain(&dir.unwrap_or_default().to_string_lossy());
        let wanted = plain(wanted);
        let with_dir = format!("{dir}-{wanted}");
        let numbered = (2_u32..).map(|number| format!("{wanted}-{number}"));
        let name = [wanted.clone(), with_dir]
            .into_iter()
            .chain(numbered)
            .find(|name| !self.0.contains(name))
            .unwrap_or_default();
        self.0.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_are_read_carefully() {
        let read = |stem| suffix(stem).map(|s| (s.server, s.has_word, s.is_data, s.number));
        assert_eq!(read("web01-disk2"), Some(("web01", true, false, 2)));
        assert_eq!(read("web01_1"), Some(("web01", false, false, 1)));
        assert_eq!(read("web01-data1"), Some(("web01", true, true, 2)));
        assert_eq!(read("web01-data"), Some(("web01", true, true, 1)));
        assert_eq!(read("web01-vdb"), Some(("web01", true, true, 1)));
        assert_eq!(read("db-01-sda"), Some(("db-01", true, false, 0)));
        assert_eq!(read("web01-os"), Some(("web01", true, false, 0)));
        for stem in [
            "web01",
            "web-prod",
            "-disk1",
            "web-20240131",
            "web-disk",
            "web-vd1",
        ] {
            assert_eq!(read(stem), None, "{stem}");
        }
    }
}
