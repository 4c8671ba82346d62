//! What the descriptor tells of the machine: how it boots, and words for its operating system.

use serde::Serialize;

use crate::xml::{Element, Space};
use diskimg::text::printable;

/// How a machine boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// A BIOS.
    Bios,
    /// UEFI.
    Uefi,
}

/// The processors of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// ARM, 64 bits.
    Arm,
}

/// What the descriptor tells of the machine. All texts can be printed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Hints {
    /// Its name.
    pub name: Option<String>,
    /// How it boots, where the descriptor says so.
    pub firmware: Option<Firmware>,
    /// Whether it starts signed systems only: the keys are not in the package.
    pub secure_boot: bool,
    /// Its processors, where the words for its system say so.
    pub architecture: Option<Architecture>,
    /// The words for its operating system, the ones that say most first.
    pub os: Vec<String>,
}

impl std::fmt::Display for Firmware {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Bios => "BIOS",
            Self::Uefi => "UEFI",
        })
    }
}

/// What the words for an operating system begin with, and what it is called elsewhere.
const FAMILIES: [(&str, &str); 31] = [
    ("ubuntu", "Ubuntu"),
    ("debian", "Debian"),
    ("centos", "CentOS"),
    ("rhel", "Red Hat"),
    ("redhat", "Red Hat"),
    ("red hat", "Red Hat"),
    ("sles", "SUSE"),
    ("suse", "SUSE"),
    ("opensuse", "openSUSE"),
    ("oraclelinux", "Oracle Linux"),
    ("oracle", "Oracle Linux"),
    ("rocky", "Rocky Linux"),
    ("almalinux", "AlmaLinux"),
    ("fedora", "Fedora"),
    ("freebsd", "FreeBSD"),
    ("windows2022srvnext", "Windows Server 2025"),
    ("windows2019srvnext", "Windows Server 2022"),
    ("windows2019srv", "Windows Server 2019"),
    ("windows2025", "Windows Server 2025"),
    ("windows2022", "Windows Server 2022"),
    ("windows2019", "Windows Server 2019"),
    ("windows2016", "Windows Server 2016"),
    ("windows2012", "Windows Server 2012"),
    ("windows7server", "Windows Server 2008 R2"),
    ("windows8server", "Windows Server 2012"),
    ("windows9server", "Windows Server 2016"),
    ("windows9_", "Windows 10"),
    ("windows11", "Windows 11"),
    ("windows10", "Windows 10"),
    ("microsoft windows", "Windows"),
    ("windows", "Windows"),
];

impl Hints {
    /// What the operating system may be called elsewhere: a family, seldom a release. The words
    /// are written by programs that know the systems of their time, so this is a guess.
    #[must_use]
    pub fn os_family(&self) -> Option<&'static str> {
        self.os.iter().find_map(|word| {
            let word = word.to_ascii_lowercase();
            let word = word.strip_prefix("arm-").unwrap_or(&word);
            let mut families = FAMILIES.iter();
            let found = families.find(|(prefix, _)| word.starts_with(prefix));
            found.map(|(_, family)| *family)
        })
    }
}

/// The name of a machine: its own, or the one it has in the descriptor.
pub(crate) fn name(system: &Element) -> Option<&str> {
    let own = system.text_of(Space::Ovf, "Name");
    own.or_else(|| system.attribute(Space::Ovf, "id"))
        .filter(|name| !name.is_empty())
}

pub(crate) fn read(system: &Element, hardware: Option<&Element>) -> Hints {
    let section = system.first(Space::Ovf, "OperatingSystemSection");
    let words = section.map(|section| {
        [
            section.attribute(Space::VmWare, "osType"),
            section.text_of(Space::VirtualBox, "OSType"),
            section.text_of(Space::Ovf, "Description"),
        ]
    });
    let mut os: Vec<String> = Vec::new();
    for word in words.into_iter().flatten().flatten().map(printable) {
        if !os.contains(&word) {
            os.push(word);
        }
    }
    let config = |key: &str| {
        let all = hardware.into_iter().flat_map(|hardware| {
            // Of several of one key the last one counts.
            hardware.all(Space::VmWare, "Config")
        });
        all.filter(|config| config.attribute(Space::VmWare, "key") == Some(key))
            .last()
            .and_then(|config| config.attribute(Space::VmWare, "value"))
    };
    Hints {
        name: name(system).map(printable),
        firmware: match config("firmware") {
            Some("efi") => Some(Firmware::Uefi),
            Some("bios") => Some(Firmware::Bios),
            _ => of_virtualbox(system),
        },
        secure_boot: config("bootOptions.efiSecureBootEnabled")
            .is_some_and(|value| value.eq_ignore_ascii_case("true")),
        architecture: os.iter().find_map(|word| of_word(word)),
        os,
    }
}

/// VirtualBox repeats the machine in its own words.
fn of_virtualbox(system: &Element) -> Option<Firmware> {
    let machine = system.first(Space::VirtualBox, "Machine")?;
    // The elements inside have the default namespace, which is OVF's in its files.
    let hardware = either(machine, "Hardware")?;
    let firmware = either(hardware, "Firmware")?;
    let kind = firmware.attribute(Space::VirtualBox, "type")?;
    if kind.starts_with("EFI") {
        return Some(Firmware::Uefi);
    }
    (kind == "BIOS").then_some(Firmware::Bios)
}

fn either<'a>(element: &'a Element, name: &'static str) -> Option<&'a Element> {
    let own = element.first(Space::VirtualBox, name);
    own.or_else(|| element.first(Space::Ovf, name))
}

fn of_word(word: &str) -> Option<Architecture> {
    let word = word.to_ascii_lowercase();
    let arm = word.starts_with("arm-") || word.starts_with("arm64") || word.ends_with("_arm64");
    arm.then_some(Architecture::Arm)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_a_family() {
        let family = |word: &str| {
            let hints = Hints {
                os: vec![word.to_owned()],
                ..Hints::default()
            };
            hints.os_family()
        };
        assert_eq!(family("ubuntu64Guest"), Some("Ubuntu"));
        assert_eq!(family("arm-ubuntu-64"), Some("Ubuntu"));
        assert_eq!(family("Ubuntu22_LTS_64"), Some("Ubuntu"));
        assert_eq!(
            family("windows2019srvNext_64Guest"),
            Some("Windows Server 2022")
        );
        assert_eq!(
            family("windows2019srv_64Guest"),
            Some("Windows Server 2019")
        );
        assert_eq!(family("windows9Server64Guest"), Some("Windows Server 2016"));
        assert_eq!(family("windows9_64Guest"), Some("Windows 10"));
        assert_eq!(family("RedHat8_64"), Some("Red Hat"));
        assert_eq!(family("other4xLinux64Guest"), None);
    }
}
