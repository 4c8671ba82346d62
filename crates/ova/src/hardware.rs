//! The machine's drives in the order in which it sees them.

use diskimg::text::printable;
use diskimg::{Error, Result};

use crate::descriptor::Item;
use crate::limits::MAX_DISKS;

/// What a drive holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// A disk, by its id.
    Disk(String),
    /// A file, by its id.
    File(String),
}

/// A hard disk of the machine.
#[derive(Debug)]
pub(crate) struct Drive {
    pub(crate) host: Host,
    pub(crate) instance: String,
    /// Where it is attached, such as `SCSI 0:1`.
    pub(crate) place: String,
    /// What the descriptor calls it.
    pub(crate) name: String,
}

/// Kinds of hardware, by the numbers of CIM's `ResourceType`.
mod kind {
    pub(super) const IDE: u16 = 5;
    pub(super) const SCSI: u16 = 6;
    pub(super) const ISCSI: u16 = 8;
    pub(super) const FLOPPY: u16 = 14;
    pub(super) const CD: u16 = 15;
    pub(super) const DVD: u16 = 16;
    pub(super) const DISK: u16 = 17;
    pub(super) const OTHER_STORAGE: u16 = 19;
    pub(super) const SATA: u16 = 20;

    pub(super) const CONTROLLERS: [u16; 5] = [IDE, SCSI, ISCSI, OTHER_STORAGE, SATA];
}

/// The order of controllers: by the first InstanceID of their kind, the kind, the address, and
/// their own InstanceID. Numbers that are missing come last.
type Rank = (u64, u16, u64, u64);

struct Controller<'a> {
    item: &'a Item,
    rank: Rank,
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(u64::MAX)
}

/// The hard disks in the order in which the machine sees them. What is left out gets a warning.
///
/// # Errors
/// `Unsupported` when a disk is none of the package's.
pub(crate) fn drives(items: &[Item], warnings: &mut Vec<String>) -> Result<Vec<Drive>> {
    let controllers = controllers(items);
    let mut drives = Vec::new();
    for (order, item) in items.iter().enumerate() {
        match item.kind {
            kind::FLOPPY | kind::CD | kind::DVD if item.host.is_some() => {
                warnings.push(format!(
                    "the medium in \"{}\" is not imported",
                    printable(&item.name)
                ));
            }
            kind::DISK => {
                let Some(host) = &item.host else {
                    warnings.push(format!(
                        "disk \"{}\" has no content in the package and is not imported",
                        printable(&item.name)
                    ));
                    continue;
                };
                if drives.len() >= MAX_DISKS {
                    return Err(Error::unsupported(format!(
                        "the machine has more than {MAX_DISKS} disks"
                    )));
                }
                let controller = controllers
                    .iter()
                    .find(|controller| controller.item.instance == item.parent);
                let rank = controller.map_or((u64::MAX, 0, 0, 0), |found| found.rank);
                let unit = number(&item.address_on_parent);
                let drive = Drive {
                    host: host_of(host, &item.name)?,
                    instance: item.instance.clone(),
                    place: place(controller.map(|found| found.item), item),
                    name: printable(&item.name),
                };
                drives.push(((rank, unit, order), drive));
            }
            _ => {}
        }
    }
    drives.sort_by_key(|(rank, _)| *rank);
    Ok(drives.into_iter().map(|(_, drive)| drive).collect())
}

fn controllers(items: &[Item]) -> Vec<Controller<'_>> {
    let first_of = |kind: u16| {
        let same = items.iter().filter(move |item| item.kind == kind);
        same.map(|item| number(&item.instance)).min()
    };
    let firsts = kind::CONTROLLERS.map(|kind| (kind, first_of(kind).unwrap_or(u64::MAX)));
    let controllers = items.iter().filter_map(|item| {
        let (_, first) = firsts.iter().find(|(kind, _)| *kind == item.kind)?;
        let rank = (
            *first,
            item.kind,
            number(&item.address),
            number(&item.instance),
        );
        Some(Controller { item, rank })
    });
    controllers.collect()
}

fn place(controller: Option<&Item>, item: &Item) -> String {
    let Some(controller) = controller else {
        return "unattached".to_owned();
    };
    let kind = match controller.kind {
        kind::IDE => "IDE",
        kind::SCSI => "SCSI",
        kind::ISCSI => "iSCSI",
        kind::SATA if controller.subtype.to_ascii_lowercase().contains("nvme") => "NVMe",
        kind::SATA => "SATA",
        _ => "storage",
    };
    let or_unknown = |text: &str| match text {
        "" => "?".to_owned(),
        text => printable(text),
    };
    format!(
        "{kind} {}:{}",
        or_unknown(&controller.address),
        or_unknown(&item.address_on_parent)
    )
}

fn host_of(host: &str, name: &str) -> Result<Host> {
    let path = host.strip_prefix("ovf:").unwrap_or(host);
    if let Some(id) = path.strip_prefix("/disk/") {
        return Ok(Host::Disk(id.to_owned()));
    }
    if let Some(id) = path.strip_prefix("/file/") {
        return Ok(Host::File(id.to_owned()));
    }
    Err(Error::unsupported(format!(
        "disk \"{}\" is \"{}\", which is no disk of the package",
        printable(name),
        printable(host)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controller(kind: u16, instance: &str, address: &str) -> Item {
        Item {
            kind,
            instance: instance.to_owned(),
            address: address.to_owned(),
            ..Item::default()
        }
    }

    fn disk(parent: &str, unit: &str, id: &str) -> Item {
        Item {
            kind: kind::DISK,
            parent: parent.to_owned(),
            address_on_parent: unit.to_owned(),
            host: Some(format!("ovf:/disk/{id}")),
            ..Item::default()
        }
    }

    fn order(items: &[Item]) -> Vec<String> {
        let drives = drives(items, &mut Vec::new()).unwrap();
        let id = |drive: Drive| match drive.host {
            Host::Disk(id) | Host::File(id) => id,
        };
        drives.into_iter().map(id).collect()
    }

    #[test]
    fn disks_come_in_the_order_of_controllers_and_units() {
        let items = [
            controller(kind::SCSI, "3", "0"),
            controller(kind::SCSI, "8", "1"),
            controller(kind::IDE, "4", "1"),
            controller(kind::IDE, "5", "0"),
            disk("4", "0", "ide1"),
            disk("8", "0", "scsi1"),
            disk("3", "10", "scsi0-10"),
            disk("3", "2", "scsi0-2"),
            disk("5", "0", "ide0"),
            disk("99", "0", "nowhere"),
        ];
        assert_eq!(
            order(&items),
            ["scsi0-2", "scsi0-10", "scsi1", "ide0", "ide1", "nowhere"]
        );
    }

    #[test]
    fn the_document_decides_when_nothing_else_does() {
        let items = [
            controller(kind::SATA, "1", "0"),
            disk("1", "", "b"),
            disk("1", "", "a"),
        ];
        assert_eq!(order(&items), ["b", "a"]);
    }

    #[test]
    fn media_and_empty_disks_are_told() {
        let mut warnings = Vec::new();
        let cd = Item {
            kind: kind::CD,
            host: Some("ovf:/file/cd".to_owned()),
            name: "CD 1".to_owned(),
            ..Item::default()
        };
        let empty = Item {
            kind: kind::DISK,
            name: "Disk 2".to_owned(),
            ..Item::default()
        };
        assert!(drives(&[cd, empty], &mut warnings).unwrap().is_empty());
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        let elsewhere = Item {
            kind: kind::DISK,
            host: Some("/dev/sda".to_owned()),
            ..Item::default()
        };
        assert!(drives(&[elsewhere], &mut warnings).is_err());
    }
}
