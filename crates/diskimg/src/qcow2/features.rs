//! What a version 3 header asks of its reader: feature bits, the compression type, and the header
//! extensions, of which the names of features and the place of the bitmaps matter here.

use zerocopy::FromBytes;
use zerocopy::big_endian::U64;

use super::area::HeaderArea;
use super::layout::{
    BitmapsExtension, CLUSTER_BITS, COMPRESSION_TYPE_OFFSET, ExtensionHeader, FEATURE_INCOMPATIBLE,
    FeatureName, HeaderV3, MAX_REFCOUNT_ORDER, SUBCLUSTERS_BITS, V2_HEADER_LENGTH,
    V3_HEADER_LENGTH, autoclear, compression, extension, incompatible,
};
use crate::error::{Error, ErrorKind, Result};
use crate::hint::FLATTEN_QCOW2;
use crate::report::Report;
use crate::units::round_up;
use crate::unpack::Compression;

const HEADER: &str = "header";
const EXTENSION: &str = "header extension";

/// What version 3 adds to the header, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Features {
    /// How compressed clusters are compressed.
    pub(super) compression: Compression,
    /// Whether reference counts may be wrong.
    pub(super) dirty: bool,
    /// Whether the program that wrote it found it damaged.
    pub(super) corrupt: bool,
    /// Whether L2 entries are extended: they map subclusters.
    pub(super) extended_l2: bool,
    /// log2 of the width of a reference count in bits.
    pub(super) refcount_order: u32,
    /// Whether there are features that are not known, so that nothing else can be trusted.
    pub(super) unknown: bool,
    /// Where the bitmaps are listed, when there are any that are up to date. Not checked.
    pub(super) bitmaps: Option<BitmapsExtension>,
    /// Whether there are bitmaps that are out of date.
    pub(super) stale_bitmaps: bool,
    /// Name of the backing file's format.
    pub(super) backing_format: Option<Vec<u8>>,
    /// Whether clusters are in another file, and its name if the image has it.
    pub(super) data_file: Option<Option<Vec<u8>>>,
    /// Where the LUKS header is, by offset and length in bytes. Not checked.
    pub(super) luks: Option<(u64, u64)>,
    /// Whether all header extensions could be read.
    pub(super) whole: bool,
}

impl Features {
    /// What version 2 has.
    pub(super) const NONE: Self = Self {
        compression: Compression::Zlib,
        dirty: false,
        corrupt: false,
        extended_l2: false,
        // Counts of version 2 are 16 bits wide.
        refcount_order: 4,
        unknown: false,
        bitmaps: None,
        stale_bitmaps: false,
        backing_format: None,
        data_file: None,
        luks: None,
        whole: true,
    };

    /// What version 2 has: nothing but its header extensions.
    ///
    /// # Errors
    /// Those of `report`.
    pub(super) fn of_version_2(area: &HeaderArea, report: &mut impl Report) -> Result<Self> {
        let extensions = Extensions::read(area, V2_HEADER_LENGTH, report)?;
        Ok(Self {
            backing_format: extensions.backing_format,
            luks: extensions.luks,
            whole: extensions.whole,
            ..Self::NONE
        })
    }

    /// Reads what version 3 adds to the header; `cluster_bits` is log2 of the cluster size. `None`
    /// when nothing can be read by it.
    ///
    /// # Errors
    /// Those of `report`: for features that are not read, by name, and for broken rules.
    pub(super) fn read(
        area: &HeaderArea,
        cluster_bits: u32,
        report: &mut impl Report,
    ) -> Result<Option<Self>> {
        let header = area.read_struct::<HeaderV3>(V2_HEADER_LENGTH);
        let Some(header) = report.kept(header)? else {
            return Ok(None);
        };
        let header_length = u64::from(header.header_length.get());
        if header_length < V3_HEADER_LENGTH
            || !header_length.is_multiple_of(8)
            || header_length > area.cluster_size()
        {
            report.broken("header-length", &|| {
                Error::corrupt(
                    HEADER,
                    100,
                    format!(
                        "header_length is {header_length}, \
                         expected a multiple of 8 from {V3_HEADER_LENGTH} \
                         to the cluster size of {}",
                        area.cluster_size()
                    ),
                )
            })?;
            return Ok(None);
        }
        let refcount_order = header.refcount_order.get();
        if refcount_order > MAX_REFCOUNT_ORDER {
            report.broken("refcount-order", &|| {
                Error::corrupt(
                    HEADER,
                    96,
                    format!(
                        "refcount_order is {refcount_order}, \
                         at most {MAX_REFCOUNT_ORDER} is allowed"
                    ),
                )
            })?;
            return Ok(None);
        }
        let bits = header.incompatible_features.get();
        let extensions = Extensions::read(area, header_length, report)?;
        let unknown = bits & !incompatible::READ;
        if unknown != 0 {
            report.broken("unknown-feature", &|| {
                unknown_features(unknown, &extensions.incompatible_names)
            })?;
        }
        let extended_l2 = bits & incompatible::EXTENDED_L2 != 0;
        let smallest = CLUSTER_BITS.start() + SUBCLUSTERS_BITS;
        if extended_l2 && cluster_bits < smallest {
            report.broken("cluster-size", &|| {
                Error::corrupt(
                    HEADER,
                    20,
                    format!(
                        "cluster_bits is {cluster_bits}, \
                         at least {smallest} are needed for subclusters of whole sectors"
                    ),
                )
            })?;
        }
        // What is not known may change what the rest means.
        let announced = bits & incompatible::COMPRESSION != 0;
        let compression = match unknown {
            0 => report.kept(compression_type(area, header_length, announced))?,
            _ => None,
        };
        let up_to_date = header.autoclear_features.get() & autoclear::BITMAPS != 0;
        Ok(Some(Self {
            compression: compression.unwrap_or(Compression::Zlib),
            dirty: bits & incompatible::DIRTY != 0,
            corrupt: bits & incompatible::CORRUPT != 0,
            extended_l2,
            refcount_order,
            unknown: unknown != 0,
            stale_bitmaps: extensions.bitmaps.is_some() && !up_to_date,
            bitmaps: extensions.bitmaps.filter(|_| up_to_date),
            backing_format: extensions.backing_format,
            data_file: (bits & incompatible::EXTERNAL_DATA != 0).then_some(extensions.data_file),
            luks: extensions.luks,
            whole: extensions.whole,
        }))
    }
}

/// The refusal of the incompatible features `unknown`, which reading would have to know.
fn unknown_features(unknown: u64, names: &[(u8, String)]) -> Error {
    let found: Vec<_> = (0..u64::BITS)
        .filter(|bit| unknown >> bit & 1 == 1)
        .map(|bit| {
            let own = names.iter().find(|(named, _)| u32::from(*named) == bit);
            match own {
                Some((_, name)) => format!("incompatible feature {name} (bit {bit})"),
                None => format!("an unknown incompatible feature (bit {bit})"),
            }
        })
        .collect();
    Error::unsupported(format!(
        "the image uses {}, which is not read",
        found.join(" and ")
    ))
    .at(HEADER, V2_HEADER_LENGTH)
    .with_hint(FLATTEN_QCOW2)
}

/// The compression type: a byte that only a long enough header has, and that must agree with its
/// feature bit.
///
/// # Errors
/// `Corrupt` when they disagree, `Unsupported` for types that are not read.
fn compression_type(area: &HeaderArea, header_length: u64, announced: bool) -> Result<Compression> {
    let broken = |message: String| Error::corrupt(HEADER, COMPRESSION_TYPE_OFFSET, message);
    let stored = if header_length > COMPRESSION_TYPE_OFFSET {
        area.get(COMPRESSION_TYPE_OFFSET, 1)
            .and_then(|bytes| bytes.first())
            .copied()
            .ok_or_else(|| area.truncated(COMPRESSION_TYPE_OFFSET, 1))?
    } else if announced {
        return Err(broken(format!(
            "the compression feature bit is set, but a header of {header_length} bytes has no \
             compression type"
        )));
    } else {
        compression::ZLIB
    };
    match (stored, announced) {
        (compression::ZLIB, false) => Ok(Compression::Zlib),
        (compression::ZSTD, true) => Ok(Compression::Zstd),
        (compression::ZLIB, true) => Err(broken(
            "the compression type is 0 (zlib), but the compression feature bit is set".to_owned(),
        )),
        (other, false) => Err(broken(format!(
            "the compression type is {other}, but the compression feature bit is not set"
        ))),
        (other, true) => Err(Error::new(
            ErrorKind::Unsupported,
            format!("the image's compression type is {other}; zlib (0) and zstd (1) are read"),
        )
        .at(HEADER, COMPRESSION_TYPE_OFFSET)
        .with_hint(FLATTEN_QCOW2)),
    }
}

/// What the header extensions say that matters here.
struct Extensions {
    /// Whether all of them could be read.
    whole: bool,
    /// The image's own names of incompatible features, with their bit numbers.
    incompatible_names: Vec<(u8, String)>,
    bitmaps: Option<BitmapsExtension>,
    backing_format: Option<Vec<u8>>,
    data_file: Option<Vec<u8>>,
    luks: Option<(u64, u64)>,
}

impl Extensions {
    /// Walks all header extensions from `first` on. Each step goes at least 8 bytes on inside the
    /// first cluster.
    fn read(area: &HeaderArea, first: u64, report: &mut impl Report) -> Result<Self> {
        let mut found = Self {
            whole: true,
            incompatible_names: Vec::new(),
            bitmaps: None,
            backing_format: None,
            data_file: None,
            luks: None,
        };
        let mut at = first;
        // A list that fills the cluster needs no end mark.
        while at.saturating_add(Self::HEAD) <= area.cluster_size() {
            let next = found.take(area, at, report)?;
            let Some(next) = report.kept(next)? else {
                found.whole = false;
                break;
            };
            match next {
                Some(next) => at = next,
                None => break,
            }
        }
        Ok(found)
    }

    const HEAD: u64 = size_of::<ExtensionHeader>() as u64;

    /// Takes in the extension at `at`: where the next one begins, if any, or what is missing.
    fn take(
        &mut self,
        area: &HeaderArea,
        at: u64,
        report: &mut impl Report,
    ) -> Result<Result<Option<u64>>> {
        let head = match area.read_struct::<ExtensionHeader>(at) {
            Ok(head) => head,
            Err(error) => return Ok(Err(error)),
        };
        let len = u64::from(head.len.get());
        let kind = head.kind.get();
        if kind == extension::END {
            return Ok(Ok(None));
        }
        let data = at + Self::HEAD;
        let room = area.cluster_size() - data;
        if len > room {
            report.broken("past-end", &|| {
                Error::corrupt(
                    EXTENSION,
                    at,
                    format!(
                        "extension {kind:#010x} is {len} bytes long, \
                         the header's cluster ends after {room}"
                    ),
                )
            })?;
            self.whole = false;
            return Ok(Ok(None));
        }
        Ok(self.content(area, kind, (data, len)).map(|()| {
            Some(round_up(len, 8).map_or(area.cluster_size(), |len| data.saturating_add(len)))
        }))
    }

    /// Takes in what the extension `kind` has in `len` bytes at `data`.
    fn content(&mut self, area: &HeaderArea, kind: u32, (data, len): (u64, u64)) -> Result<()> {
        let content = || area.get(data, len).ok_or_else(|| area.truncated(data, len));
        match kind {
            extension::FEATURE_NAMES => self.name_features(content()?),
            extension::BACKING_FORMAT => self.backing_format = Some(content()?.to_vec()),
            extension::DATA_FILE => self.data_file = Some(content()?.to_vec()),
            // One that is shorter says nothing; bitmaps are not needed for reading.
            extension::BITMAPS if len >= size_of::<BitmapsExtension>() as u64 => {
                self.bitmaps = Some(area.read_struct(data)?);
            }
            extension::CRYPTO if len >= size_of::<[U64; 2]>() as u64 => {
                let [offset, len]: [U64; 2] = area.read_struct(data)?;
                self.luks = Some((offset.get(), len.get()));
            }
            _ => {}
        }
        Ok(())
    }

    fn name_features(&mut self, table: &[u8]) {
        let (entries, _) = table.as_chunks::<{ size_of::<FeatureName>() }>();
        self.incompatible_names.extend(
            entries
                .iter()
                .filter_map(|entry| FeatureName::read_from_bytes(entry).ok())
                .filter(|entry| entry.kind == FEATURE_INCOMPATIBLE)
                .map(|entry| (entry.bit, printable_name(&entry.name))),
        );
    }
}

/// A NUL-padded name as a quoted string without control characters.
fn printable_name(bytes: &[u8]) -> String {
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    format!("{:?}", String::from_utf8_lossy(name))
}
