//! Logs that have to be replayed, and those that cannot be.

use std::sync::Arc;
use std::time::Duration;

use diskimg::{DiskImage, ErrorKind, Extent, ExtentKind, GuestOffset, MemorySource};
use tempfile::TempDir;
use testkit::qemu;

use crate::craft::{
    self, BAT, Craft, Entry, FULLY_PRESENT, HEADERS, LOG, LOG_GUID, LOG_LEN, MIB, NOT_PRESENT,
    PAYLOAD, REGIONS, Write, ZERO, apply, log, mark_dirty, noise, put32, put64, seal, seal_header,
};
use crate::{assert_gaps_are_zero, assert_same, extents, open, qemu_raw, read_all, refused};
use testkit::measure::cpu_time;

/// A disk of four blocks whose BAT in the file is older than its log.
struct Dirty {
    bytes: Vec<u8>,
    guest: Vec<u8>,
}

/// The BAT's first sector with block 1 stored where block 0 is, and block 0 gone.
fn new_bat(file: &[u8]) -> Vec<u8> {
    let mut sector = file[BAT..BAT + 4096].to_vec();
    put64(&mut sector, 0, ZERO);
    put64(&mut sector, 8, PAYLOAD as u64 | FULLY_PRESENT);
    sector
}

fn clean() -> craft::Made {
    Craft::new(&[FULLY_PRESENT, NOT_PRESENT, NOT_PRESENT, FULLY_PRESENT]).make()
}

/// What the guest sees when `writes` have been made to `file`.
fn guest_after(file: &[u8], writes: &[Write]) -> Vec<u8> {
    let mut replayed = file.to_vec();
    apply(&mut replayed, writes);
    read_all(&open(&replayed).unwrap(), MIB).unwrap()
}

fn writes(file: &[u8]) -> Vec<Write> {
    vec![
        Write::Data(BAT as u64, new_bat(file)),
        Write::Zeros(PAYLOAD as u64 + 8192, 40_960),
        Write::Data(PAYLOAD as u64 + MIB as u64 + 4096, noise(77, 4096)),
        Write::Zeros(PAYLOAD as u64 + MIB as u64 + 65_536, 4096),
    ]
}

/// One entry at the log's offset `at`.
fn dirty(at: usize) -> Dirty {
    let mut bytes = clean().bytes;
    let writes = writes(&bytes);
    let guest = guest_after(&bytes, &writes);
    let entry = Entry::new(5, at as u32, bytes.len(), writes);
    log(&mut bytes, at, &entry.bytes());
    mark_dirty(&mut bytes, LOG_GUID);
    Dirty { bytes, guest }
}

/// Asserts that we read `dirty` as its log says.
#[track_caller]
fn assert_reads(dirty: &Dirty, what: &str) {
    let image = open(&dirty.bytes).unwrap();
    assert_same(&read_all(&image, MIB).unwrap(), &dirty.guest, what);
    assert_same(&read_all(&image, 5000).unwrap(), &dirty.guest, what);
    assert_gaps_are_zero(&extents(&image).unwrap(), &dirty.guest);
    assert!(image.details().warnings[0].contains("log is replayed"));
}

/// [`assert_reads`], and that QEMU reads the same once it has repaired a copy.
#[track_caller]
fn assert_replays(dirty: &Dirty, what: &str) {
    assert_reads(dirty, what);
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (vhdx, raw) = (dir.path().join("vhdx"), dir.path().join("raw"));
    std::fs::write(&vhdx, &dirty.bytes).unwrap();
    qemu::img([
        "check",
        "-q",
        "-r",
        "all",
        "-f",
        "vhdx",
        vhdx.to_str().unwrap(),
    ]);
    qemu_raw(&vhdx, &raw);
    assert_same(
        &std::fs::read(&raw).unwrap(),
        &dirty.guest,
        &format!("{what}, by QEMU"),
    );
}

#[test]
fn a_log_is_replayed_in_memory_as_qemu_replays_it_in_the_file() {
    let dirty = dirty(0);
    assert_ne!(dirty.guest, clean().guest);
    assert_replays(&dirty, "one entry");
}

#[test]
fn entries_anywhere_in_the_ring_and_round_its_end_are_replayed() {
    for at in [4096, 512 << 10, LOG_LEN - 4096, LOG_LEN - 8192] {
        assert_replays(&dirty(at), &format!("at {at:#x}"));
    }
}

/// Entries 10 to 19 from the log's offset `tail` on, each over parts of those before.
fn sequence(bytes: &mut [u8], tail: usize) -> Vec<u8> {
    let file_len = bytes.len();
    let mut at = tail;
    let mut all = Vec::new();
    for number in 10..20 {
        let sector = noise(number, 4096);
        let writes = || {
            vec![
                Write::Zeros(PAYLOAD as u64 + 4096 * (number % 4), 12_288),
                Write::Data(PAYLOAD as u64 + 4096 * (number % 3), sector.clone()),
                Write::Data(PAYLOAD as u64 + 4096 * number, sector.clone()),
            ]
        };
        all.extend(writes());
        let entry = Entry::new(number, tail as u32, file_len, writes());
        at = log(bytes, at, &entry.bytes());
    }
    guest_after(bytes, &all)
}

#[test]
fn a_sequence_of_entries_is_replayed_in_its_order() {
    let mut bytes = clean().bytes;
    let guest = sequence(&mut bytes, 65_536);
    mark_dirty(&mut bytes, LOG_GUID);
    assert_replays(&Dirty { bytes, guest }, "a sequence");
}

#[test]
fn a_sequence_round_the_end_of_the_ring_is_replayed_from_its_tail_on() {
    // Not compared with QEMU, which looks at no tail, and loses what comes before the ring's end.
    let mut bytes = clean().bytes;
    let start = LOG_LEN - 40_960;
    let stale = vec![Write::Data(PAYLOAD as u64 + 65_536 * 3, noise(1, 4096))];
    let stale = Entry::new(9, start as u32, bytes.len(), stale);
    let tail = log(&mut bytes, start, &stale.bytes());
    let guest = sequence(&mut bytes, tail);
    mark_dirty(&mut bytes, LOG_GUID);
    assert_reads(&Dirty { bytes, guest }, "a ring");
}

#[test]
fn older_sequences_other_guids_and_torn_entries_are_not_replayed() {
    let mut bytes = clean().bytes;
    let file_len = bytes.len();
    let poison = |seed| vec![Write::Data(PAYLOAD as u64, noise(seed, 4096))];
    log(
        &mut bytes,
        0,
        &Entry::new(3, 0, file_len, poison(1)).bytes(),
    );
    let other = Entry {
        guid: *b"another log guid",
        ..Entry::new(99, 65_536, file_len, poison(2))
    };
    log(&mut bytes, 65_536, &other.bytes());
    let active = writes(&bytes);
    let guest = guest_after(&bytes, &active);
    let at = log(
        &mut bytes,
        131_072,
        &Entry::new(50, 131_072, file_len, active).bytes(),
    );
    let mut torn = Entry::new(51, 131_072, file_len, poison(3)).bytes();
    torn[5000] ^= 1;
    log(&mut bytes, at, &torn);
    mark_dirty(&mut bytes, LOG_GUID);
    assert_replays(&Dirty { bytes, guest }, "leftovers");
}

#[test]
fn a_sequence_without_its_tail_is_not_replayed() {
    let mut bytes = clean().bytes;
    let file_len = bytes.len();
    let poison = vec![Write::Data(PAYLOAD as u64, noise(1, 4096))];
    log(
        &mut bytes,
        0,
        &Entry::new(90, 8192, file_len, poison).bytes(),
    );
    mark_dirty(&mut bytes, LOG_GUID);
    let error = refused(open(&bytes));
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error
            .hint()
            .unwrap()
            .to_string()
            .contains("qemu-img check -r all")
    );
    let older = writes(&clean().bytes);
    let guest = guest_after(&clean().bytes, &older);
    log(
        &mut bytes,
        65_536,
        &Entry::new(7, 65_536, file_len, older).bytes(),
    );
    let image = open(&bytes).unwrap();
    assert_same(&read_all(&image, MIB).unwrap(), &guest, "the older one");
}

#[test]
fn entries_without_descriptors_are_replayed_as_nothing() {
    let mut made = clean();
    let entry = Entry::new(1, 0, made.bytes.len(), Vec::new());
    log(&mut made.bytes, 0, &entry.bytes());
    mark_dirty(&mut made.bytes, LOG_GUID);
    let image = open(&made.bytes).unwrap();
    assert_same(&read_all(&image, MIB).unwrap(), &made.guest, "nothing");
}

#[test]
fn entries_with_more_descriptors_than_a_sector_holds_are_replayed() {
    let mut bytes = clean().bytes;
    let file_len = bytes.len();
    let writes = || -> Vec<Write> {
        (0..200_u64)
            .map(|index| match index % 2 {
                0 => Write::Data(PAYLOAD as u64 + index * 4096, noise(index, 4096)),
                _ => Write::Zeros(PAYLOAD as u64 + index * 4096, 4096),
            })
            .collect()
    };
    let guest = guest_after(&bytes, &writes());
    log(
        &mut bytes,
        LOG_LEN - 8192,
        &Entry::new(1, (LOG_LEN - 8192) as u32, file_len, writes()).bytes(),
    );
    mark_dirty(&mut bytes, LOG_GUID);
    // Not compared with QEMU, which refuses logs with more than 126 descriptors in an entry.
    assert_reads(&Dirty { bytes, guest }, "200 descriptors");
}

#[test]
fn a_file_that_was_to_grow_reads_as_if_it_had() {
    // Block 1 is to be stored past the file's end, as zeros but for one sector.
    let mut bytes = clean().bytes;
    let file_len = bytes.len();
    let mut sector = bytes[BAT..BAT + 4096].to_vec();
    put64(&mut sector, 8, file_len as u64 | FULLY_PRESENT);
    let writes = || {
        vec![
            Write::Data(BAT as u64, sector.clone()),
            Write::Data(file_len as u64 + 8192, noise(5, 4096)),
            // QEMU lets the file grow by what is written, not to the length that the entry gives.
            Write::Data((file_len + MIB) as u64 - 4096, noise(6, 4096)),
        ]
    };
    let mut grown = bytes.clone();
    grown.resize(file_len + MIB, 0);
    let guest = guest_after(&grown, &writes());
    let entry = Entry {
        last: (file_len + MIB) as u64,
        ..Entry::new(1, 0, file_len, writes())
    };
    log(&mut bytes, 0, &entry.bytes());
    mark_dirty(&mut bytes, LOG_GUID);
    let image = open(&bytes).unwrap();
    let extent = image
        .extent_at(GuestOffset(MIB as u64), MIB as u64)
        .unwrap();
    let hole = Extent {
        start: GuestOffset(MIB as u64),
        len: 8192,
        kind: ExtentKind::Hole,
    };
    assert_eq!(extent, hole);
    assert_replays(&Dirty { bytes, guest }, "a grown file");
}

#[test]
fn region_tables_and_metadata_are_read_from_the_replayed_file() {
    let whole = clean();
    let mut bytes = whole.bytes.clone();
    let file_len = bytes.len();
    let mut writes = Vec::new();
    for at in [
        REGIONS[0],
        REGIONS[1],
        craft::METADATA,
        craft::item_at(0) / 4096 * 4096,
    ] {
        writes.push(Write::Data(at as u64, bytes[at..at + 4096].to_vec()));
        bytes[at..at + 4096].fill(0);
    }
    log(&mut bytes, 0, &Entry::new(1, 0, file_len, writes).bytes());
    assert!(open(&bytes).is_err());
    mark_dirty(&mut bytes, LOG_GUID);
    let image = open(&bytes).unwrap();
    assert_same(&read_all(&image, MIB).unwrap(), &whole.guest, "metadata");
}

#[test]
fn replay_changes_nothing_in_the_source() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("vhdx");
    let dirty = dirty(0);
    std::fs::write(&path, &dirty.bytes).unwrap();
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).unwrap();
    let opened = diskimg::open(&path, &diskimg::OpenOptions::default(), &[]).unwrap();
    assert_same(
        &read_all(opened.image.as_ref(), MIB).unwrap(),
        &dirty.guest,
        "file",
    );
    assert!(std::fs::read(&path).unwrap() == dirty.bytes);
}

/// A dirty disk whose one entry has been changed and sealed again.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = clean().bytes;
    let mut entry = Entry::new(5, 0, bytes.len(), writes(&bytes)).bytes();
    change(&mut entry);
    let len = entry.len();
    seal(&mut entry, 0..len);
    log(&mut bytes, 0, &entry);
    mark_dirty(&mut bytes, LOG_GUID);
    bytes
}

#[test]
fn entries_that_break_a_rule_are_an_error() {
    type Change = fn(&mut Vec<u8>);
    let desc = 64;
    assert!(open(&changed(|_| ())).is_ok());
    let cases: [(&str, Change); 20] = [
        ("no valid sequence", |e| e[0] = b'x'),
        ("no valid sequence", |e| put64(e, 16, 0)),
        ("no valid sequence", |e| put32(e, 8, 0)),
        ("no valid sequence", |e| put32(e, 8, 4095)),
        ("no valid sequence", |e| put32(e, 8, u32::MAX)),
        ("no valid sequence", |e| put32(e, 12, 512)),
        ("no valid sequence", |e| put32(e, 12, u32::MAX)),
        ("no valid sequence", |e| e[32] ^= 1),
        ("descriptors, they do not fit", |e| put32(e, 24, u32::MAX)),
        ("sectors, its descriptors describe", |e| put32(e, 24, 2)),
        ("in descriptor 4, expected 5", |e| put32(e, 24, 5)),
        ("the file had", |e| put64(e, 48, 1 << 40)),
        ("expected \"desc\" or \"zero\"", |e| e[64] = b'x'),
        ("in descriptor 0, expected 5", |e| e[64 + 24] = 4),
        ("the headers are never logged", |e| {
            put64(e, 64 + 16, HEADERS[0] as u64)
        }),
        ("in the log itself", |e| {
            put64(e, 64 + 16, LOG as u64 + 4096)
        }),
        ("the file ends at", |e| put64(e, 64 + 16, 1 << 40)),
        ("multiples of 4 KiB", |e| {
            put64(e, 64 + 16, BAT as u64 + 512)
        }),
        ("expected \"data\"", |e| e[4096] = b'x'),
        ("in its data sector", |e| e[4096 + 4] = 1),
    ];
    for (says, change) in cases {
        let error = refused(open(&changed(change)));
        let kind = if says == "the file had" {
            ErrorKind::Truncated
        } else {
            ErrorKind::Corrupt
        };
        assert!(error.to_string().contains(says), "{says}: {error}");
        assert_eq!(error.kind(), kind, "{error}");
    }
    // Zeros: where they begin and where they end.
    for (at, value, says) in [
        (8, 4095, "multiples of 4 KiB"),
        (8, u64::MAX - 4095, "the file ends at"),
        (16, u64::MAX - 4095, "the file ends at"),
        (16, 4096, "never logged"),
    ] {
        let bytes = changed(|entry| put64(entry, desc + 32 + at, value));
        let error = refused(open(&bytes));
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn a_dirty_header_without_any_log_is_an_error() {
    let mut bytes = clean().bytes;
    mark_dirty(&mut bytes, LOG_GUID);
    let error = refused(open(&bytes));
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("no valid sequence"), "{error}");
    put32(&mut bytes, HEADERS[1] + 68, 0);
    seal_header(&mut bytes, 1);
    assert_eq!(refused(open(&bytes)).kind(), ErrorKind::Corrupt);
}

#[test]
fn a_log_made_to_be_slow_is_refused_in_time() {
    // Each sector claims to begin an entry as long as the log.
    const LEN: usize = 32 << 20;
    let mut bytes = clean().bytes;
    let at = bytes.len().next_multiple_of(MIB);
    bytes.resize(at + LEN, 0);
    put32(&mut bytes, HEADERS[1] + 68, LEN as u32);
    put64(&mut bytes, HEADERS[1] + 72, at as u64);
    let mut entry = Entry::new(5, 0, at, Vec::new()).bytes();
    put32(&mut entry, 8, LEN as u32);
    for sector in bytes[at..].chunks_mut(4096) {
        sector.copy_from_slice(&entry);
    }
    mark_dirty(&mut bytes, LOG_GUID);
    let started = cpu_time();
    let source = Arc::new(MemorySource(bytes));
    let error = refused(diskimg::VhdxImage::open(source.clone()));
    assert!(
        (cpu_time() - started) < Duration::from_secs(2),
        "{:?}",
        (cpu_time() - started)
    );
    assert!(error.to_string().contains("overlap"), "{error}");
    // One MiB more is beyond the cap.
    let mut bytes = source.0.clone();
    bytes.resize(at + LEN + MIB, 0);
    put32(&mut bytes, HEADERS[1] + 68, (LEN + MIB) as u32);
    seal_header(&mut bytes, 1);
    assert_eq!(refused(open(&bytes)).kind(), ErrorKind::Limit);
    put64(&mut bytes, HEADERS[1] + 48, 0);
    put64(&mut bytes, HEADERS[1] + 56, 0);
    seal_header(&mut bytes, 1);
    assert!(open(&bytes).is_ok(), "an empty log may have any length");
}
