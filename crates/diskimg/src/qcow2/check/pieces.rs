//! Tables in pieces: what lies in a hole of the file is zeros, and is not read.

use std::ops::Range;

use crate::error::Result;
use crate::extent::ExtentKind;
use crate::stored::StoredMap;

/// Most bytes that are read at once.
const MAX_PIECE: u64 = 1 << 20;
/// Pieces begin at multiples of this, so that they hold whole entries: the longest has 16 bytes.
const ALIGNMENT: u64 = 16;

/// The first piece of `table` that the file stores, at most 1 MiB; `None` when the rest is a hole.
/// `table` lies in the file, and starts at a multiple of 16, as every piece does.
pub(super) fn first_stored(holes: &StoredMap, table: Range<u64>) -> Result<Option<Range<u64>>> {
    let mut at = table.start;
    while at < table.end {
        let (kind, end) = holes.stretch(at)?;
        let whole = end - end % ALIGNMENT;
        if kind == ExtentKind::Hole && whole > at {
            at = whole;
            continue;
        }
        // An entry may begin in a hole and end in data, or the other way round.
        let end = end.max(at + 1).next_multiple_of(ALIGNMENT);
        return Ok(Some(at..end.min(at + MAX_PIECE).min(table.end)));
    }
    Ok(None)
}
