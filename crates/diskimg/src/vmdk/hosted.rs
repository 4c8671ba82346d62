//! The header of a sparse extent of VMware's hosted products, checked.

use std::ops::Range;

use super::entries::Form;
use super::footer;
use super::header::{HEADER, HEADER_LEN, bytes, read_header};
use super::layout::{AT_END, DEFLATE, HOSTED_MAGIC, HostedHeader, NEWLINES, flag};
use super::shape::{Place, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::MAX_VIRTUAL_SIZE;
use crate::report::Report;
use crate::source::ReadAt;
use crate::units::{SECTOR, human};

/// Largest grain in sectors. Ours: 64 MiB, and 16 MiB of compressed ones, each of which is in
/// memory whole.
const MAX_GRAIN: u64 = 131_072;
const MAX_COMPRESSED_GRAIN: u64 = 32_768;
/// Entries of a grain table.
const TABLE_ENTRIES: std::ops::RangeInclusive<u32> = 128..=512;

/// The header, of which version, flags and sizes are those of a file that can be read.
pub(super) struct Hosted {
    pub(super) header: HostedHeader,
    pub(super) warnings: Vec<String>,
}

impl Hosted {
    /// Reads the header of `source`: what kind of file it is, and nothing about sizes.
    ///
    /// # Errors
    /// Those of `report` and of reading.
    pub(super) fn read(source: &dyn ReadAt, report: &mut dyn Report) -> Result<Option<Self>> {
        if source.len() < HEADER_LEN {
            report.broken("truncated", &|| {
                Error::truncated(
                    HEADER,
                    0,
                    format!(
                        "expected {HEADER_LEN} bytes, the file ends at {:#x}",
                        source.len()
                    ),
                )
            })?;
            return Ok(None);
        }
        let header = read_header(source, 0)?;
        let broken = |message: String| Error::corrupt(HEADER, 0, message);
        if header.magic != HOSTED_MAGIC {
            report.broken("magic", &|| broken("the file has none".to_owned()))?;
            return Ok(None);
        }
        let version = header.version.get();
        if !(1..=3).contains(&version) {
            report.broken("version", &|| {
                Error::unsupported(format!("it has version {version}, expected 1, 2 or 3"))
                    .at(HEADER, 0)
            })?;
            return Ok(None);
        }
        let flags = header.flags.get();
        let unknown = flags & flag::INCOMPATIBLE & !(flag::COMPRESSED | flag::MARKERS);
        if unknown != 0 {
            report.broken("flags", &|| {
                Error::unsupported(format!(
                    "it has the flags {unknown:#x}, which are not known"
                ))
                .at(HEADER, 0)
            })?;
            return Ok(None);
        }
        if header.capacity.get() > MAX_VIRTUAL_SIZE / SECTOR {
            report.broken("capacity", &|| {
                Error::new(
                    ErrorKind::Limit,
                    format!(
                        "its capacity is {} sectors, at most {} are read",
                        header.capacity,
                        human(MAX_VIRTUAL_SIZE)
                    ),
                )
                .at(HEADER, 0)
            })?;
            return Ok(None);
        }
        if flags & flag::NEWLINES != 0 && header.newlines != NEWLINES {
            report.broken("text-mode", &|| {
                broken(format!(
                    "the bytes at 0x49 are {:02x?}, expected {NEWLINES:02x?}: the file was \
                     transferred in text mode, which replaced bytes all over it",
                    header.newlines
                ))
                .with_hint("copy it again in binary mode")
            })?;
            return Ok(None);
        }
        let mut hosted = Self {
            header,
            warnings: Vec::new(),
        };
        hosted.check_compression(report)?;
        hosted.notes(report);
        Ok(Some(hosted))
    }

    fn check_compression(&self, report: &mut dyn Report) -> Result<()> {
        let found = self.header.compression.get();
        if self.is_compressed() && found != DEFLATE {
            report.broken("compression", &|| {
                Error::unsupported(format!(
                    "its compression is {found}, expected {DEFLATE} (deflate)"
                ))
                .at(HEADER, 0)
            })?;
        }
        if self.is_compressed() && self.header.flags.get() & flag::MARKERS == 0 {
            report.broken("markers", &|| {
                Error::unsupported(
                    "its grains are compressed and have no markers: programs differ in how such \
                     files are read",
                )
                .at(HEADER, 0)
            })?;
        }
        Ok(())
    }

    fn notes(&mut self, report: &mut dyn Report) {
        let mut note = |rule, text: &str| {
            report.forgiven(rule, &|| Error::corrupt(HEADER, 0, text));
            self.warnings.push(text.to_owned());
        };
        if self.header.unclean != 0 {
            note(
                "unclean",
                "the file was not closed: the machine was running or died, and the last writes \
                 may be missing",
            );
        }
        if self.header.padding.iter().any(|byte| *byte != 0) {
            note("padding", "the padding of the header is not zero");
        }
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.header.flags.get() & flag::COMPRESSED != 0
    }

    /// Where the descriptor is; `None` when there is none, or it is not inside the file.
    ///
    /// # Errors
    /// Those of `report`.
    pub(super) fn descriptor(
        &self,
        file_len: u64,
        report: &mut dyn Report,
    ) -> Result<Option<Range<u64>>> {
        let (at, sectors) = (
            self.header.descriptor_offset.get(),
            self.header.descriptor_size.get(),
        );
        if at == 0 || sectors == 0 {
            return Ok(None);
        }
        let range = bytes(at, sectors).filter(|range| range.end <= file_len);
        if range.is_none() {
            report.broken("past-end", &|| {
                Error::truncated(
                    HEADER,
                    0,
                    format!(
                        "its descriptor has {sectors} sectors from sector {at} on, the file ends \
                         at {file_len:#x}"
                    ),
                )
            })?;
        }
        Ok(range)
    }

    /// The sizes and places of grains and tables.
    ///
    /// # Errors
    /// Those of `report` and of reading the footer.
    pub(super) fn shape(
        &self,
        source: &dyn ReadAt,
        report: &mut dyn Report,
    ) -> Result<Option<Shape>> {
        let header = &self.header;
        let (capacity, grain) = (header.capacity.get(), header.grain_size.get());
        if capacity == 0 {
            report.broken("capacity", &|| {
                Error::corrupt(HEADER, 0, "its capacity is 0 sectors")
            })?;
            return Ok(None);
        }
        let compressed = self.is_compressed();
        let most = if compressed {
            MAX_COMPRESSED_GRAIN
        } else {
            MAX_GRAIN
        };
        if !grain.is_power_of_two() || grain > most {
            report.broken("grain-size", &|| {
                Error::corrupt(
                    HEADER,
                    0,
                    format!("a grain has {grain} sectors, expected a power of two up to {most}"),
                )
            })?;
            return Ok(None);
        }
        let entries = header.table_entries.get();
        if !entries.is_power_of_two() || !TABLE_ENTRIES.contains(&entries) {
            report.broken("table-size", &|| {
                Error::corrupt(
                    HEADER,
                    0,
                    format!("a grain table has {entries} entries, expected 128, 256 or 512"),
                )
            })?;
            return Ok(None);
        }
        let directory = match header.directory_offset.get() {
            AT_END => match footer::read(source, header, report)? {
                Some(directory) => directory,
                None => return Ok(None),
            },
            directory => directory,
        };
        let copied = header.flags.get() & flag::COPY != 0 && header.copy_offset.get() != 0;
        let mut reserved = vec![("the header", 0..HEADER_LEN)];
        if let Some(place) = self.descriptor(source.len(), report)? {
            reserved.push(("the descriptor", place));
        }
        Ok(Some(Shape {
            form: Form::Hosted {
                zero_grains: header.flags.get() & flag::ZERO_GRAINS != 0,
                compressed,
            },
            capacity: capacity * SECTOR,
            grain_bits: grain.trailing_zeros() + SECTOR.trailing_zeros(),
            table_bits: entries.trailing_zeros(),
            directory: Place::of_sector(directory),
            copy: copied.then(|| Place::of_sector(header.copy_offset.get())),
            reserved,
        }))
    }
}
