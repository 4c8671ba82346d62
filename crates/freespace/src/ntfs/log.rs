//! Whether `$LogFile` says that the volume was unmounted (ntfs-3g, `ntfs_is_logfile_clean`).

use guest::field::{le16, le32};

use super::record::{Boot, Stream};
use crate::volume::Volume;

/// Bytes of a page of the log.
const PAGE: u64 = 4096;
/// In place of a list of clients: there are none.
const NO_CLIENT: u16 = 0xffff;
const IS_CLEAN: u16 = 2;

/// Refuses a log that may have something in it.
pub(super) fn check(volume: Volume<'_>, boot: &Boot, stream: &Stream) -> Result<(), String> {
    let head = stream.read(volume, boot, 0, 2 * PAGE)?;
    if head.iter().all(|byte| *byte == 0xff) {
        // As formatting leaves it.
        return Ok(());
    }
    let half = head.len() / 2;
    let (first, second) = head.split_at(half);
    for page in [first, second] {
        if !page.starts_with(b"RSTR") || le32(page, 16) != 4096 || le32(page, 20) != 4096 {
            return Err("its log is damaged".into());
        }
        // Version 2 is written for fast starts: the volume may be in use.
        if (le16(page, 28), le16(page, 26)) != (1, 1) {
            return Err("its log is of a kind that is not known".into());
        }
        let area = page.get(usize::from(le16(page, 24))..).unwrap_or_default();
        let clean = le16(area, 12) == NO_CLIENT || le16(area, 14) & IS_CLEAN != 0;
        if !clean {
            return Err("its log holds changes that are not in place yet".into());
        }
    }
    Ok(())
}
