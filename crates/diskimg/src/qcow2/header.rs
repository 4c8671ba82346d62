//! The qcow2 header: read, checked, and turned into plain numbers that everything else may trust.

use super::area::HeaderArea;
use super::entries::Entries;
use super::features::Features;
use super::layout::{
    BitmapsExtension, CLUSTER_BITS, HeaderV2, LUKS, MAGIC, MAX_BACKING_NAME, V2_HEADER_LENGTH,
};
use super::place::{L1_TABLE, L1Place};
use crate::error::{Error, ErrorKind, Result};
use crate::hint::Hint;
use crate::limits::MAX_VIRTUAL_SIZE;
use crate::report::{FirstError, Report, first_error};
use crate::source::ReadAt;
use crate::units::{FileOffset, SECTOR, fits, human, round_up};
use crate::unpack::Compression;

const HEADER: &str = "header";

const CORRUPT: &str = "the image is marked as corrupt (corrupt bit) by the program that wrote it";
const REPAIR: &str = "this repairs the file (keep a copy of it) and clears the mark: \
     qemu-img check -r all IMAGE";

/// The secret is read from a file, so that it stands in no list of processes.
const DECRYPT_HINT: &str = "decrypt it first: \
     qemu-img convert --object secret,id=key,file=PASSPHRASE_FILE --image-opts \
     driver=qcow2,file.filename=IMAGE,encrypt.key-secret=key -O qcow2 plain.qcow2";

/// A name as the image has it, which need not be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BackingFile {
    pub(super) name: Vec<u8>,
    /// Its format as the image has it.
    pub(super) format: Option<Vec<u8>>,
}

/// A header whose fields keep the format's rules and our caps, and fit each other and the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// 2 or 3.
    pub(super) version: u32,
    /// log2 of the cluster size in bytes.
    pub(super) cluster_bits: u32,
    /// Virtual size in bytes as the header gives it: from 1 to [`MAX_VIRTUAL_SIZE`].
    pub(super) declared_size: u64,
    /// [`Self::declared_size`] rounded up to a multiple of 512.
    pub(super) virtual_size: u64,
    /// File offset of the L1 table in bytes; a multiple of the cluster size, not 0.
    pub(super) l1_offset: FileOffset,
    /// Number of L1 entries that [`Self::declared_size`] needs; they lie in the file.
    pub(super) l1_entries: u64,
    /// Whether L2 entries are extended: they map subclusters.
    pub(super) extended_l2: bool,
    /// Whether reference counts may be wrong.
    pub(super) dirty: bool,
    /// Whether the program that wrote it found it damaged.
    pub(super) corrupt: bool,
    /// Name of the method that its clusters are encrypted by.
    pub(super) encryption: Option<String>,
    /// How compressed clusters are compressed.
    pub(super) compression: Compression,
    /// Number of internal snapshots. Not checked.
    pub(super) snapshot_count: u32,
    /// File offset of the table of snapshots in bytes. Not checked.
    pub(super) snapshots_offset: FileOffset,
    /// Where the bitmaps are listed, if there are any. Not checked.
    pub(super) bitmaps: Option<BitmapsExtension>,
    /// Whether there are bitmaps, and a program that does not know them has written to the image.
    pub(super) stale_bitmaps: bool,
    /// The file below the image.
    pub(super) backing: Option<BackingFile>,
    /// Whether clusters are in another file, and its name if the image has it.
    pub(super) data_file: Option<Option<Vec<u8>>>,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
}

impl Header {
    /// Reads and checks the header of `source`.
    ///
    /// # Errors
    /// `Unsupported` for features that are refused by name, `Limit` for sizes beyond our caps,
    /// `Corrupt`, `Truncated` and `Io` by cause.
    pub(super) fn read(source: &dyn ReadAt) -> Result<Self> {
        let fields = first_error(|report| Fields::read(source, report))?;
        let entries = fields.entries();
        let (base, features) = (&fields.base, fields.features);
        let declared_size = base.size.get();
        let virtual_size = check_size(declared_size)?;
        let l1_offset = FileOffset(base.l1_table_offset.get());
        L1Place {
            structure: L1_TABLE,
            offset: l1_offset.0,
            entries: base.l1_size.get().into(),
            size: Some(declared_size),
        }
        .check(&entries, source.len(), &mut FirstError)?;
        let mut warnings = Vec::new();
        if features.dirty {
            warnings.push(
                "the image was not closed cleanly (dirty bit); \
                 its reference counts may be wrong, which reading does not need"
                    .to_owned(),
            );
        }
        Ok(Self {
            version: base.version.get(),
            cluster_bits: entries.cluster_bits,
            declared_size,
            virtual_size,
            l1_offset,
            l1_entries: entries.needed(declared_size),
            extended_l2: features.extended_l2,
            dirty: features.dirty,
            corrupt: features.corrupt,
            encryption: encryption(base.crypt_method.get()),
            compression: features.compression,
            snapshot_count: base.nb_snapshots.get(),
            snapshots_offset: FileOffset(base.snapshots_offset.get()),
            bitmaps: features.bitmaps,
            stale_bitmaps: features.stale_bitmaps,
            backing: fields.backing.map(|name| BackingFile {
                name,
                format: features.backing_format,
            }),
            data_file: features.data_file,
            warnings,
        })
    }

    /// How the entries of its tables are written.
    pub(super) fn entries(&self) -> Entries {
        Entries::new(
            self.version,
            self.cluster_bits,
            self.extended_l2,
            self.data_file.is_some(),
        )
    }

    /// The refusal of reading clusters that are encrypted; `Ok` when they are not.
    pub(super) fn refuse_encryption(&self) -> Result<()> {
        match &self.encryption {
            None => Ok(()),
            Some(method) => Err(
                Error::unsupported(format!("the image is encrypted ({method})"))
                    .at(HEADER, 32)
                    .with_hint(format!(
                        "the cloud cannot boot an encrypted disk: {DECRYPT_HINT}"
                    )),
            ),
        }
    }

    /// The refusal of reading a disk whose writer found it damaged; `Ok` when it did not.
    pub(super) fn refuse_corrupt(&self) -> Result<()> {
        if !self.corrupt {
            return Ok(());
        }
        Err(
            Error::corrupt(HEADER, V2_HEADER_LENGTH, CORRUPT).with_hint(Hint::ListDamage {
                or: REPAIR.to_owned(),
            }),
        )
    }

    /// Says what is known of an image that was marked as damaged.
    pub(super) fn warn_of_corruption(&mut self) {
        if self.corrupt {
            self.warnings.push(format!(
                "{CORRUPT}; it is neither converted nor imported until a repair (qemu-img check \
                 -r all) clears the mark"
            ));
        }
    }

    /// Says what is known of an encrypted image.
    pub(super) fn warn_of_encryption(&mut self) {
        if let Some(method) = &self.encryption {
            self.warnings.push(format!(
                "the image is encrypted ({method}): its content is not read, and it can be \
                 neither converted nor imported; {DECRYPT_HINT}"
            ));
        }
    }

    /// Warns of a disk that does not end with a sector.
    pub(super) fn warn_of_padding(&mut self) {
        if self.virtual_size != self.declared_size {
            self.warnings.push(format!(
                "the virtual size of {} bytes is not a multiple of 512; the disk is padded with \
                 zeros to {} bytes",
                self.declared_size, self.virtual_size
            ));
        }
    }

    /// Turns to another disk of the image: one of `size` bytes whose L1 table of `entries` entries
    /// is at `l1_offset`.
    ///
    /// # Errors
    /// Those of the header's own size and table.
    pub(super) fn turn_to(
        &mut self,
        size: u64,
        l1_offset: FileOffset,
        entries: u32,
        file_len: u64,
    ) -> Result<()> {
        self.virtual_size = check_size(size)?;
        self.declared_size = size;
        self.l1_offset = l1_offset;
        let disk = self.entries();
        L1Place {
            structure: L1_TABLE,
            offset: l1_offset.0,
            entries: entries.into(),
            size: Some(size),
        }
        .check(&disk, file_len, &mut FirstError)?;
        self.l1_entries = disk.needed(size);
        Ok(())
    }
}

/// The fields of a header, each read by itself: the base of everything else.
pub(super) struct Fields {
    pub(super) base: HeaderV2,
    pub(super) features: Features,
    /// The name of the backing file; `None` without one.
    backing: Option<Vec<u8>>,
}

impl Fields {
    /// Reads the header of `source`; `None` when nothing else can be read by it.
    ///
    /// # Errors
    /// Those of reading and of `report`.
    pub(super) fn read(source: &dyn ReadAt, report: &mut impl Report) -> Result<Option<Self>> {
        let start = HeaderArea::read(source, V2_HEADER_LENGTH)?;
        let base = start.read_struct::<HeaderV2>(0);
        let Some(base) = report.kept(base)? else {
            return Ok(None);
        };
        if base.magic != MAGIC {
            report.broken("magic", &|| {
                let found = base.magic;
                let message = format!("found {found:02x?}, expected {MAGIC:02x?} (QFI)");
                Error::corrupt(HEADER, 0, message)
            })?;
            return Ok(None);
        }
        let version = base.version.get();
        if !(2..=3).contains(&version) {
            report.broken("version", &|| {
                Error::unsupported(format!(
                    "this is qcow2 version {version}; versions 2 and 3 are read"
                ))
                .at(HEADER, 4)
            })?;
            return Ok(None);
        }
        // Everything below derives from the cluster size.
        let cluster_bits = base.cluster_bits.get();
        if !CLUSTER_BITS.contains(&cluster_bits) {
            report.broken("cluster-size", &|| {
                Error::corrupt(
                    HEADER,
                    20,
                    format!(
                        "cluster_bits is {cluster_bits}, expected {} to {}",
                        CLUSTER_BITS.start(),
                        CLUSTER_BITS.end()
                    ),
                )
            })?;
            return Ok(None);
        }
        let area = HeaderArea::read(source, 1 << cluster_bits)?;
        let backing = report.kept(backing_name(&base, &area))?.flatten();
        let features = match version {
            // Version 2 has no features, and of its extensions only the backing file's format and
            // the place of the encryption header matter.
            2 if report.examines_all() || backing.is_some() || base.crypt_method.get() == LUKS => {
                Some(Features::of_version_2(&area, report)?)
            }
            2 => Some(Features::NONE),
            _ => Features::read(&area, cluster_bits, report)?,
        };
        Ok(features.map(|features| Self {
            base,
            features,
            backing,
        }))
    }

    /// How the entries of its tables are written.
    pub(super) fn entries(&self) -> Entries {
        Entries::new(
            self.base.version.get(),
            self.base.cluster_bits.get(),
            self.features.extended_l2,
            self.features.data_file.is_some(),
        )
    }
}

/// The name of an encryption method.
fn encryption(crypt_method: u32) -> Option<String> {
    Some(match crypt_method {
        0 => return None,
        1 => "AES".to_owned(),
        2 => "LUKS".to_owned(),
        other => format!("method {other}"),
    })
}

/// The name of the backing file; `None` without one.
///
/// # Errors
/// `Corrupt` and `Truncated` when it is not where it may be.
pub(super) fn backing_name(base: &HeaderV2, area: &HeaderArea) -> Result<Option<Vec<u8>>> {
    let offset = base.backing_file_offset.get();
    let len = base.backing_file_size.get();
    if offset == 0 {
        return Ok(None);
    }
    if len > MAX_BACKING_NAME || !fits(offset, u64::from(len), area.cluster_size()) {
        return Err(Error::corrupt(
            "header",
            8,
            format!(
                "the backing file's name is said to be {len} bytes at {offset:#x}; at most \
                 {MAX_BACKING_NAME} bytes inside the first cluster of {} are allowed",
                area.cluster_size()
            ),
        ));
    }
    area.get(offset, u64::from(len))
        .map(|name| Some(name.to_vec()))
        .ok_or_else(|| area.truncated(offset, u64::from(len)))
}

/// The size in whole sectors.
///
/// # Errors
/// `Unsupported` for a size of 0, `Limit`.
pub(super) fn check_size(declared: u64) -> Result<u64> {
    if declared == 0 {
        return Err(Error::unsupported("the virtual disk is empty (size 0)").at(HEADER, 24));
    }
    if declared > MAX_VIRTUAL_SIZE {
        return Err(Error::new(
            ErrorKind::Limit,
            format!(
                "virtual size is {declared} bytes ({}), at most {} are read",
                human(declared),
                human(MAX_VIRTUAL_SIZE)
            ),
        )
        .at(HEADER, 24));
    }
    round_up(declared, SECTOR)
        .ok_or_else(|| Error::corrupt(HEADER, 24, format!("virtual size is {declared}")))
}
