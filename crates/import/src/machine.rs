//! The import of a machine from its package: which disk is the system's, which are data disks, and
//! what the descriptor says that the user did not.

use cloud::{Class, Failure, Result};
use diskimg::partitions::{self, BootMode};
use diskimg::text::{printable, shown};
use ims::rules::{MAX_DATA_DISKS, MAX_NAME};
use ims::{Architecture, Firmware, ImageKind};
use ova::{Disk, Package};
use std::fmt;

use super::disk::{Chosen, SourceDisk, choices, choose, open_package};
use super::observe::Observer;
use super::spec::{ImportSpec, Register};

impl ImportSpec {
    /// The import with what the package says, when its disk is one: the machine's disks, unless one
    /// was named, and a firmware, an architecture and a name where none was given. Other imports
    /// stay as they are.
    ///
    /// # Errors
    /// Those of the package; when it has more disks than are registered together, or the system's
    /// disk would have to be guessed.
    pub(super) fn of_machine(self, observer: &dyn Observer) -> Result<Self> {
        let package = open_package(&self.disk, &self.open)?;
        let named = match package {
            Some(package) => {
                let spec = self.with_disks(&package)?;
                spec.with_hints(&package, observer)?
            }
            None => self,
        };
        match named.name.is_empty() {
            true => Err(Failure::new(
                Class::Refused,
                "the image has no name, and the source gives none",
            )
            .hint(cloud::Hint::GiveName)),
            false => Ok(named),
        }
    }

    fn with_disks(mut self, package: &Package) -> Result<Self> {
        let path = self.disk.path.clone();
        let of = |disk: &Disk| SourceDisk::in_package(&path, Some(disk.member.clone()));
        if self.disk.member.is_some() || package.disks().len() == 1 {
            self.disk = of(choose(package, self.disk.member.as_deref())?);
            return Ok(self);
        }
        self.refuse_several(package)?;
        let system = system_disk(package, &self)?;
        let mut others = package.disks().to_vec();
        self.disk = of(&others.remove(system));
        let others = others.iter().map(of);
        let asked = std::mem::take(&mut self.data_disks);
        self.data_disks = others.chain(asked).collect();
        Ok(self)
    }

    /// Refuses imports that take one disk only.
    fn refuse_several(&self, package: &Package) -> Result {
        let count = package.disks().len();
        let why = if count > MAX_DATA_DISKS.saturating_add(1) {
            format!("a system and {MAX_DATA_DISKS} data disks are registered together")
        } else if self.kind == ImageKind::DataImage {
            "a data image is made of one".to_owned()
        } else if !matches!(self.register, Register::Auto | Register::Quick) {
            "they are registered together by quick import only".to_owned()
        } else {
            return Ok(());
        };
        Err(Failure::new(
            Class::Refused,
            format!("{} has {count} disks, and {why}", shown(package.path())),
        )
        .hint(choices(package)))
    }

    fn with_hints(mut self, package: &Package, observer: &dyn Observer) -> Result<Self> {
        let hints = package.hints();
        let tell = |text: fmt::Arguments<'_>| {
            observer.notice(format_args!("{}: {text}", shown(package.path())));
        };
        if self.name.is_empty()
            && let Some(found) = hints.name.as_deref()
        {
            self.name = image_name(found);
            tell(format_args!("the machine is called {}", self.name));
        }
        if self.kind == ImageKind::DataImage {
            return Ok(self);
        }
        if hints.architecture == Some(ova::Architecture::Arm) {
            if self.architecture == Some(Architecture::X86) {
                let path = shown(package.path());
                return Err(Failure::new(
                    Class::Refused,
                    format!("{path}: the machine has ARM processors, and x86 was asked for"),
                ));
            }
            self.architecture = Some(Architecture::Arm);
            tell(format_args!("the machine has ARM processors"));
        }
        if let (None, Some(found)) = (self.firmware, hints.firmware) {
            self.firmware = Some(match found {
                ova::Firmware::Bios => Firmware::Bios,
                ova::Firmware::Uefi => Firmware::Uefi,
            });
            tell(format_args!("the machine starts by {found}"));
        }
        if let (None, true, Some(word)) = (&self.os_version, self.registers(), hints.os.first()) {
            let family = hints.os_family().map_or_else(String::new, |family| {
                format!("; look for {family} among the operating systems of the region")
            });
            tell(format_args!(
                "the machine's system is called {word:?}{family}"
            ));
        }
        Ok(self)
    }
}

/// Place of the disk that the machine starts from. The descriptor's order is not trusted when the
/// disks say otherwise.
fn system_disk(package: &Package, spec: &ImportSpec) -> Result<usize> {
    let missing = || Failure::new(Class::Refused, "the package has no disks");
    let first = package.disks().get(package.system()).ok_or_else(missing)?;
    if boots(package, first, spec) != Some(false) {
        return Ok(package.system());
    }
    let others = package.disks().iter();
    let mut booting = others.filter(|disk| boots(package, disk, spec) == Some(true));
    match (booting.next(), booting.next()) {
        (Some(only), None) => Err(Failure::new(
            Class::Refused,
            format!(
                "{}: by its descriptor the machine starts from \"{}\", which cannot be started, and \
                 \"{}\" can",
                shown(package.path()),
                printable(&first.member),
                printable(&only.member)
            ),
        )
        .hint(choices(package))),
        _ => Ok(package.system()),
    }
}

/// Whether a machine can start from a disk; `None` when the disk cannot be read, which is told when
/// it is opened.
fn boots(package: &Package, disk: &Disk, spec: &ImportSpec) -> Option<bool> {
    let mut chosen = Chosen::of(package, Some(&disk.member), &spec.open, true).ok()?;
    let opened = chosen.open().ok()?;
    let table = partitions::read(opened.image.as_ref()).ok()?;
    Some(table.boot_code || table.boot != BootMode::Unknown)
}

/// The name of a machine as that of an image: letters, digits, and what the service allows besides.
fn image_name(machine: &str) -> String {
    let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ');
    let clean: String = machine
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .collect();
    let clean = clean.trim_matches(|c: char| !c.is_alphanumeric());
    clean.chars().take(MAX_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_gives_its_image_a_name_that_the_service_takes() {
        assert_eq!(image_name("web 01"), "web 01");
        assert_eq!(image_name(" (web/01) "), "web-01");
        assert_eq!(image_name("../x\u{1b}[2J"), "x--2J");
        assert_eq!(image_name("***"), "");
        assert_eq!(image_name(&"a".repeat(300)).len(), 128);
    }
}
