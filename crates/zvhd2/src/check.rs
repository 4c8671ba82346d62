//! Checking a ZVHD2 file against every rule, and collecting what is broken.

use diskimg::zero::is_zero;
use diskimg::{CheckReport, Format, ReadAt, Result};
use zstd::zstd_safe::find_frame_compressed_size;

use crate::decode::{BlockDecoder, has_content_checksum, is_overlong, unpack};
use crate::finding::Broken;
use crate::footer::{Compression, Footer};
use crate::structure::walk;
use crate::tables::StoredBlock;

/// Checks `source` against every rule of the format, and decodes every block. `cancel` is called
/// once per block and ends the check early when it returns `true`.
///
/// Broken rules are in the report. What the vendor's own files do has severity
/// [`Severity::Warning`](diskimg::Severity).
///
/// # Errors
/// Those of reading `source`.
pub fn check(source: &dyn ReadAt, cancel: &dyn Fn() -> bool) -> Result<CheckReport> {
    let mut report = CheckReport::new(Format::Zvhd2);
    check_into(source, &mut report, cancel)?;
    Ok(report)
}

/// [`check()`] into a report.
pub(crate) fn check_into(
    source: &dyn ReadAt,
    report: &mut CheckReport,
    cancel: &dyn Fn() -> bool,
) -> Result<()> {
    let Some(structure) = walk(source, report)? else {
        return Ok(());
    };
    let mut decoder = BlockDecoder::new()?;
    let block_size = usize::try_from(structure.footer.block_size).unwrap_or_default();
    let mut content = vec![0; block_size];
    for block in &structure.blocks {
        if cancel() {
            report.cancelled = true;
            break;
        }
        check_block(
            source,
            &structure.footer,
            block,
            &mut decoder,
            &mut content,
            report,
        )?;
    }
    Ok(())
}

fn check_block(
    source: &dyn ReadAt,
    footer: &Footer,
    block: &StoredBlock,
    decoder: &mut BlockDecoder,
    content: &mut [u8],
    report: &mut CheckReport,
) -> Result<()> {
    let raw = decoder.read(source, block)?;
    for (rule, problem) in forgiven(raw, block, footer.compression) {
        let message = format!("block {} {problem}", block.number);
        Broken::corrupt(rule, "data block", block.offset, message).forgive(report);
    }
    if let Err(broken) = decoder.decode(block, footer.compression, content) {
        return broken.report(report);
    }
    if is_zero(content) {
        let message = format!(
            "block {} holds only zeros, expected no such block",
            block.number
        );
        Broken::corrupt("zero-block", "data block", block.offset, message).forgive(report);
    }
    let start = u64::from(block.number).saturating_mul(footer.block_size.into());
    let on_disk = footer.virtual_size.saturating_sub(start);
    let beyond = usize::try_from(on_disk)
        .ok()
        .and_then(|on_disk| content.get(on_disk..));
    if beyond.is_some_and(|beyond| !is_zero(beyond)) {
        let message = format!("block {} holds data past the end of the disk", block.number);
        Broken::corrupt("beyond-end", "data block", block.offset, message).forgive(report);
    }
    Ok(())
}

/// Rules on a block's framing that readers forgive.
fn forgiven(
    raw: &[u8],
    block: &StoredBlock,
    compression: Compression,
) -> impl Iterator<Item = (&'static str, &'static str)> {
    // A block that cannot be taken apart is an error, which decoding reports.
    let parts = unpack(raw, block).ok();
    let checks = parts.map(|parts| {
        let zstd = compression == Compression::Zstd;
        // A frame that cannot be measured cannot be decoded either.
        let one_frame = !zstd
            || find_frame_compressed_size(parts.payload)
                .map_or(true, |len| len == parts.payload.len());
        [
            (
                is_zero(parts.reserved),
                (
                    "block-reserved",
                    "has header bytes from 20 on that are not zero",
                ),
            ),
            (
                is_zero(parts.padding),
                ("block-padding", "has padding that is not zero"),
            ),
            (
                !is_overlong(block, parts.payload),
                ("block-padding", "has more padding than it needs"),
            ),
            (
                !zstd || has_content_checksum(parts.payload),
                (
                    "content-checksum",
                    "has no content checksum in its zstd frame",
                ),
            ),
            (one_frame, ("one-frame", "has more than one zstd frame")),
        ]
    });
    checks
        .into_iter()
        .flatten()
        .filter_map(|(kept, broken)| (!kept).then_some(broken))
}
