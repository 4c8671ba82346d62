//! What a name of an operating system means.

use crate::Os;

/// A system, as far as names tell systems apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meaning {
    /// As in [`FAMILIES`]; `windows`; `other`.
    pub(super) family: &'static str,
    /// What must be equal: `7` of CentOS 7.9, `22.04` of Ubuntu 22.04.4, `2012 R2` of Windows.
    pub(super) release: Vec<u32>,
    /// What may differ: `9` of CentOS 7.9, `4` of Ubuntu 22.04.4, `5` of SLES 15 SP5.
    point: Option<u32>,
    /// Of Windows; of `other` the type that it stands for.
    edition: Option<&'static str>,
    bits: u32,
    /// The name is marked as for ARM; of a guest: it is for ARM.
    pub(super) arm: bool,
}

/// How near a name is; the least is the nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Nearness(u8, u32);

/// The words of names without those about version and width, and the family they mean.
const FAMILIES: &[(&str, &str)] = &[
    ("alibaba cloud linux", "alinux"),
    ("alma", "almalinux"),
    ("alma linux", "almalinux"),
    ("almalinux", "almalinux"),
    ("amazon linux", "amzn"),
    ("anolis os", "anolis"),
    ("centos", "centos"),
    ("centos linux", "centos"),
    ("centos stream", "centos-stream"),
    ("coreos", "coreos"),
    ("debian", "debian"),
    ("debian gnu linux", "debian"),
    ("euleros", "euleros"),
    ("fedora", "fedora"),
    ("freebsd", "freebsd"),
    ("hce", "hce"),
    ("huawei cloud euleros", "hce"),
    ("huawei cloud euleros standard", "hce"),
    ("kylin", "kylin"),
    ("kylin linux advanced server", "kylin"),
    ("neokylin", "neokylin"),
    ("neokylin linux advanced server release", "neokylin"),
    ("neokylin server release", "neokylin"),
    ("novell suse linux enterprise server", "sles"),
    ("opencloudos", "opencloudos"),
    ("openeuler", "openeuler"),
    ("opensuse", "opensuse"),
    ("opensuse leap", "opensuse"),
    ("oracle linux", "oracle"),
    ("oracle linux server", "oracle"),
    ("oracle linux server release", "oracle"),
    ("red hat", "rhel"),
    ("red hat enterprise linux", "rhel"),
    ("red hat linux enterprise", "rhel"),
    ("redhat", "rhel"),
    ("redhat enterprise linux", "rhel"),
    ("redhat linux enterprise", "rhel"),
    ("rocky", "rocky"),
    ("rocky linux", "rocky"),
    ("suse linux enterprise server", "sles"),
    ("tencentos server", "tencentos"),
    ("ubuntu", "ubuntu"),
    ("ubuntu server", "ubuntu"),
    ("uniontech os server", "uos"),
    ("uos", "uos"),
];

/// Values of `ID` in os-release, in lower case, that are spelled otherwise than their family.
const IDS: &[(&str, &str)] = &[
    ("ol", "oracle"),
    ("opensuse-leap", "opensuse"),
    ("sles_sap", "sles"),
];

/// The words of editions in names and in `Os::edition`, and what they mean.
const EDITIONS: &[(&str, &str)] = &[
    ("core", "home"),
    ("datacenter", "datacenter"),
    ("education", "education"),
    ("enterprise", "enterprise"),
    ("essentials", "essentials"),
    ("foundation", "foundation"),
    ("home", "home"),
    ("pro", "professional"),
    ("professional", "professional"),
    ("standard", "standard"),
    ("web", "web"),
];

/// The numbers of a version and its service pack.
#[derive(Default)]
struct Version {
    numbers: Vec<u32>,
    pack: Option<u32>,
    /// Windows Server 2008 R2, 2012 R2.
    second: bool,
}

impl Meaning {
    /// The meaning of a name in the cloud's list, or `None` when it is not understood.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let mut version = Version::default();
        let mut words = Vec::new();
        let mut bits = 64;
        let mut arm = false;
        let lower = name.to_lowercase();
        let mut tokens = lower
            .split(|letter: char| !letter.is_alphanumeric() && letter != '.')
            .filter(|token| !token.is_empty())
            .peekable();
        while let Some(token) = tokens.next() {
            let next = tokens.peek().copied();
            match (token, next) {
                ("32bit", _) => bits = 32,
                ("64bit" | "bit" | "lts", _) => {}
                ("32", Some("bit")) => bits = 32,
                ("64", Some("bit")) => {}
                ("with" | "for", Some("arm")) => {}
                ("arm" | "arm64" | "aarch64", _) => arm = true,
                _ if version.take(token)? => {}
                _ => words.push(token),
            }
        }
        let meaning = match words.as_slice() {
            ["windows", rest @ ..] => Self::of_windows(rest, &version)?,
            ["other"] => Self::other(None),
            ["other", "linux"] => Self::other(Some("linux")),
            ["other", "windows"] => Self::other(Some("windows")),
            words => {
                let words = words.join(" ");
                let (_, family) = FAMILIES.iter().find(|(known, _)| *known == words)?;
                Self::of_linux(family, &version)?
            }
        };
        Some(Self {
            bits,
            arm,
            ..meaning
        })
    }

    /// What was found, or `None` when it is a system that no name means.
    pub(super) fn of_os(os: &Os) -> Option<Self> {
        let (bits, arm) = width(os)?;
        let mut version = Version::default();
        let lower = os.version.as_deref()?.to_lowercase();
        for token in lower.split(|letter: char| !letter.is_alphanumeric() && letter != '.') {
            // Words such as code names say nothing here.
            let _ = version.take(token);
        }
        let id = os.id.to_lowercase();
        let stream = || os.evidence.iter().any(|seen| seen.value.contains("Stream"));
        let meaning = match id.as_str() {
            "windows" => {
                let edition = os.edition.as_deref().unwrap_or_default().to_lowercase();
                let words: Vec<&str> = edition.split_whitespace().collect();
                // Most names of clients have no edition, so one that is not known does no harm.
                let client = || Self::of_windows(&[], &version).filter(Self::is_client);
                Self::of_windows(&words, &version).or_else(client)?
            }
            "centos" if stream() => Self::of_linux("centos-stream", &version)?,
            id => {
                let id = IDS
                    .iter()
                    .find_map(|(known, family)| (*known == id).then_some(*family))
                    .unwrap_or(id);
                let (_, family) = FAMILIES.iter().find(|(_, family)| *family == id)?;
                Self::of_linux(family, &version)?
            }
        };
        Some(Self {
            bits,
            arm,
            ..meaning
        })
    }

    fn of_linux(family: &'static str, version: &Version) -> Option<Self> {
        let leading = match family {
            "ubuntu" | "openeuler" => 2,
            _ => 1,
        };
        let release = version.numbers.get(..leading)?.to_vec();
        // Where a release without packs is named without one, that is pack 0.
        let first = matches!(family, "ubuntu" | "openeuler" | "sles" | "kylin").then_some(0);
        let point = version
            .pack
            .or_else(|| version.numbers.get(leading).copied())
            .or(first);
        Some(Self {
            family,
            release,
            point,
            edition: None,
            bits: 64,
            arm: false,
        })
    }

    fn of_windows(words: &[&str], version: &Version) -> Option<Self> {
        let mut edition = None;
        for word in words {
            if *word == "server" {
                continue;
            }
            let (_, known) = EDITIONS.iter().find(|(known, _)| known == word)?;
            if edition.replace(*known).is_some() {
                return None;
            }
        }
        let mut release = version.numbers.clone();
        release.first()?;
        if version.second {
            release.push(2);
        }
        Some(Self {
            family: "windows",
            release,
            point: None,
            edition,
            bits: 64,
            arm: false,
        })
    }

    /// Whether it is a Windows that is named by a number, not by a year.
    fn is_client(&self) -> bool {
        self.release.first().is_some_and(|year| *year < 2000)
    }

    fn other(kind: Option<&'static str>) -> Self {
        Self {
            family: "other",
            release: Vec::new(),
            point: None,
            edition: kind,
            bits: 64,
            arm: false,
        }
    }

    /// How near `name` is to this guest; `None` when it means another system.
    pub(super) fn near(&self, name: &Self) -> Option<Nearness> {
        let same = self.family == name.family
            && self.release == name.release
            && self.bits == name.bits
            && (self.arm || !name.arm);
        if !same {
            return None;
        }
        if self.family == "windows" {
            // Clients are named without an edition, servers never.
            return match name.edition {
                edition if edition == self.edition => Some(Nearness(0, 0)),
                None if self.is_client() => Some(Nearness(0, 1)),
                _ => None,
            };
        }
        Some(match (self.point, name.point) {
            (None, None) => Nearness(0, 0),
            // The minor version is not known: the newest, as after an update of all packages.
            (None, Some(point)) => Nearness(1, u32::MAX - point),
            (Some(own), Some(point)) if own == point => Nearness(0, 0),
            (Some(own), Some(point)) if point < own => Nearness(1, own - point),
            (Some(own), Some(point)) => Nearness(2, point - own),
            (Some(_), None) => Nearness(3, 0),
        })
    }

    /// Whether this is the name for systems like `os` that have none.
    pub(super) fn takes_in(&self, os: &Os) -> bool {
        let kind = match os.kind.as_str() {
            "Linux" => Some("linux"),
            "Windows" => Some("windows"),
            _ => None,
        };
        self.is_other()
            && self.edition == kind
            && width(os).is_some_and(|(bits, _)| bits == self.bits)
    }

    /// Whether this is a name for systems that have none.
    pub(super) fn is_other(&self) -> bool {
        self.family == "other"
    }

    /// Whether this name is of the type of `os`: `Linux`, `Windows` or `Other`.
    pub(super) fn is_of_type(&self, kind: &str) -> bool {
        match self.edition {
            Some(word) if self.is_other() => kind.eq_ignore_ascii_case(word),
            _ => true,
        }
    }
}

impl Nearness {
    pub(super) fn is_exact(self) -> bool {
        self.0 == 0
    }
}

impl Version {
    /// Takes a token in, if it belongs to a version. `None`: a second version in one name.
    fn take(&mut self, token: &str) -> Option<bool> {
        let number = |prefix: &str| token.strip_prefix(prefix)?.parse::<u32>().ok();
        if token == "r2" {
            self.second = true;
            return Some(true);
        }
        // The architecture is glued on in EulerOS: SP9x86_64.
        let digits =
            |text: &str| -> String { text.chars().take_while(char::is_ascii_digit).collect() };
        if let Some(rest) = token.strip_prefix("sp")
            && let Ok(pack) = digits(rest).parse()
        {
            self.pack = Some(pack);
            return Some(true);
        }
        if let Some(pack) = number("u") {
            self.pack = Some(pack);
            return Some(true);
        }
        let token = token.strip_prefix('v').unwrap_or(token);
        let (token, update) = match token.split_once("update") {
            Some((token, update)) => (token, update.parse().ok()),
            None => (token, None),
        };
        if !token.starts_with(|letter: char| letter.is_ascii_digit()) {
            return Some(false);
        }
        let numbers: Option<Vec<u32>> = token.split('.').map(|part| part.parse().ok()).collect();
        let Some(numbers) = numbers else {
            return Some(false);
        };
        if !self.numbers.is_empty() {
            return None;
        }
        self.numbers = numbers;
        self.pack = self.pack.or(update);
        Some(true)
    }
}

/// Bits of a word, and whether it is ARM; `None` for processors that the cloud does not have.
fn width(os: &Os) -> Option<(u32, bool)> {
    match os.arch.as_deref() {
        None | Some("x86_64") => Some((64, false)),
        Some("i386") => Some((32, false)),
        Some("aarch64") => Some((64, true)),
        Some(_) => None,
    }
}
