//! Which disks belong to one server: what its configuration or package says, else what their names
//! tell.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use diskimg::partitions::BootMode;
use serde::Serialize;

use super::find::PACKED;
use super::{Disk, Found, Machine, Refused};

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
    /// The disk; of a package, the one that the machine starts from.
    pub disk: Disk,
    /// Data disks of the package.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<Disk>,
}

impl Named {
    fn new(name: String, disk: Disk) -> Self {
        let data = Vec::new();
        Self { name, disk, data }
    }
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
        let stems = Stems::of(&found.disks);
        let groups = stems.groups();
        let taken: HashSet<usize> = groups
            .iter()
            .flat_map(|group| group.data.iter().chain([&group.system]))
            .copied()
            .collect();
        let mut names = Names::default();
        let (mut servers, mut images) = (Vec::new(), Vec::new());
        for machine in found.machines {
            match machine.data.is_empty() || machine.is_package {
                true => images.push(machine.image(&mut names)),
                false => servers.push(machine.server(&mut names)),
            }
        }
        let grouped = groups.iter();
        servers.extend(grouped.filter_map(|group| group.server(&found.disks, &stems, &mut names)));
        let others = found.disks.into_iter().enumerate();
        images.extend(
            others
                .filter(|(index, _)| !taken.contains(index))
                .map(|(_, disk)| Named::new(names.unique(&stem(&disk.path), &disk.path), disk)),
        );
        Self {
            servers,
            images,
            refused: found.refused,
            passed_over: found.passed_over,
        }
    }

    /// The disks that are imported only where the files may be opened that they build on.
    pub fn snapshots(&self) -> impl Iterator<Item = &Disk> {
        let servers = self.servers.iter().flat_map(|server| {
            let data = server.data.iter().map(|data| &data.disk);
            std::iter::once(&server.system).chain(data)
        });
        let images = self.images.iter().map(|image| &image.disk);
        servers
            .chain(images)
            .filter(|disk| !disk.builds_on.is_empty())
    }
}

/// The names of the disks without extensions, and the directories that they are in.
struct Stems {
    stems: Vec<String>,
    dirs: Vec<PathBuf>,
}

/// The disks of one server, by their numbers among those found.
struct Group {
    system: usize,
    data: Vec<usize>,
}

impl Stems {
    fn of(disks: &[Disk]) -> Self {
        let dir = |disk: &Disk| disk.path.parent().unwrap_or(Path::new("")).to_owned();
        Self {
            stems: disks.iter().map(|disk| stem(&disk.path)).collect(),
            dirs: disks.iter().map(dir).collect(),
        }
    }

    fn get(&self, index: usize) -> &str {
        self.stems.get(index).map_or("", String::as_str)
    }

    /// The disks that belong together, in the order of their system disks.
    fn groups(&self) -> Vec<Group> {
        let mut by_place: Vec<_> = self.by_place().into_iter().collect();
        by_place.sort();
        let mut groups = BTreeMap::new();
        let mut taken = HashSet::new();
        for ((_, server), mut members) in by_place {
            members.retain(|index| !taken.contains(index));
            members.sort_by_key(|index| (self.rank(*index, server), *index));
            let [system, data @ ..] = members.as_slice() else {
                continue;
            };
            // Data disks without their system disk belong to nothing that is here.
            if data.is_empty() || self.rank(*system, server).is_data {
                continue;
            }
            let (system, data) = (*system, data.to_vec());
            taken.extend(members);
            groups.insert(system, Group { system, data });
        }
        groups.into_values().collect()
    }

    /// The disks that may belong together, by directory and the server's name, case apart: a disk
    /// is of the server in its own directory.
    fn by_place(&self) -> HashMap<(&Path, &str), Vec<usize>> {
        let all = || self.stems.iter().zip(&self.dirs).enumerate();
        let bases: HashSet<(&Path, &str)> = all()
            .map(|(_, (stem, dir))| (dir.as_path(), stem.as_str()))
            .collect();
        let mut by_place: HashMap<_, Vec<usize>> = HashMap::new();
        for (index, (stem, dir)) in all() {
            let Some(suffix) = suffix(stem) else { continue };
            let place = (dir.as_path(), suffix.server);
            if suffix.has_word || bases.contains(&place) {
                by_place.entry(place).or_default().push(index);
            }
        }
        // The disk that is called like the server is its system disk.
        for (index, (stem, dir)) in all() {
            if let Some(members) = by_place.get_mut(&(dir.as_path(), stem.as_str())) {
                members.push(index);
            }
        }
        by_place
    }

    /// Where a disk stands among those of `server`; the first is its system disk.
    fn rank(&self, index: usize, server: &str) -> Rank {
        let stem = self.get(index);
        let suffix = suffix(stem).filter(|_| stem != server);
        suffix.map_or(Rank::default(), |suffix| Rank {
            has_suffix: true,
            is_data: suffix.is_data,
            number: suffix.number,
        })
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    has_suffix: bool,
    is_data: bool,
    number: u32,
}

impl Group {
    fn server(&self, disks: &[Disk], stems: &Stems, names: &mut Names) -> Option<Server> {
        let system = disks.get(self.system)?;
        let stem = stems.get(self.system);
        let server = match self.data.first().map(|index| stems.get(*index)) {
            Some(other) if other.starts_with(stem) => stem,
            _ => suffix(stem).map_or(stem, |suffix| suffix.server),
        };
        let name = names.unique(server, &system.path);
        let data = self
            .data
            .iter()
            .zip(1..)
            .filter_map(|(index, number): (_, usize)| {
                let disk = disks.get(*index)?;
                let name = names.unique(&format!("{name}-data{number}"), &disk.path);
                Some(Named::new(name, disk.clone()))
            });
        Some(Server {
            data: data.collect(),
            system: system.clone(),
            name,
        })
    }
}

impl Machine {
    fn name(&self, names: &mut Names) -> String {
        let own = self.name.as_deref().map(str::trim);
        let own = own.filter(|name| name.chars().any(char::is_alphanumeric));
        let name = own.map_or_else(|| stem(&self.path), image_name);
        names.unique(&name, &self.path)
    }

    /// One image: of a package, whose data disks are imported with it, or of the only disk.
    fn image(self, names: &mut Names) -> Named {
        Named {
            name: self.name(names),
            disk: self.system,
            data: self.data,
        }
    }

    fn server(self, names: &mut Names) -> Server {
        let name = self.name(names);
        let data = self.data.into_iter().zip(1..);
        let data = data.map(|(disk, number): (Disk, usize)| {
            let name = names.unique(&format!("{name}-data{number}"), &disk.path);
            Named::new(name, disk)
        });
        Server {
            data: data.collect(),
            system: self.system,
            name,
        }
    }
}

impl Disk {
    /// Whether something on it can be started.
    pub(super) fn boots(&self) -> bool {
        // What builds on other files was not looked at.
        !matches!(self.boot, None | Some(BootMode::Unknown)) || !self.builds_on.is_empty()
    }
}

fn stem(path: &Path) -> String {
    let inside = path.file_stem().map(Path::new);
    let is_packed = path.extension().is_some_and(|found| {
        PACKED
            .iter()
            .any(|packed| found.eq_ignore_ascii_case(packed))
    });
    let path = inside.filter(|_| is_packed).unwrap_or(path);
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

/// Longest name of an image, in characters; room is left for what makes it unique.
const MAX_NAME: usize = 100;

/// The name of a machine as that of an image.
fn image_name(machine: &str) -> String {
    let name: String = machine.chars().take(MAX_NAME).collect();
    name.trim_matches(|c: char| !c.is_alphanumeric()).to_owned()
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
