//! Configurations of virtual machines: text that is no disk, and names some.

use std::collections::{BTreeMap, HashSet};
use std::path::{Component, Path};

use crate::error::{Error, ErrorKind, Result};
use crate::hint::Hint;
use crate::source::ReadAt;
use crate::text::{printable, shell_path};
use crate::units::{FileOffset, MIB};

/// Longest configuration that is read, in bytes. Ours.
const MAX_BYTES: u64 = MIB;
/// Most disks that a hint lists.
const MAX_DISKS: usize = 16;
/// Longest text of a configuration that is kept, in characters. Ours.
const MAX_TEXT: usize = 256;
/// Extensions of disks that a configuration may name.
const DISKS: [&str; 4] = ["vmdk", "vdi", "vhd", "vhdx"];
/// Controllers of VMware's that disks are attached to, in the order in which a machine starts from
/// them.
const CONTROLLERS: [&str; 4] = ["ide", "scsi", "sata", "nvme"];

/// What the configuration of a machine of VMware's (`.vmx`) says. All texts can be printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vmx {
    /// The machine's name.
    pub name: Option<String>,
    /// How it boots: `bios` or `uefi`.
    pub firmware: Option<&'static str>,
    /// VMware's word for its operating system.
    pub system: Option<String>,
    /// Its disks, by controller, bus and unit: names of files beside the configuration.
    pub disks: Vec<String>,
    /// Its disks that are files elsewhere, or no files.
    pub elsewhere: Vec<String>,
}

impl Vmx {
    /// Reads the configuration in `source`. No disk is opened.
    ///
    /// # Errors
    /// `Limit` when it is longer than any; those of reading it.
    pub fn read(source: &dyn ReadAt) -> Result<Self> {
        if source.len() > MAX_BYTES {
            let message = format!(
                "the configuration has {} bytes, at most {MAX_BYTES} are read",
                source.len()
            );
            return Err(Error::new(ErrorKind::Limit, message));
        }
        Ok(Self::parse(&read_text(source)?))
    }

    fn parse(text: &str) -> Self {
        let mut vmx = Self::default();
        let mut drives: BTreeMap<Address, Drive> = BTreeMap::new();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let key = key.trim().to_ascii_lowercase();
            let value = unescaped(value.trim().trim_matches('"'));
            let told = || Some(printable(&value).chars().take(MAX_TEXT).collect());
            match key.as_str() {
                "displayname" => vmx.name = told(),
                "guestos" => vmx.system = told(),
                "firmware" if value.eq_ignore_ascii_case("efi") => vmx.firmware = Some("uefi"),
                "firmware" if value.eq_ignore_ascii_case("bios") => vmx.firmware = Some("bios"),
                _ => {
                    let Some((device, what)) = key.split_once('.') else {
                        continue;
                    };
                    if let Some(address) = Address::of(device) {
                        drives.entry(address).or_default().set(what, value);
                    }
                }
            }
        }
        let mut seen = HashSet::new();
        for file in drives.into_values().filter_map(Drive::disk) {
            if !is_disk_name(&file) {
                let name = printable(&file).chars().take(MAX_TEXT).collect();
                vmx.elsewhere.push(name);
            } else if seen.insert(file.clone()) {
                vmx.disks.push(file);
            }
        }
        vmx
    }
}

/// Where a drive is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Address {
    /// Place of the controller's kind among [`CONTROLLERS`].
    kind: usize,
    bus: u16,
    unit: u16,
}

impl Address {
    /// That of `scsi0:1`.
    fn of(device: &str) -> Option<Self> {
        let (controller, unit) = device.split_once(':')?;
        let mut kinds = CONTROLLERS.iter().enumerate();
        let (kind, bus) =
            kinds.find_map(|(kind, name)| Some((kind, controller.strip_prefix(name)?)))?;
        let number = |text: &str| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| digits)
        };
        Some(Self {
            kind,
            bus: number(bus)?,
            unit: number(unit)?,
        })
    }
}

/// A drive of a configuration.
#[derive(Default)]
struct Drive {
    file: Option<String>,
    kind: Option<String>,
    is_absent: bool,
}

impl Drive {
    fn set(&mut self, what: &str, value: String) {
        match what {
            "filename" => self.file = Some(value),
            "devicetype" => self.kind = Some(value.to_ascii_lowercase()),
            "present" => self.is_absent = value.eq_ignore_ascii_case("false"),
            _ => {}
        }
    }

    /// The file that it is in, when it is a disk that is there.
    fn disk(self) -> Option<String> {
        let is_cd = |kind: String| kind.contains("cdrom");
        let file = self.file.filter(|file| !file.is_empty())?;
        let is_medium = Path::new(&file)
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("iso"));
        (!self.is_absent && !is_medium && !self.kind.is_some_and(is_cd)).then_some(file)
    }
}

/// A value without VMware's escapes: `|22` is a quote.
fn unescaped(value: &str) -> String {
    let mut parts = value.split('|');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part
            .get(..2)
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        match (code, part.get(2..)) {
            (Some(code), Some(rest)) if code.is_ascii() => {
                text.push(char::from(code));
                text.push_str(rest);
            }
            _ => {
                text.push('|');
                text.push_str(part);
            }
        }
    }
    text
}

/// The first bytes of a configuration, as text.
fn read_text(source: &dyn ReadAt) -> Result<String> {
    let length = usize::try_from(source.len().min(MAX_BYTES)).unwrap_or_default();
    let mut text = vec![0; length];
    source.read_exact_at(FileOffset(0), &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Refuses the text in `source` when its name says that it is the configuration of a machine, with
/// the disks to give instead.
pub(crate) fn refusal(source: &dyn ReadAt) -> Option<Error> {
    let path = source.path()?;
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    let find: fn(&str) -> Vec<String> = match extension.as_str() {
        "vmx" => |text| Vmx::parse(text).disks,
        "vbox" => disks_of_vbox,
        _ => return None,
    };
    let disks: Vec<String> = find(&read_text(source).ok()?)
        .into_iter()
        .filter_map(|name| shell_path(&path.parent().unwrap_or(Path::new("")).join(name)))
        .take(MAX_DISKS)
        .collect();
    let error = Error::new(
        ErrorKind::Unsupported,
        format!("this is the configuration of a virtual machine (.{extension}), not a disk"),
    );
    Some(error.with_hint(Hint::GiveDisks(disks)))
}

/// Whether `name` is a plain name of a disk: a configuration leads nowhere else.
fn is_disk_name(name: &str) -> bool {
    let path = Path::new(name);
    let mut components = path.components();
    let plain = matches!(components.next(), Some(Component::Normal(_)))
        && components.next().is_none()
        && !name.contains(['\\', ':', '/'])
        && !name.chars().any(char::is_control);
    let extension = path.extension().and_then(|extension| extension.to_str());
    plain
        && extension.is_some_and(|found| DISKS.iter().any(|disk| disk.eq_ignore_ascii_case(found)))
}

/// The files of hard disks: `<HardDisk … location="web.vdi" …>`.
fn disks_of_vbox(text: &str) -> Vec<String> {
    text.split("<HardDisk ")
        .skip(1)
        .filter_map(|element| {
            let element = element.split('>').next()?;
            let (_, value) = element.split_once("location=\"")?;
            value.split('"').next().map(str::to_owned)
        })
        .filter(|name| is_disk_name(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::FileSource;

    fn hint(name: &str, text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let error = refusal(&FileSource::open(&path).unwrap()).unwrap();
        let dir = format!("{}/", dir.path().display());
        error.hint().unwrap().to_string().replace(&dir, "")
    }

    #[test]
    fn the_disks_of_a_configuration_are_listed_in_their_order() {
        let text = "scsi0:1.fileName = \"web_1.vmdk\"\nscsi0:1.present = \"TRUE\"\n\
            SCSI0:0.filename = \"web.vmdk\"\nscsi0:2.fileName = \"gone.vmdk\"\n\
            scsi0:2.present = \"FALSE\"\nide1:0.fileName = \"cd.iso\"\n\
            floppy0.fileName = \"a.vmdk\"\nscsi0:3.fileName = \"/etc/x.vmdk\"\n";
        assert!(
            hint("a.VMX", text).ends_with("instead: web.vmdk web_1.vmdk"),
            "{}",
            hint("a.vmx", text)
        );
        let text = "<VirtualBox>\n<HardDisk uuid=\"{1}\" location=\"a b.vdi\" format=\"VDI\"/>\n\
            <DVD location=\"x.vdi\"/><HardDisk location=\"../b.vdi\"></VirtualBox>";
        assert!(hint("a.vbox", text).ends_with("instead: 'a b.vdi'"));
        assert!(hint("a.vmx", "").ends_with("its disks instead"));
    }

    #[test]
    fn a_configuration_tells_its_disks_by_controller_bus_and_unit() {
        let text = "displayName = \"web |7c 01\"\nguestOS = \"ubuntu-64\"\nfirmware = \"efi\"\n\
            scsi0:10.fileName = \"d10.vmdk\"\nscsi0:2.fileName = \"d2.vmdk\"\n\
            scsi1:0.fileName = \"e.vmdk\"\nnvme0:0.fileName = \"n.vmdk\"\n\
            sata0:0.fileName = \"cd.vmdk\"\nsata0:0.deviceType = \"cdrom-image\"\n\
            sata0:1.fileName = \"tools.ISO\"\nide1:0.fileName = \"auto detect\"\n\
            ide1:0.deviceType = \"atapi-cdrom\"\nide0:0.fileName = \"i|20j.vmdk\"\n\
            scsi0:3.fileName = \"/vmfs/volumes/x/y.vmdk\"\nscsi0:4.fileName = \"../z.vmdk\"\n\
            scsi0:5.fileName = \"d2.vmdk\"\nscsi0:x.fileName = \"q.vmdk\"\nscsi0:6.fileName = \"\"\n";
        let vmx = Vmx::parse(text);
        assert_eq!(vmx.name.as_deref(), Some("web | 01"));
        assert_eq!(vmx.system.as_deref(), Some("ubuntu-64"));
        assert_eq!(vmx.firmware, Some("uefi"));
        let disks = ["i j.vmdk", "d2.vmdk", "d10.vmdk", "e.vmdk", "n.vmdk"];
        assert_eq!(vmx.disks, disks);
        assert_eq!(vmx.elsewhere, ["/vmfs/volumes/x/y.vmdk", "../z.vmdk"]);
    }

    #[test]
    fn a_hostile_configuration_costs_little_and_leads_nowhere() {
        let text = "scsi0:0.fileName = \"a\\\u{1b}[2J.vmdk\"\nscsi99999999:0.fileName = \"b.vmdk\"\n\
            scsi+1:0.fileName = \"c.vmdk\"\nscsi0:1.fileName = \"x|00.vmdk\"\n=\n|\nscsi0:2.fileName=|é.vmdk\n";
        let vmx = Vmx::parse(text);
        assert_eq!(vmx.disks, ["|é.vmdk"]);
        assert!(
            vmx.elsewhere.iter().all(|name| !name.contains('\u{1b}')),
            "{vmx:?}"
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.vmx");
        std::fs::write(&path, "x".repeat((1 << 20) + 1)).unwrap();
        let source = FileSource::open(&path).unwrap();
        assert_eq!(Vmx::read(&source).unwrap_err().kind(), ErrorKind::Limit);
    }
}
