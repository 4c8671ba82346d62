//! What a version 3 header asks of its reader: feature bits, the compression type, and the header
//! extensions, of which the names of features and the place of the bitmaps matter here.

use zerocopy::FromBytes;

use super::area::HeaderArea;
use super::layout::{
    BitmapsExtension, CLUSTER_BITS, COMPRESSION_TYPE_OFFSET, ExtensionHeader, FEATURE_INCOMPATIBLE,
    FeatureName, HeaderV3, MAX_REFCOUNT_ORDER, SUBCLUSTERS_BITS, V2_HEADER_LENGTH,
    V3_HEADER_LENGTH, autoclear, compression, extension, incompatible,
};
use crate::error::{Error, ErrorKind, Result};
use crate::hints::FLATTEN_QCOW2;
use crate::units::round_up;
use crate::unpack::Compression;

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
    /// Where the bitmaps are listed, when there are any that are up to date. Not checked.
    pub(super) bitmaps: Option<BitmapsExtension>,
    /// Name of the backing file's format.
    pub(super) backing_format: Option<Vec<u8>>,
    /// Whether clusters are in another file, and its name if the image has it.
    pub(super) data_file: Option<Option<Vec<u8>>>,
}

impl Features {
    /// What version 2 has.
    pub(super) const NONE: Self = Self {
        compression: Compression::Zlib,
        dirty: false,
        corrupt: false,
        extended_l2: false,
        bitmaps: None,
        backing_format: None,
        data_file: None,
    };

    /// What version 2 has when it has a backing file: nothing but that one's format.
    ///
    /// # Errors
    /// `Corrupt` and `Truncated` when the header extensions break a rule.
    pub(super) fn of_version_2(area: &HeaderArea) -> Result<Self> {
        Ok(Self {
            backing_format: Extensions::read(area, V2_HEADER_LENGTH)?.backing_format,
            ..Self::NONE
        })
    }
}

/// Checks what version 3 adds to the header; `cluster_bits` is log2 of the cluster size.
///
/// # Errors
/// `Unsupported` for features that are not read, by name; `Corrupt` for broken rules.
pub(super) fn check(
    area: &HeaderArea,
    cluster_bits: u32,
    warnings: &mut Vec<String>,
) -> Result<Features> {
    let header: HeaderV3 = area.read_struct(V2_HEADER_LENGTH)?;
    let header_length = u64::from(header.header_length.get());
    if header_length < V3_HEADER_LENGTH
        || !header_length.is_multiple_of(8)
        || header_length > area.cluster_size()
    {
        return Err(Error::corrupt(
            "header",
            100,
            format!(
                "header_length is {header_length}, expected a multiple of 8 from {V3_HEADER_LENGTH} to the cluster size of {}",
                area.cluster_size()
            ),
        ));
    }
    if header.refcount_order.get() > MAX_REFCOUNT_ORDER {
        return Err(Error::corrupt(
            "header",
            96,
            format!(
                "refcount_order is {}, at most {MAX_REFCOUNT_ORDER} is allowed",
                header.refcount_order.get()
            ),
        ));
    }
    let features = header.incompatible_features.get();
    let extensions = Extensions::read(area, header_length)?;
    refuse_features(features, &extensions.incompatible_names)?;
    if features & incompatible::DIRTY != 0 {
        warnings.push(
            "the image was not closed cleanly (dirty bit); its reference counts may be wrong, which reading does not need"
                .to_owned(),
        );
    }
    let extended_l2 = features & incompatible::EXTENDED_L2 != 0;
    let smallest = CLUSTER_BITS.start() + SUBCLUSTERS_BITS;
    if extended_l2 && cluster_bits < smallest {
        return Err(Error::corrupt(
            "header",
            20,
            format!(
                "cluster_bits is {cluster_bits}, at least {smallest} are needed for subclusters of whole sectors"
            ),
        ));
    }
    let up_to_date = header.autoclear_features.get() & autoclear::BITMAPS != 0;
    Ok(Features {
        compression: compression_type(
            area,
            header_length,
            features & incompatible::COMPRESSION != 0,
        )?,
        dirty: features & incompatible::DIRTY != 0,
        corrupt: features & incompatible::CORRUPT != 0,
        extended_l2,
        bitmaps: extensions.bitmaps.filter(|_| up_to_date),
        backing_format: extensions.backing_format,
        data_file: (features & incompatible::EXTERNAL_DATA != 0).then_some(extensions.data_file),
    })
}

/// Refuses every incompatible feature that reading would have to know.
fn refuse_features(features: u64, names: &[(u8, String)]) -> Result<()> {
    let read = incompatible::DIRTY
        | incompatible::CORRUPT
        | incompatible::EXTERNAL_DATA
        | incompatible::COMPRESSION
        | incompatible::EXTENDED_L2;
    let unread = features & !read;
    if unread == 0 {
        return Ok(());
    }
    let mut found = Vec::new();
    let mut bits = unread;
    while bits != 0 {
        let bit = bits.trailing_zeros();
        bits &= bits - 1;
        let own = names.iter().find(|(named, _)| u32::from(*named) == bit);
        found.push(match own {
            Some((_, name)) => format!("incompatible feature {name} (bit {bit})"),
            None => format!("an unknown incompatible feature (bit {bit})"),
        });
    }
    Err(Error::unsupported(format!(
        "the image uses {}, which is not read",
        found.join(" and ")
    ))
    .at("header", V2_HEADER_LENGTH)
    .with_hint(FLATTEN_QCOW2))
}

/// The compression type: a byte that only a long enough header has, and that must agree with its
/// feature bit.
///
/// # Errors
/// `Corrupt` when they disagree, `Unsupported` for types that are not read.
pub(super) fn compression_type(
    area: &HeaderArea,
    header_length: u64,
    announced: bool,
) -> Result<Compression> {
    let broken = |message: String| Error::corrupt("header", COMPRESSION_TYPE_OFFSET, message);
    let stored = if header_length > COMPRESSION_TYPE_OFFSET {
        area.get(COMPRESSION_TYPE_OFFSET, 1)
            .and_then(|bytes| bytes.first())
            .copied()
            .ok_or_else(|| area.truncated(COMPRESSION_TYPE_OFFSET, 1))?
    } else if announced {
        return Err(broken(format!(
            "the compression feature bit is set, but a header of {header_length} bytes has no compression type"
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
        .at("header", COMPRESSION_TYPE_OFFSET)
        .with_hint(FLATTEN_QCOW2)),
    }
}

/// What the header extensions say that matters here.
#[derive(Default)]
struct Extensions {
    /// The image's own names of incompatible features, with their bit numbers.
    incompatible_names: Vec<(u8, String)>,
    bitmaps: Option<BitmapsExtension>,
    backing_format: Option<Vec<u8>>,
    data_file: Option<Vec<u8>>,
}

impl Extensions {
    /// Walks all header extensions from `first` on. Each step goes at least 8 bytes on inside the
    /// first cluster.
    fn read(area: &HeaderArea, first: u64) -> Result<Self> {
        const HEAD: u64 = size_of::<ExtensionHeader>() as u64;
        let mut found = Self::default();
        let mut at = first;
        // A list that fills the cluster needs no end mark.
        while at.saturating_add(HEAD) <= area.cluster_size() {
            let head: ExtensionHeader = area.read_struct(at)?;
            let len = u64::from(head.len.get());
            let kind = head.kind.get();
            if kind == extension::END {
                break;
            }
            let data = at + HEAD;
            if len > area.cluster_size() - data {
                return Err(Error::corrupt(
                    EXTENSION,
                    at,
                    format!(
                        "extension {kind:#010x} is {len} bytes long, the header's cluster ends after {}",
                        area.cluster_size() - data
                    ),
                ));
            }
            let content = || area.get(data, len).ok_or_else(|| area.truncated(data, len));
            match kind {
                extension::FEATURE_NAMES => found.name_features(content()?),
                extension::BACKING_FORMAT => found.backing_format = Some(content()?.to_vec()),
                extension::DATA_FILE => found.data_file = Some(content()?.to_vec()),
                // One that is shorter says nothing; bitmaps are not needed for reading.
                extension::BITMAPS if len >= size_of::<BitmapsExtension>() as u64 => {
                    found.bitmaps = Some(area.read_struct(data)?);
                }
                _ => {}
            }
            at = round_up(len, 8).map_or(area.cluster_size(), |padded| data.saturating_add(padded));
        }
        Ok(found)
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
