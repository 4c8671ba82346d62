//! What a BIOS starts: the code in the first sector and what it leads to.

use std::rc::Rc;

use diskimg::partitions::{Partition, PartitionTable, Scheme};

use crate::known::Known;
use crate::media::{Media, le16, le64};
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

const SECTOR: u64 = 512;
/// Bytes of code in the first sector of a partitioned disk.
const CODE: usize = 440;
/// Last two bytes of a sector that a BIOS starts.
const SIGNATURE: u16 = 0xaa55;
/// Type of the partition that holds GRUB on a GPT disk.
const BIOS_BOOT: &str = "21686148-6449-6e6f-744e-656564454649";
/// Type of the partition that holds the boot code of FreeBSD, whose first sector looks for it.
const FREEBSD_BOOT: &str = "83bd6b9d-7f41-11dc-be0b-001560b84f0f";
/// Type of a GPT entry in an MBR.
const ESP: &str = "0xef";

/// The code in the first sector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// All zero.
    None,
    /// GRUB 2, which loads its core from a place it knows.
    Grub(Core),
    /// Starts the active partition, as the code of Windows, DOS and syslinux does.
    Generic,
    /// Any other; what it does is not looked at.
    Other,
}

/// Where GRUB 2 has its core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Core {
    pub(crate) sector: u64,
    /// What is wrong with it.
    pub(crate) problem: Option<String>,
    /// It does not look as it should, which another build of GRUB may do.
    pub(crate) doubt: Option<String>,
}

/// What a BIOS finds on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bios {
    pub(crate) code: Code,
    /// Numbers of the partitions that generic code can start.
    pub(crate) active: Vec<u32>,
    /// The first sector of the only active partition can be started.
    pub(crate) active_starts: bool,
}

/// Looks at the boot sectors of a disk that `table` divides.
pub(crate) fn collect(media: &Rc<Media>, table: &PartitionTable) -> Known<Bios> {
    if media.size() < SECTOR {
        return Err("the disk has no first sector".into());
    }
    let read = |at: u64| {
        let mut sector = vec![0; 512];
        media.read_at(at, &mut sector).map(|()| sector)
    };
    let first = read(0)?;
    let active: Vec<&Partition> = table
        .entries
        .iter()
        .filter(|entry| entry.bootable && entry.type_id != ESP)
        .collect();
    let active_starts = match active.as_slice() {
        [only] if only.start < media.size() => le16(&read(only.start)?, 510) == SIGNATURE,
        _ => false,
    };
    Ok(Bios {
        code: code(&first, media, table)?,
        active: active.iter().map(|entry| entry.number).collect(),
        active_starts,
    })
}

fn code(first: &[u8], media: &Media, table: &PartitionTable) -> Result<Code, String> {
    /// How code begins that starts the active partition.
    const GENERIC: [&[u8]; 5] = [
        b"\x33\xc0\x8e\xd0\xbc\x00\x7c",
        b"\x33\xc0\xfa\x8e\xd8\x8e\xd0",
        b"\xfa\x33\xc0\x8e\xd0\xbc",
        b"\xfa\x31\xc0\x8e\xd8\x8e\xd0",
        b"\xfa\xb8\x00\x10\x8e\xd0\xbc",
    ];
    let code = first.get(..CODE).unwrap_or_default();
    let holds = |text: &[u8]| code.windows(text.len()).any(|window| window == text);
    if code.iter().all(|byte| *byte == 0) {
        return Ok(Code::None);
    }
    // GRUB 2 since 1.97; before it, and in GRUB 1, the place of the core stands elsewhere.
    if code.starts_with(b"\xeb\x63") && holds(b"GRUB ") {
        return core(le64(first, 0x5c), media, table).map(Code::Grub);
    }
    let generic = GENERIC.iter().any(|begin| code.starts_with(begin));
    if generic || holds(b"Missing operating") {
        return Ok(Code::Generic);
    }
    Ok(Code::Other)
}

/// Looks at the core of GRUB that is said to begin at `sector`.
fn core(sector: u64, media: &Media, table: &PartitionTable) -> Result<Core, String> {
    /// What the core begins with.
    const BEGIN: u8 = 0x52;
    let at = sector.checked_mul(SECTOR);
    let at = at.filter(|at| at.saturating_add(SECTOR) <= media.size());
    let Some(at) = at else {
        return Ok(Core {
            sector,
            problem: Some("is not on the disk".to_owned()),
            doubt: None,
        });
    };
    let mut content = [0; 512];
    media.read_at(at, &mut content)?;
    let inside = |entry: &Partition| {
        let own = entry.type_id == BIOS_BOOT;
        own && entry.start <= at && at - entry.start < entry.size
    };
    let problem = if content == [0; 512] {
        Some("is empty".to_owned())
    } else if table.scheme == Scheme::Gpt && !table.entries.iter().any(inside) {
        Some("is not in a BIOS boot partition".to_owned())
    } else {
        None
    };
    let [first, ..] = content;
    let doubt = (first != BEGIN)
        .then(|| format!("sector {sector} begins with {first:#04x}, GRUB with {BEGIN:#04x}"));
    Ok(Core {
        sector,
        problem,
        doubt,
    })
}

impl Bios {
    /// Whether a BIOS can start the disk, as far as is known.
    pub(crate) fn starts(&self, table: &PartitionTable) -> bool {
        let on_gpt = table.scheme == Scheme::Gpt;
        match &self.code {
            Code::None => false,
            Code::Grub(core) => core.problem.is_none(),
            Code::Generic => self.active.len() == 1 && self.active_starts,
            Code::Other => !on_gpt || has_bios_boot(table) || !self.active.is_empty(),
        }
    }

    /// Whether the disk is made for a BIOS, whether or not one can start it.
    pub(crate) fn is_meant(&self, table: &PartitionTable) -> bool {
        has_bios_boot(table)
            || !self.active.is_empty()
            || matches!(self.code, Code::Grub(_))
            || (table.scheme != Scheme::Gpt && self.code != Code::None)
    }
}

fn has_bios_boot(table: &PartitionTable) -> bool {
    let is = |kind: &str| [BIOS_BOOT, FREEBSD_BOOT].contains(&kind);
    table.entries.iter().any(|entry| is(&entry.type_id))
}

/// The boot loader anew.
pub(super) const REINSTALL: Remedy = Remedy {
    red_hat: &["grub2-install /dev/sda"],
    old_red_hat: &["grub-install /dev/sda"],
    debian: &["grub-install /dev/sda", "update-grub"],
    suse: &["grub2-install /dev/sda", "update-bootloader --reinit"],
    old_suse: &["grub-install /dev/sda"],
    ..Remedy::NONE
};

/// Rules about what a BIOS starts.
pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "boot-mbr-code",
        severity: Severity::WillNotBoot,
        source: Source::Vendor,
        cite: "Image Management Service API, constraints of image files",
        text: "The first sector does not lead a BIOS to a boot loader.",
        remedy: REINSTALL,
        check: mbr_code,
    },
    Rule {
        id: "boot-grub-core",
        severity: Severity::WillNotBoot,
        source: Source::Peer,
        cite: "bootinfoscript",
        text: "The first sector holds GRUB, but the rest of GRUB is not where it looks for it.",
        remedy: REINSTALL,
        check: grub_core,
    },
];

/// The BIOS side of the disk, when the server will have a BIOS.
fn judged<'a>(facts: &'a Facts, judgement: &mut Judgement) -> Option<&'a Bios> {
    let bios = judgement.known(facts.bios.as_ref()?)?;
    let table = facts.table.as_ref()?;
    let is_bios = match facts.firmware() {
        Some(firmware) => firmware == "bios" && bios.is_meant(table),
        // What the cloud takes for a disk that suits none, unless it is made for UEFI.
        None => facts.efi.as_ref().is_some_and(|efi| {
            let is_meant = !efi.partitions.is_empty() || efi.failed.is_some();
            !is_meant
        }),
    };
    (is_bios && !facts.wanted.data_disk).then_some(bios)
}

fn mbr_code(facts: &Facts, judgement: &mut Judgement) {
    let Some(bios) = judged(facts, judgement) else {
        return;
    };
    let problem = match &bios.code {
        Code::None => "holds no code".to_owned(),
        Code::Generic if bios.active.is_empty() => {
            "starts the active partition, and none is active".to_owned()
        }
        Code::Generic if bios.active.len() > 1 => {
            let numbers: Vec<String> = bios.active.iter().map(u32::to_string).collect();
            format!(
                "starts the active partition, and partitions {} are active",
                numbers.join(", ")
            )
        }
        Code::Generic if !bios.active_starts => {
            "starts the active partition, which has no boot sector".to_owned()
        }
        Code::Generic | Code::Grub(_) | Code::Other => return,
    };
    judgement.found(
        Severity::WillNotBoot,
        Seen::at("first sector").with(problem),
    );
}

fn grub_core(facts: &Facts, judgement: &mut Judgement) {
    let Some(bios) = judged(facts, judgement) else {
        return;
    };
    match &bios.code {
        Code::Grub(Core {
            sector,
            problem: Some(problem),
            ..
        }) => {
            let text = format!("sector {sector} {problem}");
            judgement.found(Severity::WillNotBoot, Seen::at("first sector").with(text));
        }
        Code::Grub(Core {
            doubt: Some(doubt), ..
        }) => judgement.unknown(doubt.clone()),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
