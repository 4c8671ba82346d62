//! The footer: found at the file's end or as the copy at its start, checked, and turned into plain
//! numbers.

use zerocopy::{FromZeros, IntoBytes};

use super::layout::{
    self, FOOTER_COOKIE, FOOTER_LEN, MAJOR_VERSION, MAX_GEOMETRY_SECTORS, OLD_FOOTER_LEN, checksum,
    disk_type,
};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_VIRTUAL_SIZE;
use crate::source::ReadAt;
use crate::units::{FileOffset, SECTOR, human, round_up};

const FOOTER: &str = "footer";
const COPY: &str = "copy of the footer";

const RAW_HINT: &str = "if the file is a raw disk all the same, say so: --format raw";

/// Programs that write a size into the footer and show the guest another one, that of the geometry.
/// QEMU's list (`block/vpc.c`, since 10.0): Virtual PC, and QEMU itself unless it was told to
/// `force_size`, when it writes `qem2`. All others show the current size.
const GEOMETRY_CREATORS: [[u8; 4]; 2] = [*b"vpc ", *b"qemu"];

/// How the disk's bytes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Fixed,
    Dynamic,
    Differencing,
}

/// The footer by which a file is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) kind: Kind,
    /// File offset at which it was found.
    pub(super) at: u64,
    /// File offset of the dynamic header in bytes; nothing in a fixed disk.
    pub(super) data_offset: u64,
    /// Where the footer at the end of the file begins, or the file's end when there is none. All
    /// else lies before it.
    pub(super) data_end: u64,
    /// The program that wrote the file, without padding, escaped.
    pub(super) creator: String,
    /// By which differencing disks know it.
    pub(super) unique_id: [u8; 16],
    /// Not checked.
    sizes: Sizes,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
}

impl Footer {
    /// Finds and checks the footer of `source`. Sizes are checked by [`Self::size`].
    ///
    /// # Errors
    /// `Corrupt` when neither footer nor copy is intact, `Ambiguous` when they contradict each
    /// other, `Unsupported`, `Truncated` and `Io` by cause.
    pub(super) fn read(source: &dyn ReadAt) -> Result<Self> {
        let file_len = source.len();
        if file_len < OLD_FOOTER_LEN {
            return Err(Error::truncated(
                FOOTER,
                0,
                format!("the file has {file_len} bytes, its footer takes {FOOTER_LEN}"),
            ));
        }
        let end = Stored::at_the_end(source)?;
        let copy = Stored::at_the_start(source)?;
        let data_end = end.at().unwrap_or(file_len);
        let mut warnings = Vec::new();
        let (chosen, at) = choose(end, copy, &mut warnings)?;
        Self::check(&chosen, at, data_end, warnings)
    }

    fn check(
        footer: &layout::Footer,
        at: u64,
        data_end: u64,
        mut warnings: Vec<String>,
    ) -> Result<Self> {
        let version = footer.version.get();
        if version >> 16 != MAJOR_VERSION {
            return Err(Error::unsupported(format!(
                "this is VHD version {version:#010x}; version 1 is read"
            ))
            .at(FOOTER, at));
        }
        let kind = match footer.disk_type.get() {
            disk_type::FIXED => Kind::Fixed,
            disk_type::DYNAMIC => Kind::Dynamic,
            disk_type::DIFFERENCING => Kind::Differencing,
            other => {
                return Err(Error::unsupported(format!(
                    "the disk type is {other}; fixed (2), dynamic (3) and differencing (4) disks are read"
                ))
                .at(FOOTER, at));
            }
        };
        let creator = String::from_utf8_lossy(&footer.creator_app);
        let creator = creator.trim_end_matches([' ', '\0']);
        let creator = creator.escape_debug().to_string();
        let sizes = Sizes::of(footer);
        warnings.extend(sizes.warning(&creator));
        if footer.saved_state != 0 {
            warnings.push(
                "the virtual machine was saved, not shut down; what it had not written is missing"
                    .to_owned(),
            );
        }
        Ok(Self {
            kind,
            at,
            data_offset: footer.data_offset.get(),
            data_end,
            creator,
            unique_id: footer.unique_id,
            sizes,
            warnings,
        })
    }

    /// The disk's size in bytes, as declared and in whole sectors; warns when they differ.
    ///
    /// # Errors
    /// `Unsupported` for a disk of size 0, `Limit` beyond [`MAX_VIRTUAL_SIZE`].
    pub(super) fn size(&mut self) -> Result<(u64, u64)> {
        let declared = self.sizes.declared();
        if declared == 0 {
            return Err(
                Error::unsupported("the virtual disk is empty (size 0)").at(FOOTER, self.at)
            );
        }
        let whole = round_up(declared, SECTOR).filter(|whole| *whole <= MAX_VIRTUAL_SIZE);
        let Some(whole) = whole else {
            return Err(Error::new(
                ErrorKind::Limit,
                format!(
                    "virtual size is {declared} bytes ({}), at most {} are read",
                    human(declared),
                    human(MAX_VIRTUAL_SIZE)
                ),
            )
            .at(FOOTER, self.at));
        };
        if whole != declared {
            self.warnings.push(format!(
                "the virtual size of {declared} bytes is no multiple of 512; the disk is filled up with zeros to {whole} bytes"
            ));
        }
        Ok((declared, whole))
    }

    /// Checks that a fixed disk of `declared` bytes lies in the file, and warns of what the file
    /// has beyond it.
    ///
    /// # Errors
    /// `Truncated`.
    pub(super) fn check_fixed(&mut self, declared: u64) -> Result<()> {
        if declared > self.data_end {
            return Err(Error::truncated(
                "disk",
                self.data_end,
                format!(
                    "the fixed disk has {declared} bytes, the file has {} before its footer",
                    self.data_end
                ),
            ));
        }
        // What lies between the two sizes is in the warning that they differ.
        let known = self.sizes.current.max(self.sizes.geometry.unwrap_or(0));
        let known = round_up(known, SECTOR).unwrap_or(u64::MAX);
        if self.data_end > known {
            self.warnings.push(format!(
                "{} bytes between the disk's end and the footer belong to no disk and are not read",
                self.data_end - declared
            ));
        }
        Ok(())
    }
}

/// The sizes that a footer gives, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// By the field for it.
    current: u64,
    /// By the geometry; `None` when it has its largest values, which say nothing about the size.
    geometry: Option<u64>,
    /// Whether the program that wrote the footer shows the guest a disk of the geometry's size.
    by_geometry: bool,
}

impl Sizes {
    pub(super) fn of(footer: &layout::Footer) -> Self {
        let cylinders = u64::from(footer.cylinders.get());
        let sectors = cylinders * u64::from(footer.heads) * u64::from(footer.sectors);
        Self {
            current: footer.current_size.get(),
            geometry: (sectors != MAX_GEOMETRY_SECTORS).then_some(sectors * SECTOR),
            by_geometry: GEOMETRY_CREATORS.contains(&footer.creator_app),
        }
    }

    /// The size by which the disk is read.
    pub(super) fn declared(self) -> u64 {
        match self.geometry {
            // A geometry of nothing is one that was never filled in.
            Some(geometry) if self.by_geometry && geometry != 0 => geometry,
            _ => self.current,
        }
    }

    /// What to know when the two sizes differ. The geometry cannot express most sizes, so a smaller
    /// one is as it should be where it is what the format's own calculation gives and nobody reads
    /// the disk by it.
    fn warning(self, creator: &str) -> Option<String> {
        let (current, geometry) = (self.current, self.geometry?);
        let by_current = self.declared() == current;
        let used = match by_current {
            true => "the current size",
            false => "the geometry",
        };
        let silent = geometry == current || by_current && geometry == calculated_geometry(current);
        (!silent).then(|| {
            format!(
                "the footer gives two sizes: current size {current} bytes, geometry {geometry} bytes; {used} is used, as disks written by \"{creator}\" are read"
            )
        })
    }
}

/// The size in bytes of the geometry that the format's appendix "CHS Calculation" gives for a disk
/// of `size` bytes.
fn calculated_geometry(size: u64) -> u64 {
    let sectors = (size / SECTOR).min(MAX_GEOMETRY_SECTORS);
    let (heads, per_track) = if sectors >= 65535 * 16 * 63 {
        (16, 255)
    } else {
        let tracks = sectors / 17;
        let heads = tracks.div_ceil(1024).max(4);
        if heads <= 16 && tracks < heads * 1024 {
            (heads, 17)
        } else if sectors / 31 < 16 * 1024 {
            (16, 31)
        } else {
            (16, 63)
        }
    };
    sectors / per_track / heads * heads * per_track * SECTOR
}

/// What stands where a footer may be.
enum Stored {
    /// Something else.
    Missing,
    /// Something that begins as a footer, at this file offset.
    Damaged(u64, Error),
    /// A footer whose checksum is right, at this file offset.
    Intact(u64, Box<layout::Footer>),
}

impl Stored {
    fn at_the_end(source: &dyn ReadAt) -> Result<Self> {
        for len in [FOOTER_LEN, OLD_FOOTER_LEN] {
            if let Some(at) = source.len().checked_sub(len)
                && let found = Self::read(source, at, len, FOOTER)?
                && !matches!(found, Self::Missing)
            {
                return Ok(found);
            }
        }
        Ok(Self::Missing)
    }

    /// The copy, unless the file is nothing but its footer.
    fn at_the_start(source: &dyn ReadAt) -> Result<Self> {
        if source.len() <= FOOTER_LEN {
            return Ok(Self::Missing);
        }
        Self::read(source, 0, FOOTER_LEN, COPY)
    }

    fn read(source: &dyn ReadAt, at: u64, len: u64, name: &'static str) -> Result<Self> {
        let mut footer = layout::Footer::new_zeroed();
        let bytes = footer.as_mut_bytes();
        // What an old footer lacks is a reserved byte, which is zero.
        let len = usize::try_from(len).unwrap_or_default().min(bytes.len());
        let (stored, _) = bytes.split_at_mut(len);
        source.read_exact_at(FileOffset(at), stored)?;
        if footer.cookie != FOOTER_COOKIE {
            return Ok(Self::Missing);
        }
        let expected = checksum(footer.as_bytes(), footer.checksum);
        let found = footer.checksum.get();
        if found != expected {
            let error = Error::corrupt(
                name,
                at,
                format!("checksum is {found:#010x}, expected {expected:#010x}"),
            );
            return Ok(Self::Damaged(at, error.with_hint(RAW_HINT)));
        }
        Ok(Self::Intact(at, Box::new(footer)))
    }

    fn at(&self) -> Option<u64> {
        match self {
            Self::Missing => None,
            Self::Damaged(at, _) | Self::Intact(at, _) => Some(*at),
        }
    }
}

/// Decides between the footer and its copy, and says where the chosen one is.
fn choose(
    end: Stored,
    copy: Stored,
    warnings: &mut Vec<String>,
) -> Result<(Box<layout::Footer>, u64)> {
    match (end, copy) {
        (Stored::Intact(at, footer), Stored::Intact(_, copy)) => {
            refuse_contradiction(&footer, &copy)?;
            let (used, other) = (Sizes::of(&footer), Sizes::of(&copy));
            if (used.current, used.geometry) != (other.current, other.geometry) {
                let geometry = |sizes: Sizes| match sizes.geometry {
                    Some(bytes) => format!("geometry {bytes} bytes"),
                    None => "no geometry".to_owned(),
                };
                warnings.push(format!(
                    "the footer gives current size {} bytes and {}, its copy at the file's start {} bytes and {}; the footer is used",
                    used.current, geometry(used), other.current, geometry(other)
                ));
            }
            Ok((footer, at))
        }
        (Stored::Intact(at, footer), copy) => {
            if footer.disk_type.get() == disk_type::DYNAMIC {
                let state = match copy {
                    Stored::Missing => "missing",
                    _ => "damaged",
                };
                warnings.push(format!(
                    "the copy of the footer at the file's start is {state}; the footer at its end is used"
                ));
            }
            Ok((footer, at))
        }
        (end, Stored::Intact(at, copy)) => {
            let state = match end {
                Stored::Missing => "missing",
                _ => "damaged",
            };
            if copy.disk_type.get() == disk_type::FIXED {
                return Err(Error::corrupt(
                    COPY,
                    at,
                    format!(
                        "it says that the disk is fixed, but the footer at the file's end is {state}"
                    ),
                )
                .with_hint(RAW_HINT));
            }
            warnings.push(format!(
                "the footer at the file's end is {state}; its copy at the start is used, the file may be incomplete"
            ));
            Ok((copy, at))
        }
        (Stored::Damaged(_, error), _) | (Stored::Missing, Stored::Damaged(_, error)) => Err(error),
        (Stored::Missing, Stored::Missing) => Err(Error::new(
            ErrorKind::Corrupt,
            "found no footer, neither at the file's end nor at its start",
        )),
    }
}

/// Refuses a file that is one disk by its footer and another one by the copy: programs differ in
/// which of the two they look at, so what one checks would not be what another one reads.
fn refuse_contradiction(footer: &layout::Footer, copy: &layout::Footer) -> Result<()> {
    let says = |footer: &layout::Footer| {
        format!(
            "disk type {} of {} bytes with its header at {:#x}",
            footer.disk_type,
            Sizes::of(footer).declared(),
            footer.data_offset
        )
    };
    if footer.disk_type.get() != disk_type::FIXED && is_same_disk(footer, copy) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Ambiguous,
        format!(
            "the footer says {}, its copy at the file's start says {}; which of them counts depends on the program",
            says(footer),
            says(copy)
        ),
    )
    .with_hint(
        "convert it where it was made, for example: qemu-img convert -O qcow2 IMAGE disk.qcow2",
    ))
}

/// Whether a reader finds the same disk by either of them.
pub(super) fn is_same_disk(footer: &layout::Footer, copy: &layout::Footer) -> bool {
    let of = |footer: &layout::Footer| {
        (
            footer.disk_type,
            footer.data_offset,
            Sizes::of(footer).declared(),
        )
    };
    of(footer) == of(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_geometry_is_calculated_as_the_format_says() {
        // By the format's appendix: cylinders, heads, sectors in a track.
        for (mib, [cylinders, heads, sectors]) in [
            (8, [240, 4, 17]),
            (16, [481, 4, 17]),
            (48, [963, 6, 17]),
            (504, [1024, 16, 63]),
            (1024, [2080, 16, 63]),
            (40 << 10, [20_560, 16, 255]),
            (127 << 10, [65_278, 16, 255]),
        ] {
            let size = cylinders * heads * sectors * SECTOR;
            assert_eq!(calculated_geometry(mib << 20), size, "{mib} MiB");
        }
        assert_eq!(calculated_geometry(1 << 41), MAX_GEOMETRY_SECTORS * SECTOR);
        assert_eq!(calculated_geometry(0), 0);
    }
}
