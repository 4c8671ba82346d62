//! The footer by which a file is read, checked, and turned into plain numbers.

use super::copies::{FOOTER, Footers};
use super::layout::{self, MAJOR_VERSION, disk_type};
use super::sizes::Sizes;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_VIRTUAL_SIZE;
use crate::report::{Report, first_error};
use crate::source::ReadAt;
use crate::units::{SECTOR, human, round_up};

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
        let footers = Footers::read(source)?;
        let mut warnings = Vec::new();
        let data_end = footers.data_end;
        let (chosen, at) = footers.choose(&mut warnings)?;
        first_error(|report| Self::of(&chosen, at, data_end, warnings, report))
    }

    /// What `footer`, found at `at` of a file whose data ends at `data_end`, says; `None` when
    /// nothing can be read by it.
    ///
    /// # Errors
    /// Those of `report`.
    pub(super) fn of(
        footer: &layout::Footer,
        at: u64,
        data_end: u64,
        mut warnings: Vec<String>,
        report: &mut dyn Report,
    ) -> Result<Option<Self>> {
        let version = footer.version.get();
        if version >> 16 != MAJOR_VERSION {
            report.broken("version", &|| {
                Error::unsupported(format!(
                    "this is VHD version {version:#010x}; version 1 is read"
                ))
                .at(FOOTER, at)
            })?;
        }
        let kind = match footer.disk_type.get() {
            disk_type::FIXED => Kind::Fixed,
            disk_type::DYNAMIC => Kind::Dynamic,
            disk_type::DIFFERENCING => Kind::Differencing,
            other => {
                report.broken("disk-type", &|| {
                    Error::unsupported(format!(
                        "the disk type is {other}; \
                         fixed (2), dynamic (3) and differencing (4) disks are read"
                    ))
                    .at(FOOTER, at)
                })?;
                return Ok(None);
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
        Ok(Some(Self {
            kind,
            at,
            data_offset: footer.data_offset.get(),
            data_end,
            creator,
            unique_id: footer.unique_id,
            sizes,
            warnings,
        }))
    }

    /// The size in bytes by which the disk is read. Not checked.
    pub(super) fn declared(&self) -> u64 {
        self.sizes.declared()
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
                "the virtual size of {declared} bytes is not a multiple of 512; the disk is filled \
                 up with zeros to {whole} bytes"
            ));
        }
        Ok((declared, whole))
    }

    /// Checks that a fixed disk lies in the file, and warns of what the file has beyond it.
    ///
    /// # Errors
    /// Those of `report`.
    pub(super) fn check_fixed(&mut self, report: &mut dyn Report) -> Result<()> {
        let declared = self.declared();
        let Some(beyond) = self.data_end.checked_sub(declared) else {
            return report.broken("past-end", &|| {
                Error::truncated(
                    "disk",
                    0,
                    format!(
                        "the fixed disk has {declared} bytes, the file has {} before its footer",
                        self.data_end
                    ),
                )
            });
        };
        // What lies between the two sizes is in the warning that they differ.
        let known = self.sizes.current.max(self.sizes.geometry.unwrap_or(0));
        let known = round_up(known, SECTOR).unwrap_or(u64::MAX);
        if self.data_end > known {
            self.warnings.push(format!(
                "{beyond} bytes between the disk's end and the footer are not part of the disk \
                 and are not read"
            ));
        }
        Ok(())
    }
}
