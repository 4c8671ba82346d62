//! Extents, random reads, many readers, and what is never read.

use std::sync::{Arc, Mutex};

use diskimg::VhdxImage;
use diskimg::{
    DiskImage, ErrorKind, Extent, ExtentKind, FileOffset, GuestOffset, MemorySource, ReadAt,
    Result, SourceExtent,
};

use crate::craft::{
    Craft, FULLY_PRESENT, MIB, NOT_PRESENT, PAYLOAD, UNDEFINED, UNMAPPED, ZERO, noise, put64,
};
use crate::{assert_same, extents, open, read_all, refused};

const STATES: [u64; 9] = [
    FULLY_PRESENT,
    FULLY_PRESENT,
    NOT_PRESENT,
    UNDEFINED,
    UNMAPPED,
    ZERO,
    ZERO,
    FULLY_PRESENT,
    NOT_PRESENT,
];

#[test]
fn each_state_is_the_extent_that_it_means() {
    use ExtentKind::{Data, Hole, Zero};
    for backwards in [false, true] {
        let craft = Craft {
            backwards,
            disk_size: (9 * MIB - 512) as u64,
            ..Craft::new(&STATES)
        };
        let made = craft.make();
        let found: Vec<_> = extents(&open(&made.bytes).unwrap())
            .unwrap()
            .into_iter()
            .map(|extent| (extent.kind, extent.start.0, extent.len))
            .collect();
        let mib = MIB as u64;
        let expected = [
            (Data, 0, 2 * mib),
            (Hole, 2 * mib, 3 * mib),
            (Zero, 5 * mib, 2 * mib),
            (Data, 7 * mib, mib),
            (Hole, 8 * mib, mib - 512),
        ];
        assert_eq!(found, expected);
    }
}

#[test]
fn offsets_in_entries_of_blocks_that_are_not_stored_do_not_matter() {
    // Discarded blocks keep their place, so that they can be brought back.
    for state in [NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED] {
        let craft = Craft::new(&[FULLY_PRESENT]);
        let mut made = craft.make();
        put64(&mut made.bytes, craft.bat_entry(0), PAYLOAD as u64 | state);
        let image = open(&made.bytes).unwrap();
        assert!(read_all(&image, MIB).unwrap().iter().all(|byte| *byte == 0));
        assert_ne!(extents(&image).unwrap()[0].kind, ExtentKind::Data);
        put64(&mut made.bytes, craft.bat_entry(0), !0xfffff | state);
        assert!(read_all(&open(&made.bytes).unwrap(), MIB).is_ok());
    }
}

#[test]
fn reads_of_every_alignment_from_many_threads_equal_the_content() {
    let made = Craft {
        backwards: true,
        ..Craft::new(&STATES)
    }
    .make();
    let image = open(&made.bytes).unwrap();
    std::thread::scope(|scope| {
        for seed in 0..8 {
            let (image, guest) = (&image, &made.guest);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(seed);
                for _ in 0..300 {
                    let at = rng.usize(..guest.len());
                    let longest = 1 << rng.u32(..23);
                    let len = rng.usize(..=longest.min(guest.len() - at));
                    let mut found = vec![0xa5; len];
                    image.read_at(GuestOffset(at as u64), &mut found).unwrap();
                    assert_same(&found, &guest[at..at + len], "a random read");
                }
            });
        }
    });
}

#[test]
fn questions_beyond_the_disk_are_refused() {
    let image = open(&Craft::new(&[FULLY_PRESENT]).make().bytes).unwrap();
    for (at, len) in [(0, MIB + 1), (MIB as u64, 1), (u64::MAX, 1)] {
        let error = refused(image.read_at(GuestOffset(at), &mut vec![0; len]));
        assert_eq!(error.kind(), ErrorKind::OutOfRange);
    }
    image.read_at(GuestOffset(MIB as u64), &mut []).unwrap();
    for (at, limit) in [(MIB as u64, 1), (0, 0), (u64::MAX, u64::MAX)] {
        let error = refused(image.extent_at(GuestOffset(at), limit));
        assert_eq!(error.kind(), ErrorKind::OutOfRange);
    }
    let extent = image.extent_at(GuestOffset(5), 7).unwrap();
    let expected = Extent {
        start: GuestOffset(5),
        len: 7,
        kind: ExtentKind::Data,
    };
    assert_eq!(extent, expected);
}

/// A file with holes, that notes where it is read.
struct Noted {
    bytes: MemorySource,
    holes: Vec<std::ops::Range<u64>>,
    reads: Mutex<Vec<std::ops::Range<u64>>>,
}

impl ReadAt for Noted {
    fn len(&self) -> u64 {
        self.bytes.len()
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        let read = at.0..at.0 + buf.len() as u64;
        self.reads.lock().unwrap().push(read);
        self.bytes.read_exact_at(at, buf)
    }

    fn extent_at(&self, at: FileOffset, limit: u64) -> Result<SourceExtent> {
        for hole in &self.holes {
            if hole.contains(&at.0) {
                return Ok(SourceExtent::Hole(limit.min(hole.end - at.0)));
            }
        }
        let next = self.holes.iter().map(|hole| hole.start);
        let next = next.filter(|start| *start > at.0).min();
        Ok(SourceExtent::Data(
            next.map_or(limit, |next| limit.min(next - at.0)),
        ))
    }
}

#[test]
fn holes_of_the_file_are_holes_of_the_disk_and_are_never_read() {
    let mut made = Craft::new(&[FULLY_PRESENT, NOT_PRESENT, FULLY_PRESENT]).make();
    let hole = PAYLOAD + 8192..PAYLOAD + MIB + 4096;
    made.bytes[hole.clone()].fill(0);
    made.guest[8192..MIB].fill(0);
    made.guest[2 * MIB..2 * MIB + 4096].fill(0);
    let hole = hole.start as u64..hole.end as u64;
    let source = Arc::new(Noted {
        bytes: MemorySource(made.bytes),
        holes: vec![hole.clone()],
        reads: Mutex::default(),
    });
    let image = VhdxImage::open(source.clone()).unwrap();
    let found = extents(&image).unwrap();
    let lens: Vec<_> = found.iter().map(|extent| extent.len as usize).collect();
    assert_eq!(lens, [8192, 2 * MIB - 8192 + 4096, MIB - 4096]);
    // Metadata is all that the extents have read.
    let reads = std::mem::take(&mut *source.reads.lock().unwrap());
    assert!(
        reads.iter().all(|read| read.end <= PAYLOAD as u64),
        "{reads:?}"
    );
    let mut guest = vec![0; made.guest.len()];
    for extent in found.iter().filter(|e| e.kind == ExtentKind::Data) {
        let range = extent.start.0 as usize..extent.end().0 as usize;
        image.read_at(extent.start, &mut guest[range]).unwrap();
    }
    assert_same(&guest, &made.guest, "data extents");
    for read in source.reads.lock().unwrap().iter() {
        assert!(read.end <= hole.start || hole.end <= read.start, "{read:?}");
    }
}

#[test]
fn a_table_that_is_a_hole_is_not_read_and_its_blocks_are_holes() {
    // 16 TiB at 1 MiB: the table has 128 MiB, of which one sector is written.
    const TABLE: usize = 129 << 20;
    const BLOCK: u64 = 9_000_000;
    let craft = Craft {
        disk_size: 16 << 40,
        ..Craft::new(&[])
    };
    let mut bytes = craft.frame(crate::craft::BAT + TABLE + MIB);
    let payload = (crate::craft::BAT + TABLE) as u64;
    for (index, at) in crate::craft::REGIONS.into_iter().enumerate() {
        crate::craft::put32(&mut bytes, at + 16 + 24, TABLE as u32);
        crate::craft::seal_regions(&mut bytes, index);
    }
    let entry = craft.bat_entry(BLOCK);
    put64(&mut bytes, entry, payload | FULLY_PRESENT);
    bytes[payload as usize..].copy_from_slice(&noise(3, MIB));
    let sector = entry as u64 / 4096 * 4096;
    let source = Arc::new(Noted {
        bytes: MemorySource(bytes),
        holes: vec![crate::craft::BAT as u64..sector, sector + 4096..payload],
        reads: Mutex::default(),
    });
    let image = VhdxImage::open(source.clone()).unwrap();
    let found = extents(&image).unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!((found[1].start.0, found[1].len), (BLOCK << 20, 1 << 20));
    let table: u64 = source
        .reads
        .lock()
        .unwrap()
        .iter()
        .filter(|read| read.start >= crate::craft::BAT as u64)
        .map(|read| read.end - read.start)
        .sum();
    assert!(table <= 128 << 10, "{table} bytes of the table were read");
}

#[test]
fn vhdx_disks_conform() {
    for (sector_size, backwards, short) in [(512, false, 0), (4096, true, 4096)] {
        let made = Craft {
            sector_size,
            backwards,
            disk_size: (STATES.len() * MIB) as u64 - short,
            ..Craft::new(&STATES)
        }
        .make();
        testkit::conformance(&open(&made.bytes).unwrap(), &made.guest);
    }
}
