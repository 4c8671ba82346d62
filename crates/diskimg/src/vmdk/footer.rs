//! The footer of a stream: a copy of the header that knows where the grain directory is.

use zerocopy::FromBytes;

use super::header::read_header;
use super::layout::{AT_END, FOOTER_MARKER, HOSTED_MAGIC, HostedHeader, Marker};
use crate::error::{Error, Result};
use crate::report::Report;
use crate::source::ReadAt;
use crate::units::{FileOffset, SECTOR};
use crate::zero::is_zero;

const FOOTER: &str = "footer";

/// How many zeros behind the end of a stream are looked through: block devices and copies by `dd`
/// leave such.
const MAX_PADDING: u64 = 64 << 10;

/// Sector of the grain directory by the footer of `source`, whose header is `header`; `None` when
/// there is no footer.
///
/// # Errors
/// Those of `report` and of reading.
pub(super) fn read(
    source: &dyn ReadAt,
    header: &HostedHeader,
    report: &mut dyn Report,
) -> Result<Option<u64>> {
    let Some(at) = find(source, report)? else {
        return Ok(None);
    };
    let footer = read_header(source, at)?;
    let fields = [
        (
            "version",
            header.version.get().into(),
            footer.version.get().into(),
        ),
        (
            "flags",
            header.flags.get().into(),
            footer.flags.get().into(),
        ),
        ("capacity", header.capacity.get(), footer.capacity.get()),
        (
            "grain size",
            header.grain_size.get(),
            footer.grain_size.get(),
        ),
        (
            "entries of a table",
            header.table_entries.get().into(),
            footer.table_entries.get().into(),
        ),
        (
            "place of the descriptor",
            header.descriptor_offset.get(),
            footer.descriptor_offset.get(),
        ),
        (
            "size of the descriptor",
            header.descriptor_size.get(),
            footer.descriptor_size.get(),
        ),
        (
            "compression",
            header.compression.get().into(),
            footer.compression.get().into(),
        ),
    ];
    for (name, expected, found) in fields {
        if expected != found {
            report.broken("footer", &|| {
                Error::corrupt(
                    FOOTER,
                    at,
                    format!("its {name} is {found}, that of the header is {expected}"),
                )
            })?;
        }
    }
    let directory = footer.directory_offset.get();
    if directory == AT_END {
        report.broken("footer", &|| {
            Error::corrupt(FOOTER, at, "it does not say where the grain directory is")
        })?;
        return Ok(None);
    }
    Ok(Some(directory))
}

/// Where the footer begins: behind its marker and before the marker of the stream's end, which is a
/// sector of zeros.
fn find(source: &dyn ReadAt, report: &mut dyn Report) -> Result<Option<u64>> {
    let end = source.len() / SECTOR * SECTOR;
    let len = end.min(MAX_PADDING + 3 * SECTOR);
    let mut tail = vec![0; usize::try_from(len).unwrap_or_default()];
    source.read_exact_at(FileOffset(end - len), &mut tail)?;
    let (sectors, _) = tail.as_chunks::<512>();
    let last = sectors.iter().rposition(|sector| !is_zero(sector));
    let footer = last.filter(|last| {
        sectors
            .get(*last)
            .is_some_and(|sector| sector.starts_with(&HOSTED_MAGIC))
    });
    let at = |index: usize| end - len + index as u64 * SECTOR;
    let Some(footer) = footer else {
        report.broken("truncated", &|| {
            Error::truncated(
                FOOTER,
                end,
                "there is none at the end of the file: the file is truncated, or something was \
                 added",
            )
            .with_hint("copy or export the disk again")
        })?;
        return Ok(None);
    };
    if footer + 1 == sectors.len() {
        report.broken("truncated", &|| {
            Error::truncated(
                FOOTER,
                at(footer),
                "nothing follows it, expected the marker of the stream's end: the file is \
                 truncated",
            )
            .with_hint("copy or export the disk again")
        })?;
    }
    let marker = footer
        .checked_sub(1)
        .and_then(|before| Marker::read_from_prefix(sectors.get(before)?).ok());
    let sound = marker.is_some_and(|(marker, padding)| {
        let found = (marker.value.get(), marker.size.get(), marker.kind.get());
        found == (1, 0, FOOTER_MARKER) && is_zero(padding)
    });
    if !sound {
        report.broken("footer", &|| {
            Error::corrupt(FOOTER, at(footer), "its marker is not before it")
        })?;
    }
    Ok(Some(at(footer)))
}
