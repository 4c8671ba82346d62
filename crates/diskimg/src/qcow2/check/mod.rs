//! Holding a qcow2 file against the rules of its format: every table is walked, every use of a
//! cluster is counted, and the counts are compared with those that the file keeps.
//!
//! Severities are those of `qemu-img check`: a count that is too low is an error, because a program
//! that writes would overwrite what is in use; one that is too high wastes space, a warning.

mod extras;
mod pieces;
mod refcounts;
mod walk;

use std::sync::Arc;

use zerocopy::FromBytes;

use self::refcounts::Refcounts;
use self::walk::Walker;
use super::area::HeaderArea;
use super::features::compression_type;
use super::header::{backing_name, check_size};
use super::layout::{
    CLUSTER_BITS, HeaderV2, HeaderV3, MAGIC, MAX_REFCOUNT_ORDER, V2_HEADER_LENGTH,
    V3_HEADER_LENGTH, incompatible,
};
use crate::chain::Context;
use crate::error::Result;
use crate::limits::MAX_CHECKED_CLUSTERS;
use crate::report::CheckReport;
use crate::source::ReadAt;
use crate::stored::StoredMap;
use crate::units::{FileOffset, fits};

/// What the header says, as far as checking needs it.
struct Base {
    version: u32,
    cluster_size: u64,
    size: u64,
    crypt_method: u32,
    l1_offset: u64,
    l1_entries: u64,
    refcount_table: u64,
    refcount_table_clusters: u64,
    snapshots: u64,
    snapshot_count: u32,
    /// Header extensions begin here.
    extensions: u64,
    refcount_order: u32,
    incompatible: u64,
    autoclear: u64,
}

/// Checks `source`.
///
/// # Errors
/// Those of the device. Broken rules are in `report`.
pub(super) fn check(
    source: &Arc<dyn ReadAt>,
    report: &mut CheckReport,
    cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    // Tables that lie in a hole of the file are zeros, and are not read.
    let holes = StoredMap::new(source, &Context::default());
    let source = source.as_ref();
    let Some(base) = read_header(source, report)? else {
        return Ok(());
    };
    let clusters = source.len().div_ceil(base.cluster_size);
    if clusters > MAX_CHECKED_CLUSTERS {
        report.skipped.push(format!(
            "the file has {clusters} clusters, at most {MAX_CHECKED_CLUSTERS} are counted"
        ));
        return Ok(());
    }
    // The header itself is the first cluster.
    let mut counts = Refcounts::new(clusters, base.cluster_size);
    counts.mark(0, V2_HEADER_LENGTH);
    counts.load(source, &holes, &base, report, cancelled)?;
    let mut walker = Walker::new(source, &holes, &base, &mut counts, report, cancelled);
    walker.table("L1 table", base.l1_offset, base.l1_entries, true)?;
    extras::check(&base, &mut walker)?;
    // What they refer to comes last, so that tables that lie on each other are seen.
    walker.l2_tables()?;
    let complete = walker.complete;
    if complete && !report.cancelled {
        counts.compare(report);
    }
    Ok(())
}

/// The header, unless nothing can be read by it.
fn read_header(source: &dyn ReadAt, report: &mut CheckReport) -> Result<Option<Base>> {
    const HEADER: &str = "header";
    let file_len = source.len();
    if file_len < V2_HEADER_LENGTH {
        report.error(
            "truncated",
            HEADER,
            0,
            format_args!("the file has {file_len} bytes, the header takes {V2_HEADER_LENGTH}"),
        );
        return Ok(None);
    }
    let Some(base) = structure::<HeaderV2>(source, 0)? else {
        return Ok(None);
    };
    if base.magic != MAGIC {
        let found = base.magic;
        let message = format_args!("found {found:02x?}, expected {MAGIC:02x?} (QFI)");
        report.error("magic", HEADER, 0, message);
        return Ok(None);
    }
    let version = base.version.get();
    if !(2..=3).contains(&version) {
        report.error(
            "version",
            HEADER,
            4,
            format_args!("version is {version}, versions 2 and 3 are known"),
        );
        return Ok(None);
    }
    let bits = base.cluster_bits.get();
    if !CLUSTER_BITS.contains(&bits) {
        report.error(
            "cluster-size",
            HEADER,
            20,
            format_args!(
                "cluster_bits is {bits}, expected {} to {}",
                CLUSTER_BITS.start(),
                CLUSTER_BITS.end()
            ),
        );
        return Ok(None);
    }
    let area = HeaderArea::read(source, 1 << bits)?;
    // Some rules are the reader's own: what it refuses is an error here.
    let mut keep = |result: Result<()>| result.or_else(|error| report.refused(error));
    keep(backing_name(&base, &area).map(drop))?;
    keep(check_size(base.size.get()).map(drop))?;
    let mut extensions = V2_HEADER_LENGTH;
    // Counts of version 2 are 16 bits wide.
    let mut refcount_order = 4;
    let (mut incompatible, mut autoclear) = (0, 0);
    if version == 3 {
        if file_len < V3_HEADER_LENGTH {
            report.error(
                "truncated",
                HEADER,
                V2_HEADER_LENGTH,
                format_args!("the file has {file_len} bytes, the header takes {V3_HEADER_LENGTH}"),
            );
            return Ok(None);
        }
        let Some(more) = structure::<HeaderV3>(source, V2_HEADER_LENGTH)? else {
            return Ok(None);
        };
        if !check_v3(&more, 1 << bits, report) {
            return Ok(None);
        }
        let len = u64::from(more.header_length.get());
        let features = more.incompatible_features.get();
        compression_type(&area, len, features & incompatible::COMPRESSION != 0)
            .map(drop)
            .or_else(|error| report.refused(error))?;
        extensions = u64::from(more.header_length.get());
        refcount_order = more.refcount_order.get();
        incompatible = more.incompatible_features.get();
        autoclear = more.autoclear_features.get();
    }
    Ok(Some(Base {
        version,
        cluster_size: 1 << bits,
        size: base.size.get(),
        crypt_method: base.crypt_method.get(),
        l1_offset: base.l1_table_offset.get(),
        l1_entries: u64::from(base.l1_size.get()),
        refcount_table: base.refcount_table_offset.get(),
        refcount_table_clusters: u64::from(base.refcount_table_clusters.get()),
        snapshots: base.snapshots_offset.get(),
        snapshot_count: base.nb_snapshots.get(),
        extensions,
        refcount_order,
        incompatible,
        autoclear,
    }))
}

/// The structure at `at`, which lies in the file.
fn structure<T: FromBytes>(source: &dyn ReadAt, at: u64) -> Result<Option<T>> {
    let mut bytes = vec![0; size_of::<T>()];
    source.read_exact_at(FileOffset(at), &mut bytes)?;
    Ok(T::read_from_bytes(&bytes).ok())
}

/// What version 3 adds; `false` when nothing can be read by it.
fn check_v3(more: &HeaderV3, cluster_size: u64, report: &mut CheckReport) -> bool {
    const HEADER: &str = "header";
    let len = u64::from(more.header_length.get());
    if len < V3_HEADER_LENGTH || !len.is_multiple_of(8) || len > cluster_size {
        report.error(
            "header-length",
            HEADER,
            100,
            format_args!(
                "header_length is {len}, expected a multiple of 8 from {V3_HEADER_LENGTH} to {cluster_size}"
            ),
        );
        return false;
    }
    let order = more.refcount_order.get();
    if order > MAX_REFCOUNT_ORDER {
        report.error(
            "refcount-order",
            HEADER,
            96,
            format_args!("refcount_order is {order}, at most {MAX_REFCOUNT_ORDER} is allowed"),
        );
        return false;
    }
    let features = more.incompatible_features.get();
    let known = incompatible::DIRTY
        | incompatible::CORRUPT
        | incompatible::EXTERNAL_DATA
        | incompatible::COMPRESSION
        | incompatible::EXTENDED_L2;
    if features & incompatible::CORRUPT != 0 {
        report.error(
            "corrupt-bit",
            HEADER,
            V2_HEADER_LENGTH,
            "the image is marked as corrupt by the program that wrote it",
        );
    }
    if features & incompatible::DIRTY != 0 {
        report.warning(
            "dirty-bit",
            HEADER,
            V2_HEADER_LENGTH,
            "the image was not closed; its reference counts may be out of date",
        );
    }
    if features & !known != 0 {
        report.error(
            "unknown-feature",
            HEADER,
            V2_HEADER_LENGTH,
            format_args!(
                "incompatible features {:#x} are not known; nothing else was looked at",
                features & !known
            ),
        );
        return false;
    }
    true
}

/// Whether a table of `len` bytes can be at `offset`; says why not.
fn placed(
    source: &dyn ReadAt,
    base: &Base,
    report: &mut CheckReport,
    structure: &'static str,
    (offset, len): (u64, u64),
) -> bool {
    if offset == 0 || !offset.is_multiple_of(base.cluster_size) {
        report.error(
            "alignment",
            structure,
            offset,
            format_args!(
                "its offset is {offset:#x}, expected a multiple of {:#x} that is not 0",
                base.cluster_size
            ),
        );
        return false;
    }
    if !fits(offset, len, source.len()) {
        report.error(
            "past-end",
            structure,
            offset,
            format_args!(
                "{len} bytes were expected here, the file ends at {:#x}",
                source.len()
            ),
        );
        return false;
    }
    true
}
