//! The descriptor (OVF): which files there are, which disks are in them, and the machine.

use diskimg::text::printable;
use diskimg::{Error, Result};

use crate::hints::{self, Hints};
use crate::limits::MAX_DISKS;
use crate::xml::{self, Element, Space};

/// What a descriptor says, as far as it is about disks.
#[derive(Debug)]
pub(crate) struct Descriptor {
    pub(crate) files: Vec<File>,
    pub(crate) disks: Vec<DiskEntry>,
    /// Hardware of the machine, as the first section of it says.
    pub(crate) items: Vec<Item>,
    /// InstanceID of the item that the machine boots from.
    pub(crate) boot: Option<String>,
    pub(crate) hints: Hints,
}

/// A file of the package.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) id: String,
    pub(crate) href: String,
    pub(crate) size: Option<u64>,
    pub(crate) gzip: bool,
    pub(crate) chunk_size: Option<u64>,
}

/// A disk, and the file that it is in.
#[derive(Debug)]
pub(crate) struct DiskEntry {
    pub(crate) id: String,
    /// `None` for a disk that begins empty.
    pub(crate) file: Option<String>,
    pub(crate) capacity: Option<u64>,
    pub(crate) format: Option<String>,
}

/// A piece of hardware.
#[derive(Debug, Default)]
pub(crate) struct Item {
    pub(crate) kind: u16,
    pub(crate) subtype: String,
    pub(crate) instance: String,
    pub(crate) parent: String,
    pub(crate) address: String,
    pub(crate) address_on_parent: String,
    pub(crate) host: Option<String>,
    pub(crate) name: String,
}

impl Descriptor {
    /// Reads a descriptor.
    ///
    /// # Errors
    /// Those of [`xml::read`]; `Unsupported` for what a package may say and imgferry does not read.
    pub(crate) fn parse(text: &str, warnings: &mut Vec<String>) -> Result<Self> {
        let root = xml::read(text, warnings)?.filter(|root| root.name == "Envelope");
        let root = match root {
            Some(root) if root.space == Space::Ovf => root,
            Some(root) if root.space == Space::Draft => {
                return Err(Error::unsupported(
                    "the descriptor is of the draft OVF 0.9, and versions 1 and 2 are read",
                ));
            }
            _ => {
                return Err(Error::unsupported(
                    "the descriptor is no OVF envelope of version 1 or 2",
                ));
            }
        };
        let system = system(&root)?;
        let hardware = system.first(Space::Ovf, "VirtualHardwareSection");
        let mut items = Vec::new();
        for child in hardware.iter().flat_map(|section| &section.children) {
            if child.space == Space::Ovf && matches!(child.name, "Item" | "StorageItem") {
                items.push(Item::read(child)?);
            }
        }
        let boot = system
            .first(Space::VmWare, "BootOrderSection")
            .and_then(|section| section.attribute(Space::VmWare, "instanceId"));
        Ok(Self {
            files: files(&root)?,
            disks: disks(&root)?,
            items,
            boot: boot.map(str::to_owned),
            hints: hints::read(system, hardware),
        })
    }
}

/// The one machine of the package.
fn system(root: &Element) -> Result<&Element> {
    let mut found = Vec::new();
    collect_systems(root, &mut found);
    if let [system] = found.as_slice() {
        return Ok(system);
    }
    if found.is_empty() {
        return Err(Error::unsupported("the descriptor has no virtual machine"));
    }
    let names: Vec<_> = found
        .iter()
        .take(10)
        .map(|system| format!("\"{}\"", printable(hints::name(system).unwrap_or("-"))))
        .collect();
    Err(Error::unsupported(format!(
        "the package holds {} machines: {}{}; packages of one machine are read",
        found.len(),
        names.join(", "),
        if found.len() > names.len() {
            ", …"
        } else {
            ""
        }
    ))
    .with_hint("export each machine on its own"))
}

/// The depth of the tree is limited.
fn collect_systems<'a>(element: &'a Element, found: &mut Vec<&'a Element>) {
    for child in &element.children {
        match (child.space, child.name) {
            (Space::Ovf, "VirtualSystem") => found.push(child),
            (Space::Ovf, "VirtualSystemCollection") => collect_systems(child, found),
            _ => {}
        }
    }
}

fn files(root: &Element) -> Result<Vec<File>> {
    let sections = root.all(Space::Ovf, "References");
    let mut files = Vec::new();
    for file in sections.flat_map(|section| section.all(Space::Ovf, "File")) {
        let attribute = |name| file.attribute(Space::Ovf, name);
        let needed = |name| {
            attribute(name)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| {
                    Error::unsupported(format!("the descriptor has a File without {name}"))
                })
        };
        let href = needed("href")?.to_owned();
        let gzip = match attribute("compression") {
            None | Some("" | "identity") => false,
            Some("gzip") => true,
            Some(other) => {
                return Err(Error::unsupported(format!(
                    "\"{}\" is compressed with {}; gzip is the only method known",
                    printable(&href),
                    printable(other)
                )));
            }
        };
        let chunk_size = match attribute("chunkSize") {
            None => None,
            Some(text) => match text.parse() {
                Ok(size) if size > 0 => Some(size),
                _ => {
                    return Err(Error::unsupported(format!(
                        "\"{}\" is split into chunks of \"{}\" bytes",
                        printable(&href),
                        printable(text)
                    )));
                }
            },
        };
        files.push(File {
            id: needed("id")?.to_owned(),
            href,
            size: attribute("size").and_then(|size| size.parse().ok()),
            gzip,
            chunk_size,
        });
    }
    Ok(files)
}

fn disks(root: &Element) -> Result<Vec<DiskEntry>> {
    let sections = root.all(Space::Ovf, "DiskSection");
    let mut disks = Vec::new();
    for disk in sections.flat_map(|section| section.all(Space::Ovf, "Disk")) {
        let attribute = |name| {
            disk.attribute(Space::Ovf, name)
                .filter(|value| !value.is_empty())
        };
        let Some(id) = attribute("diskId") else {
            return Err(Error::unsupported(
                "the descriptor has a Disk without diskId",
            ));
        };
        if attribute("parentRef").is_some() {
            return Err(Error::unsupported(format!(
                "disk \"{}\" is a delta of another one",
                printable(id)
            ))
            .with_hint("export the machine again without snapshots"));
        }
        if disks.len() >= MAX_DISKS {
            return Err(Error::unsupported(format!(
                "the descriptor has more than {MAX_DISKS} disks"
            )));
        }
        disks.push(DiskEntry {
            id: id.to_owned(),
            file: attribute("fileRef").map(str::to_owned),
            capacity: attribute("capacity").and_then(|number| {
                capacity(
                    number,
                    attribute("capacityAllocationUnits").unwrap_or("byte"),
                )
            }),
            format: attribute("format").map(str::to_owned),
        });
    }
    Ok(disks)
}

/// A capacity in bytes; `None` when it cannot be told, as of a property that is set later.
fn capacity(number: &str, unit: &str) -> Option<u64> {
    let number: u64 = number.parse().ok()?;
    let unit = match unit.to_ascii_lowercase().as_str() {
        "byte" | "bytes" => 1,
        "kilobytes" => 1 << 10,
        "megabytes" => 1 << 20,
        "gigabytes" => 1 << 30,
        "terabytes" => 1 << 40,
        unit => {
            let power = unit.strip_prefix("byte")?.trim_start().strip_prefix('*')?;
            let (base, exponent) = power.split_once('^')?;
            let base: u64 = match base.trim() {
                "2" => 2,
                "10" => 10,
                _ => return None,
            };
            base.checked_pow(exponent.trim().parse().ok()?)?
        }
    };
    number.checked_mul(unit)
}

impl Item {
    fn read(element: &Element) -> Result<Self> {
        let text = |name| element.text_of(Space::Hardware, name);
        let owned = |name| text(name).unwrap_or_default().to_owned();
        let kind = text("ResourceType").unwrap_or_default();
        let mut hosts = element.all(Space::Hardware, "HostResource");
        let host = hosts.next().and_then(Element::text).map(str::to_owned);
        if hosts.next().is_some() {
            return Err(Error::unsupported(format!(
                "hardware item \"{}\" has several HostResources",
                printable(text("InstanceID").unwrap_or_default())
            )));
        }
        Ok(Self {
            // Of kinds that are no number none is looked for.
            kind: kind.parse().unwrap_or_default(),
            subtype: owned("ResourceSubType"),
            instance: owned("InstanceID"),
            parent: owned("Parent"),
            address: owned("Address"),
            address_on_parent: owned("AddressOnParent"),
            host,
            name: text("ElementName")
                .or_else(|| text("Caption"))
                .unwrap_or_default()
                .to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacities_have_units() {
        assert_eq!(capacity("40", "byte * 2^20"), Some(40 << 20));
        assert_eq!(capacity("40", "byte*2^30"), Some(40 << 30));
        assert_eq!(capacity("4", "byte * 10^9"), Some(4_000_000_000));
        assert_eq!(capacity("1", "MegaBytes"), Some(1 << 20));
        assert_eq!(capacity("8589934592", "byte"), Some(8 << 30));
        for (number, unit) in [
            ("${size}", "byte"),
            ("1", "byte * 2^99999999999"),
            ("1", "byte * 2^64"),
            ("99999999999999", "byte * 2^40"),
            ("1", "byte * 3^2"),
            ("1", "bits"),
        ] {
            assert_eq!(capacity(number, unit), None, "{number} {unit}");
        }
    }
}
