//! Swap space: everything behind its header, while no system sleeps in it.

use guest::field::le32;

use crate::map::Collector;
use crate::volume::{Free, Volume};

/// Sizes of memory pages; swap has its mark at the end of the first one.
const PAGES: [u64; 5] = [4096, 8192, 16384, 32768, 65536];
/// Bytes at the beginning that are kept: the header, in the longest page, and a page more.
const KEPT: u64 = 128 << 10;

/// What is free on `volume`.
///
/// # Errors
/// Why it is not known.
pub(crate) fn free(volume: Volume<'_>) -> Result<Free, String> {
    for page in PAGES {
        if volume.read(page - 10, 10)? != b"SWAPSPACE2" {
            continue;
        }
        // Version, last page, number of bad pages (Linux, `union swap_header`).
        let header = volume.read(1024, 12)?;
        let size = u64::from(le32(&header, 4))
            .saturating_add(1)
            .saturating_mul(page);
        if le32(&header, 0) != 1 || size > volume.size() {
            return Err("its header makes no sense".into());
        }
        let mut all = Collector::new();
        all.add(KEPT.min(size)..size)?;
        return Ok(Free {
            size,
            free: all.free,
            ranges: all.finish(),
        });
    }
    Err("a system sleeps in it, or it has no header".into())
}
