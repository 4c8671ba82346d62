//! Names of devices, as guests write them, and the volumes they mean.

use super::{Stack, Volume};

/// How a guest names a device: in fstab, on the kernel's command line, in crypttab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    Uuid(String),
    Label(Vec<u8>),
    PartUuid(String),
    PartLabel(Vec<u8>),
    /// `/dev/GROUP/NAME` or `/dev/mapper/GROUP-NAME`; unfolded.
    Logical {
        group: String,
        name: String,
    },
    /// A disk or partition by the name its driver gives: sd, hd, vd, xvd, nvme, cciss, mmcblk.
    Name {
        /// `sd`, `vd`, …
        driver: String,
        /// From 0: `sdb` is 1.
        disk: u32,
        partition: Option<u32>,
    },
    /// `/dev/disk/by-path/…`, `/dev/disk/by-id/…`: what does not travel.
    Hardware,
    /// `/dev/md…`, `/dev/dm-…`, other names below `/dev`.
    Other,
    /// No device: `tmpfs`, `proc`, a host and its path, a file.
    None,
}

/// Directories of `/dev` that are no volume groups.
const NO_GROUPS: &[&[u8]] = &[
    b"block", b"bus", b"char", b"cpu", b"disk", b"dm", b"dri", b"drbd", b"fd", b"input", b"mapper",
    b"md", b"mpath", b"net", b"pts", b"raw", b"rbd", b"shm", b"snd", b"vx", b"zvol",
];

impl Device {
    /// The device that `text` names. Octal escapes, as fstab has them, are decoded before.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let tag = |name: &[u8]| text.strip_prefix(name).map(unquoted);
        if let Some(value) = tag(b"UUID=") {
            return Self::Uuid(text_of(value));
        }
        if let Some(value) = tag(b"LABEL=") {
            return Self::Label(value.to_vec());
        }
        if let Some(value) = tag(b"PARTUUID=") {
            // The kernel's `/PARTNROFF=` counts from the partition that is named.
            return if value.contains(&b'/') {
                Self::Other
            } else {
                Self::PartUuid(text_of(value))
            };
        }
        if let Some(value) = tag(b"PARTLABEL=") {
            return Self::PartLabel(value.to_vec());
        }
        if tag(b"ID=").is_some() {
            return Self::Hardware;
        }
        let Some(path) = unquoted(text).strip_prefix(b"/dev/") else {
            return Self::None;
        };
        let names: Vec<&[u8]> = path
            .split(|&b| b == b'/')
            .filter(|n| !n.is_empty())
            .collect();
        match *names.as_slice() {
            [b"disk", kind, name] => by_link(kind, name),
            [b"mapper", name] => mapped(name),
            [dir @ (b"cciss" | b"ida" | b"rd"), name] => smart_array(dir, name),
            [group, _] if NO_GROUPS.contains(&group) => Self::Other,
            [group, name] => Self::Logical {
                group: text_of(group),
                name: text_of(name),
            },
            [name] => named(name),
            _ => Self::Other,
        }
    }
}

/// The volume that `device` means. A name by its driver means this disk when it is the first one.
/// UUIDs are compared without regard to case, so that nothing is called missing for its letters.
pub(crate) fn find(device: &Device, volumes: &[Volume]) -> Option<usize> {
    volumes.iter().position(|volume| match device {
        Device::Uuid(uuid) => same(volume.uuid.as_deref(), uuid),
        Device::Label(label) => volume.label.as_ref() == Some(label),
        Device::PartUuid(id) => {
            volume.stack == Stack::Plain && same(volume.partuuid.as_deref(), id)
        }
        Device::PartLabel(label) => {
            volume.stack == Stack::Plain
                && volume.partlabel.as_ref().map(String::as_bytes) == Some(label)
        }
        Device::Logical { group, name } => matches!(
            &volume.stack,
            Stack::Logical { group: of, name: is, .. } if of == group && is == name
        ),
        Device::Name {
            disk: 0, partition, ..
        } => volume.stack == Stack::Plain && volume.partition == *partition,
        Device::Name { .. } | Device::Hardware | Device::Other | Device::None => false,
    })
}

fn same(found: Option<&str>, wanted: &str) -> bool {
    found.is_some_and(|found| found.eq_ignore_ascii_case(wanted))
}

fn unquoted(text: &[u8]) -> &[u8] {
    [b'"', b'\'']
        .into_iter()
        .find_map(|mark| text.strip_prefix(&[mark])?.strip_suffix(&[mark]))
        .unwrap_or(text)
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A link below `/dev/disk`.
fn by_link(kind: &[u8], name: &[u8]) -> Device {
    let name = unescaped(name);
    match kind {
        b"by-uuid" => Device::Uuid(text_of(&name)),
        b"by-label" => Device::Label(name),
        b"by-partuuid" => Device::PartUuid(text_of(&name)),
        b"by-partlabel" => Device::PartLabel(name),
        b"by-id" => match name.strip_prefix(b"dm-name-") {
            Some(mapping) => mapped(mapping),
            // The names of LVM and MD come from the disk's own metadata.
            None if [b"dm-".as_slice(), b"lvm-", b"md-"]
                .iter()
                .any(|own| name.starts_with(own)) =>
            {
                Device::Other
            }
            None => Device::Hardware,
        },
        b"by-path" | b"by-diskseq" | b"by-loop-ref" => Device::Hardware,
        _ => Device::Other,
    }
}

/// udev writes what it does not like in a name as `\x20`.
fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after
            .strip_prefix(b"x")
            .filter(|_| first == b'\\')
            .and_then(<[u8]>::split_first_chunk::<2>)
            .and_then(|(hex, after)| Some((hex_byte(*hex)?, after)));
        let (byte, after) = digits.unwrap_or((first, after));
        plain.push(byte);
        rest = after;
    }
    plain
}

fn hex_byte(digits: [u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    u8::try_from(high? * 16 + low?).ok()
}

/// A name below `/dev/mapper`: LVM doubles the dashes of its names and joins them by one.
fn mapped(name: &[u8]) -> Device {
    let multipath = name
        .strip_prefix(b"mpath")
        .is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_lowercase));
    if multipath {
        return Device::Other;
    }
    let mut parts = vec![Vec::new()];
    let mut rest = name;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first == b'-' {
            match after.strip_prefix(b"-") {
                Some(after) => rest = after,
                None => {
                    parts.push(Vec::new());
                    continue;
                }
            }
        }
        if let Some(part) = parts.last_mut() {
            part.push(first);
        }
    }
    match parts.as_slice() {
        [group, name] if !group.is_empty() && !name.is_empty() => Device::Logical {
            group: text_of(group),
            name: text_of(name),
        },
        _ => Device::Other,
    }
}

/// `c0d1p2` of an old RAID controller.
fn smart_array(driver: &[u8], name: &[u8]) -> Device {
    let parsed = || {
        let (controller, rest) = number(name.strip_prefix(b"c")?)?;
        let (disk, rest) = number(rest.strip_prefix(b"d")?)?;
        let disk = controller.checked_mul(16)?.checked_add(disk)?;
        Some((disk, numbered_partition(rest, b"p")?))
    };
    device(driver, parsed())
}

/// A name right below `/dev`.
fn named(name: &[u8]) -> Device {
    for driver in [b"xvd".as_slice(), b"sd", b"hd", b"vd"] {
        if let Some(rest) = name.strip_prefix(driver) {
            return device(driver, lettered(rest));
        }
    }
    if let Some(rest) = name.strip_prefix(b"nvme") {
        let parsed = || {
            let (controller, rest) = number(rest)?;
            let (space, rest) = number(rest.strip_prefix(b"n")?)?;
            let disk = controller.checked_add(space.checked_sub(1)?)?;
            Some((disk, numbered_partition(rest, b"p")?))
        };
        return device(b"nvme", parsed());
    }
    if let Some(rest) = name.strip_prefix(b"mmcblk") {
        let parsed = || {
            let (disk, rest) = number(rest)?;
            Some((disk, numbered_partition(rest, b"p")?))
        };
        return device(b"mmcblk", parsed());
    }
    Device::Other
}

fn device(driver: &[u8], parsed: Option<(u32, Option<u32>)>) -> Device {
    match parsed {
        Some((disk, partition)) => Device::Name {
            driver: text_of(driver),
            disk,
            partition,
        },
        None => Device::Other,
    }
}

/// The disk of `a`, `b`, …, `z`, `aa`, …, and its partition.
fn lettered(rest: &[u8]) -> Option<(u32, Option<u32>)> {
    let letters = rest.iter().take_while(|b| b.is_ascii_lowercase()).count();
    let (letters, digits) = rest.split_at_checked(letters)?;
    let mut count = 0_u32;
    for letter in letters {
        let digit = u32::from(letter.checked_sub(b'a')?) + 1;
        count = count.checked_mul(26)?.checked_add(digit)?;
    }
    Some((count.checked_sub(1)?, numbered_partition(digits, b"")?))
}

/// Nothing, or `mark` and a number up to the end.
fn numbered_partition(rest: &[u8], mark: &[u8]) -> Option<Option<u32>> {
    if rest.is_empty() {
        return Some(None);
    }
    match number(rest.strip_prefix(mark)?)? {
        (partition, []) => Some(Some(partition)),
        _ => None,
    }
}

fn number(text: &[u8]) -> Option<(u32, &[u8])> {
    let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = text.split_at_checked(digits)?;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Content;

    fn name(driver: &str, disk: u32, partition: impl Into<Option<u32>>) -> Device {
        Device::Name {
            driver: driver.into(),
            disk,
            partition: partition.into(),
        }
    }

    fn logical(group: &str, name: &str) -> Device {
        Device::Logical {
            group: group.into(),
            name: name.into(),
        }
    }

    #[test]
    fn every_way_of_naming_a_device_is_told_apart() {
        for (text, device) in [
            ("UUID=6E31-0001", Device::Uuid("6E31-0001".into())),
            ("UUID=\"6E31-0001\"", Device::Uuid("6E31-0001".into())),
            (
                "/dev/disk/by-uuid/6E31-0001",
                Device::Uuid("6E31-0001".into()),
            ),
            ("LABEL=my root", Device::Label(b"my root".to_vec())),
            (
                r"/dev/disk/by-label/my\x20root",
                Device::Label(b"my root".to_vec()),
            ),
            (
                "PARTUUID=000b1e55-01",
                Device::PartUuid("000b1e55-01".into()),
            ),
            ("PARTUUID=000b1e55-01/PARTNROFF=1", Device::Other),
            ("PARTLABEL=ROOT", Device::PartLabel(b"ROOT".to_vec())),
            ("/dev/vg-sys/lv-root", logical("vg-sys", "lv-root")),
            ("/dev/mapper/vg--sys-lv--root", logical("vg-sys", "lv-root")),
            ("/dev/disk/by-id/dm-name-vg-root", logical("vg", "root")),
            ("/dev/mapper/luks-0f0ae4b1-5d4a-4a43-9e5c-1", Device::Other),
            ("/dev/mapper/sda2_crypt", Device::Other),
            ("/dev/mapper/mpatha-part1", Device::Other),
            ("/dev/mapper/-root", Device::Other),
            ("/dev/sda", name("sd", 0, None)),
            ("/dev/sdb1", name("sd", 1, 1)),
            ("/dev/sdaa12", name("sd", 26, 12)),
            ("/dev/hdc2", name("hd", 2, 2)),
            ("/dev/xvde1", name("xvd", 4, 1)),
            ("/dev/vdb", name("vd", 1, None)),
            ("/dev/nvme0n1p2", name("nvme", 0, 2)),
            ("/dev/nvme1n1", name("nvme", 1, None)),
            ("/dev/mmcblk0p1", name("mmcblk", 0, 1)),
            ("/dev/cciss/c0d1p2", name("cciss", 1, 2)),
            ("/dev/sda99999999999", Device::Other),
            ("/dev/sd1", Device::Other),
            ("/dev/nvme0n0", Device::Other),
            (
                "/dev/disk/by-path/pci-0000:00:10.0-scsi-0:0:0:0",
                Device::Hardware,
            ),
            (
                "/dev/disk/by-id/ata-VBOX_HARDDISK_VB1234-part2",
                Device::Hardware,
            ),
            ("/dev/md0", Device::Other),
            ("/dev/md/root", Device::Other),
            ("/dev/dm-1", Device::Other),
            ("/dev/cdrom", Device::Other),
            ("tmpfs", Device::None),
            ("/swap.img", Device::None),
            ("//host/share", Device::None),
            ("host:/export", Device::None),
            ("", Device::None),
        ] {
            assert_eq!(Device::parse(text.as_bytes()), device, "{text}");
        }
    }

    fn volumes() -> Vec<Volume> {
        let partition = |number, uuid: Option<&str>| Volume {
            partition: Some(number),
            stack: Stack::Plain,
            size: 0,
            content: Content::Unknown,
            uuid: uuid.map(str::to_owned),
            label: Some(format!("label{number}").into_bytes()),
            partuuid: Some(format!("000b1e55-0{number}")),
            partlabel: None,
            part_type: None,
            priority: 0,
            health: Default::default(),
            closed: None,
        };
        let root = Volume {
            stack: Stack::Logical {
                group: "vg".into(),
                name: "root".into(),
                missing: Vec::new(),
            },
            label: Some(b"root".to_vec()),
            ..partition(2, Some("aaaa"))
        };
        vec![partition(1, Some("6E31-0001")), partition(2, None), root]
    }

    #[test]
    fn a_device_is_found_by_what_it_holds_and_by_where_it_lies() {
        let volumes = volumes();
        for (text, found) in [
            ("UUID=6e31-0001", Some(0)),
            ("UUID=aaaa", Some(2)),
            ("UUID=bbbb", None),
            ("LABEL=root", Some(2)),
            ("LABEL=ROOT", None),
            ("PARTUUID=000B1E55-02", Some(1)),
            ("/dev/vg/root", Some(2)),
            ("/dev/mapper/vg-root", Some(2)),
            ("/dev/mapper/vg-swap", None),
            ("/dev/sda2", Some(1)),
            ("/dev/vda1", Some(0)),
            ("/dev/sdb1", None),
            ("/dev/sda3", None),
            ("tmpfs", None),
        ] {
            let device = Device::parse(text.as_bytes());
            assert_eq!(find(&device, &volumes), found, "{text}");
        }
    }
}
