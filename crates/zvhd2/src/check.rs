//! Checking a ZVHD2 file against every rule, and collecting what is broken.

use std::sync::Arc;

use diskimg::zero::is_zero;
use diskimg::{ReadAt, Result};
use serde::Serialize;
use zstd::zstd_safe::find_frame_compressed_size;

use crate::decode::{BlockDecoder, has_content_checksum, is_overlong, unpack};
use crate::finding::{Finding, Report, Severity};
use crate::footer::{Compression, Footer};
use crate::structure::walk;
use crate::tables::StoredBlock;

/// Most violations of each severity that a report lists; all are counted.
pub const MAX_LISTED: usize = 500;

/// A rule that the file breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// How bad it is.
    pub severity: Severity,
    /// Stable name of the rule.
    pub rule: &'static str,
    /// File offset of the structure that breaks it.
    pub offset: u64,
    /// Structure, found and expected.
    pub message: String,
}

/// What [`check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Guest size in bytes; 0 when the last footer cannot be read.
    pub virtual_size: u64,
    /// Data blocks that the index lists rightly.
    pub stored_blocks: u64,
    /// Violations of severity `Error`, all of them.
    pub errors: u64,
    /// Violations of severity `Warning`, all of them.
    pub warnings: u64,
    /// At most [`MAX_LISTED`] of each severity, in the order they were found.
    pub violations: Vec<Violation>,
    /// Whether there are more violations than are listed.
    pub cut: bool,
    /// Whether the check was stopped before every block was decoded.
    pub cancelled: bool,
}

impl CheckReport {
    /// Whether the whole file was looked at and breaks no rule that readers need.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.errors == 0 && !self.cancelled
    }

    fn add(&mut self, severity: Severity, finding: Finding) {
        let count = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count = count.saturating_add(1);
        if *count > MAX_LISTED as u64 {
            self.cut = true;
            return;
        }
        self.violations.push(Violation {
            severity,
            rule: finding.rule,
            offset: finding.offset,
            message: format!("{}: {}", finding.structure, finding.message),
        });
    }
}

impl Report for CheckReport {
    fn error(&mut self, finding: Finding) -> Result<()> {
        self.add(Severity::Error, finding);
        Ok(())
    }

    fn warning(&mut self, finding: Finding) {
        self.add(Severity::Warning, finding);
    }

    fn listens(&self, severity: Severity) -> bool {
        let count = match severity {
            Severity::Error => self.errors,
            Severity::Warning => self.warnings,
        };
        count < MAX_LISTED as u64
    }
}

/// Holds `source` against every rule of the format, and decodes every block. `cancel` is asked once
/// per block and ends the check early when it answers yes.
///
/// Broken rules are in the report. What the vendor's own files do has severity
/// [`Severity::Warning`].
///
/// # Errors
/// Those of reading `source`.
pub fn check(source: &dyn ReadAt, cancel: &dyn Fn() -> bool) -> Result<CheckReport> {
    let mut report = CheckReport::default();
    let walked = check_all(source, cancel, &mut report)?;
    report.virtual_size = walked.virtual_size;
    report.stored_blocks = walked.stored_blocks;
    report.cancelled = walked.cancelled;
    Ok(report)
}

/// [`check()`] as [`diskimg::check()`] asks for it.
///
/// # Errors
/// Those of reading `source`.
pub(crate) fn as_driver(
    source: &Arc<dyn ReadAt>,
    report: &mut diskimg::CheckReport,
    cancelled: &dyn Fn() -> bool,
) -> Result<()> {
    let walked = check_all(source.as_ref(), cancelled, report)?;
    report.cancelled = walked.cancelled;
    Ok(())
}

impl Report for diskimg::CheckReport {
    fn error(&mut self, finding: Finding) -> Result<()> {
        self.error(
            finding.rule,
            finding.structure,
            finding.offset,
            finding.message,
        );
        Ok(())
    }

    fn warning(&mut self, finding: Finding) {
        self.warning(
            finding.rule,
            finding.structure,
            finding.offset,
            finding.message,
        );
    }

    fn listens(&self, severity: Severity) -> bool {
        let count = match severity {
            Severity::Error => self.errors,
            Severity::Warning => self.warnings,
        };
        count < diskimg::MAX_LISTED as u64
    }
}

/// How far a check came.
#[derive(Default)]
struct Walked {
    virtual_size: u64,
    stored_blocks: u64,
    cancelled: bool,
}

fn check_all(
    source: &dyn ReadAt,
    cancel: &dyn Fn() -> bool,
    report: &mut impl Report,
) -> Result<Walked> {
    let Some(structure) = walk(source, report)? else {
        return Ok(Walked::default());
    };
    let mut walked = Walked {
        virtual_size: structure.footer.virtual_size,
        stored_blocks: structure.blocks.len() as u64,
        cancelled: false,
    };
    let mut decoder = BlockDecoder::new()?;
    let block_size = usize::try_from(structure.footer.block_size).unwrap_or_default();
    let mut content = vec![0; block_size];
    for block in &structure.blocks {
        if cancel() {
            walked.cancelled = true;
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
    Ok(walked)
}

fn check_block(
    source: &dyn ReadAt,
    footer: &Footer,
    block: &StoredBlock,
    decoder: &mut BlockDecoder,
    content: &mut [u8],
    report: &mut impl Report,
) -> Result<()> {
    let raw = decoder.read(source, block)?;
    for (rule, problem) in forgiven(raw, block, footer.compression) {
        let message = format!("block {} {problem}", block.number);
        report.warning(Finding::corrupt(rule, "data block", block.offset, message));
    }
    if let Err(finding) = decoder.decode(block, footer.compression, content) {
        return report.error(finding);
    }
    if is_zero(content) {
        let message = format!(
            "block {} holds only zeros, expected no such block",
            block.number
        );
        report.warning(Finding::corrupt(
            "zero-block",
            "data block",
            block.offset,
            message,
        ));
    }
    let start = u64::from(block.number).saturating_mul(footer.block_size.into());
    let on_disk = footer.virtual_size.saturating_sub(start);
    let beyond = usize::try_from(on_disk)
        .ok()
        .and_then(|on_disk| content.get(on_disk..));
    if beyond.is_some_and(|beyond| !is_zero(beyond)) {
        let message = format!("block {} holds data past the end of the disk", block.number);
        report.warning(Finding::corrupt(
            "beyond-end",
            "data block",
            block.offset,
            message,
        ));
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
