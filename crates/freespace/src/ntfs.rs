//! Free space of NTFS, by `$Bitmap`.
//!
//! Sources: the NTFS documentation of the Linux-NTFS project; ntfs-3g, `libntfs-3g/logfile.c` (when
//! a log is clean) and `layout.h`. The bitmap is believed when the volume is not marked dirty, its
//! log is that of an unmounted volume, no Windows sleeps on it, and all clusters of its metadata
//! are in use by it. A bit that is wrong elsewhere shows nowhere but in a walk over all files.

mod log;
mod record;
mod sleep;

use std::ops::Range;

use self::record::{Boot, Record};
use crate::bits::Bits;
use crate::map::Collector;
use crate::volume::{Free, Volume};

/// Numbers of the records of metadata.
const TABLE: u64 = 0;
const LOG: u64 = 2;
const VOLUME: u64 = 3;
const BITMAP: u64 = 6;
/// The first record that is none of the system's.
const FIRST_OTHER: u64 = 12;
/// Types of attributes.
const INFORMATION: u32 = 0x70;
const DATA: u32 = 0x80;
/// The one mark of a volume that is harmless: it was changed by chkdsk.
const CHECKED: u16 = 0x8000;
/// Clusters whose bits are read at a time; a multiple of 8.
const PIECE: u64 = 512 << 10;
/// Most runs of metadata.
const MOST_RUNS: usize = 1 << 16;

pub(crate) use self::sleep::is_asleep;

/// What is free on `volume`.
///
/// # Errors
/// Why it is not known.
pub(crate) fn free(volume: Volume<'_>) -> Result<Free, String> {
    let boot = Boot::read(volume)?;
    check_state(volume, &boot)?;
    let table = boot.record(volume, TABLE)?;
    let used = metadata(volume, &boot, &table)?;
    let bitmap = boot.record(volume, BITMAP)?;
    let stream = bitmap.stream(DATA, &[])?;
    if stream.length < boot.clusters.div_ceil(8) {
        return Err("its $Bitmap is shorter than the volume".into());
    }
    let mut all = Collector::new();
    let mut first = 0;
    while first < boot.clusters {
        let count = PIECE.min(boot.clusters - first);
        let bytes = stream.read(volume, &boot, first / 8, count.div_ceil(8))?;
        let bits = Bits::new(bytes, count);
        check_used(&bits, first..first + count, &used)?;
        for run in bits.runs() {
            let at = |cluster: u64| (first + cluster).saturating_mul(boot.cluster);
            all.add(at(run.start)..at(run.end))?;
        }
        first += count;
    }
    Ok(Free {
        size: boot.clusters.saturating_mul(boot.cluster),
        free: all.free,
        ranges: all.finish(),
    })
}

/// Refuses a volume that was not unmounted.
fn check_state(volume: Volume<'_>, boot: &Boot) -> Result<(), String> {
    let information = boot.record(volume, VOLUME)?;
    let value = information.value(INFORMATION, &[])?;
    let [major, minor] = [8, 9].map(|at| value.get(at).copied().unwrap_or_default());
    let flags = guest::field::le16(value, 10);
    if major != 3 || minor > 1 {
        return Err(format!("its version is {major}.{minor}"));
    }
    if flags & !CHECKED != 0 {
        return Err(format!(
            "it was not unmounted, or is to be checked: {flags:#x}"
        ));
    }
    let log = boot.record(volume, LOG)?;
    log::check(volume, boot, &log.stream(DATA, &[])?)
}

/// The clusters of the system's own files, sorted.
fn metadata(volume: Volume<'_>, boot: &Boot, table: &Record) -> Result<Vec<Range<u64>>, String> {
    let mut used = table.runs()?;
    // The first sector.
    used.push(0..1);
    for number in 1..FIRST_OTHER {
        used.extend(boot.record(volume, number)?.runs()?);
        if used.len() > MOST_RUNS {
            return Err("its metadata is too scattered".into());
        }
    }
    used.sort_unstable_by_key(|run| run.start);
    match used.iter().all(|run| run.end <= boot.clusters) {
        true => Ok(used),
        false => Err("its metadata leaves the volume".into()),
    }
}

/// Refuses a bitmap by which clusters of metadata are free; `bits` are those of `here`.
fn check_used(bits: &Bits, here: Range<u64>, used: &[Range<u64>]) -> Result<(), String> {
    for run in used {
        for cluster in run.start.max(here.start)..run.end.min(here.end) {
            if !bits.is_set(cluster - here.start) {
                return Err(format!(
                    "metadata is free by its $Bitmap, at cluster {cluster}"
                ));
            }
        }
    }
    Ok(())
}
