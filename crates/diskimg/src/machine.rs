//! Configurations of virtual machines: text that is no disk, and names some.

use std::path::{Component, Path};

use crate::error::{Error, ErrorKind};
use crate::hint::Hint;
use crate::source::ReadAt;
use crate::text::shell_path;
use crate::units::{FileOffset, MIB};

/// Most of a configuration that is read, in bytes. Ours.
const MAX_BYTES: u64 = MIB;
/// Most disks that a hint lists.
const MAX_DISKS: usize = 16;
/// Extensions of disks that a configuration may name.
const DISKS: [&str; 4] = ["vmdk", "vdi", "vhd", "vhdx"];
/// Controllers of VMware's that disks are attached to.
const CONTROLLERS: [&str; 4] = ["scsi", "sata", "nvme", "ide"];

/// Refuses the text in `source` when its name says that it is the configuration of a machine, with
/// the disks to give instead.
pub(crate) fn refusal(source: &dyn ReadAt) -> Option<Error> {
    let path = source.path()?;
    let extension = path.extension()?.to_str()?.to_ascii_lowercase();
    let find: fn(&str) -> Vec<String> = match extension.as_str() {
        "vmx" => disks_of_vmx,
        "vbox" => disks_of_vbox,
        _ => return None,
    };
    let mut text = vec![0; usize::try_from(source.len().min(MAX_BYTES)).ok()?];
    source.read_exact_at(FileOffset(0), &mut text).ok()?;
    let disks: Vec<String> = find(&String::from_utf8_lossy(&text))
        .into_iter()
        .filter(|name| is_disk_name(name))
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
        && !name.contains(['\\', ':']);
    let extension = path.extension().and_then(|extension| extension.to_str());
    plain
        && extension.is_some_and(|found| DISKS.iter().any(|disk| disk.eq_ignore_ascii_case(found)))
}

/// The files of disks that are present: `scsi0:0.fileName = "web.vmdk"`.
fn disks_of_vmx(text: &str) -> Vec<String> {
    let pairs: Vec<(String, &str)> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| {
            let key = key.trim().to_ascii_lowercase();
            (key, value.trim().trim_matches('"'))
        })
        .collect();
    let is = |key: &str, wanted: &str| {
        pairs
            .iter()
            .any(|(found, value)| found == key && value.eq_ignore_ascii_case(wanted))
    };
    let mut disks: Vec<(&str, &str)> = pairs
        .iter()
        .filter_map(|(key, value)| Some((key.strip_suffix(".filename")?, *value)))
        .filter(|(device, _)| CONTROLLERS.iter().any(|kind| device.starts_with(kind)))
        .filter(|(device, _)| !is(&format!("{device}.present"), "false"))
        .collect();
    disks.sort_unstable();
    disks.into_iter().map(|(_, name)| name.to_owned()).collect()
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
}
