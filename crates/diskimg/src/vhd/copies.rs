//! The two places of the footer: at the file's end, and the copy at its start.

use zerocopy::{FromZeros, IntoBytes};

use super::layout::{self, FOOTER_COOKIE, FOOTER_LEN, OLD_FOOTER_LEN, checksum, disk_type};
use super::sizes::Sizes;
use crate::error::{Error, ErrorKind, Result};
use crate::hint::Hint;
use crate::source::ReadAt;
use crate::units::FileOffset;

pub(super) const FOOTER: &str = "footer";
pub(super) const COPY: &str = "copy of the footer";

/// Both places where a footer may be.
pub(super) struct Footers {
    /// What is at the end of the file.
    pub(super) end: Stored,
    /// What is at its start; missing where the file is nothing but its footer.
    pub(super) copy: Stored,
    /// Where the footer at the end begins, or the file's end when there is none.
    pub(super) data_end: u64,
}

impl Footers {
    /// Reads both.
    ///
    /// # Errors
    /// `Truncated` when the file is too short for a footer; those of reading.
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
        Ok(Self {
            data_end: end.at().unwrap_or(file_len),
            copy: Stored::at_the_start(source)?,
            end,
        })
    }

    /// Decides between the footer and its copy, and says where the chosen one is.
    ///
    /// # Errors
    /// `Corrupt` when neither is intact, `Ambiguous` when they contradict each other.
    pub(super) fn choose(self, warnings: &mut Vec<String>) -> Result<(Box<layout::Footer>, u64)> {
        match (self.end, self.copy) {
            (Stored::Intact(at, footer), Stored::Intact(_, copy)) => {
                refuse_contradiction(&footer, &copy)?;
                let (used, other) = (Sizes::of(&footer), Sizes::of(&copy));
                if (used.current, used.geometry) != (other.current, other.geometry) {
                    let geometry = |sizes: Sizes| match sizes.geometry {
                        Some(bytes) => format!("geometry {bytes} bytes"),
                        None => "no geometry".to_owned(),
                    };
                    warnings.push(format!(
                        "the footer gives current size {} bytes and {}, its copy at the file's \
                         start {} bytes and {}; the footer is used",
                        used.current,
                        geometry(used),
                        other.current,
                        geometry(other)
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
                        "the copy of the footer at the file's start is {state}; the footer at its \
                         end is used"
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
                            "it says that the disk is fixed, but the footer at the file's end is \
                             {state}"
                        ),
                    )
                    .with_hint(Hint::OpenAsRaw));
                }
                warnings.push(format!(
                    "the footer at the file's end is {state}; its copy at the start is used, the \
                     file may be incomplete"
                ));
                Ok((copy, at))
            }
            (Stored::Damaged(_, error), _) | (Stored::Missing, Stored::Damaged(_, error)) => {
                Err(error)
            }
            (Stored::Missing, Stored::Missing) => Err(Error::new(
                ErrorKind::Corrupt,
                "found no footer, neither at the file's end nor at its start",
            )),
        }
    }
}

/// What stands where a footer may be.
pub(super) enum Stored {
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
            return Ok(Self::Damaged(at, error.with_hint(Hint::OpenAsRaw)));
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
            "the footer says {}, its copy at the file's start says {}; which of them counts \
             depends on the program",
            says(footer),
            says(copy)
        ),
    )
    .with_hint(
        "convert it where it was made, for example: qemu-img convert -O qcow2 IMAGE disk.qcow2",
    ))
}

/// Whether a reader finds the same disk by either of them.
fn is_same_disk(footer: &layout::Footer, copy: &layout::Footer) -> bool {
    let of = |footer: &layout::Footer| {
        (
            footer.disk_type,
            footer.data_offset,
            Sizes::of(footer).declared(),
        )
    };
    of(footer) == of(copy)
}
