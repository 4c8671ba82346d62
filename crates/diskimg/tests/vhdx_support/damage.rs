//! Damaged files: refused, or read right; never a crash, a hang or other bytes than the file's.

use std::sync::Arc;
use std::time::Duration;

use diskimg::VhdxImage;
use diskimg::{DiskImage, GuestOffset, MemorySource, Result};
use proptest::prelude::*;

use crate::craft::{
    BAT, Craft, Entry, FULLY_PRESENT, HEADERS, LOG, LOG_GUID, METADATA, MIB, Made, NOT_PRESENT,
    PAYLOAD, REGIONS, Write, ZERO, item_at, log, mark_dirty, noise, seal, seal_header,
    seal_regions,
};
use crate::{assert_gaps_are_zero, extents, open, read_all};
use testkit::measure::cpu_time;

/// A clean disk, and one with a log to replay that says what the file says already.
fn disks() -> [Made; 2] {
    let clean = || Craft::new(&[FULLY_PRESENT, NOT_PRESENT, ZERO, FULLY_PRESENT]).make();
    let mut dirty = clean();
    let bat = dirty.bytes[BAT..BAT + 4096].to_vec();
    dirty.bytes[BAT..BAT + 4096].fill(0);
    let writes = vec![
        Write::Data(BAT as u64, bat),
        Write::Zeros(PAYLOAD as u64 + 4096, 8192),
        Write::Data(PAYLOAD as u64, noise(5, 4096)),
    ];
    dirty.guest[4096..12_288].fill(0);
    dirty.guest[..4096].copy_from_slice(&noise(5, 4096));
    let entry = Entry::new(3, 0, dirty.bytes.len(), writes);
    log(&mut dirty.bytes, 0, &entry.bytes());
    // Both headers, so that it does not matter which one is damaged.
    mark_dirty(&mut dirty.bytes, LOG_GUID);
    dirty.bytes[HEADERS[0] + 48..HEADERS[0] + 64].copy_from_slice(&LOG_GUID);
    seal_header(&mut dirty.bytes, 0);
    [clean(), dirty]
}

fn reseal(bytes: &mut [u8], dirty: bool) {
    for index in [0, 1] {
        seal_header(bytes, index);
        seal_regions(bytes, index);
    }
    if dirty {
        seal(bytes, LOG..LOG + 3 * 4096);
    }
}

/// Opens a damaged file, walks all of it and reads both ends; consistent answers or errors.
fn exercise(source: Arc<MemorySource>) -> Result<(VhdxImage, u64)> {
    let image = VhdxImage::open(source)?;
    let size = image.virtual_size();
    // A table may say that the disk is large: looked at by extents, not by bytes.
    let walked = extents(&image);
    let len = size.min(2 * MIB as u64) as usize;
    let mut read = vec![1; len];
    let mut again = vec![2; len];
    for at in [0, size - len as u64] {
        let first = image.read_at(GuestOffset(at), &mut read);
        let second = image.read_at(GuestOffset(at), &mut again);
        assert_eq!(first.is_ok(), second.is_ok());
        assert!(first.is_err() || read == again);
    }
    if let Ok(walked) = &walked
        && size <= 16 << 20
        && let Ok(content) = read_all(&image, MIB)
    {
        assert_gaps_are_zero(walked, &content);
    }
    walked?;
    Ok((image, size))
}

/// Offset and size of each field of each structure that is read.
fn fields(dirty: bool) -> Vec<(usize, usize)> {
    let mut fields = Vec::new();
    for at in HEADERS {
        let field = [
            (0, 4),
            (4, 4),
            (8, 8),
            (48, 8),
            (64, 2),
            (66, 2),
            (68, 4),
            (72, 8),
        ];
        fields.extend(field.map(|(field, len)| (at + field, len)));
    }
    for at in REGIONS {
        fields.extend([(0, 4), (4, 4), (8, 4), (12, 4)].map(|(field, len)| (at + field, len)));
        for entry in [at + 16, at + 48] {
            let field = [(0, 8), (8, 8), (16, 8), (24, 4), (28, 4)];
            fields.extend(field.map(|(field, len)| (entry + field, len)));
        }
    }
    fields.extend([(METADATA, 8), (METADATA + 8, 2), (METADATA + 10, 2)]);
    for index in 0..5 {
        let entry = METADATA + 32 + index * 32;
        let field = [(0, 8), (8, 8), (16, 4), (20, 4), (24, 4), (28, 4)];
        fields.extend(field.map(|(field, len)| (entry + field, len)));
    }
    for (index, len) in [4, 8, 8, 4, 4].into_iter().enumerate() {
        fields.push((item_at(index), len));
    }
    fields.push((item_at(0) + 4, 4));
    if dirty {
        let entry = [
            (0, 4),
            (4, 4),
            (8, 4),
            (12, 4),
            (16, 8),
            (24, 4),
            (32, 8),
            (48, 8),
            (56, 8),
        ];
        fields.extend(entry.map(|(field, len)| (LOG + field, len)));
        for index in 0..3 {
            let at = LOG + 64 + index * 32;
            fields.extend([(0, 4), (8, 8), (16, 8), (24, 8)].map(|(field, len)| (at + field, len)));
        }
        for at in [LOG + 4096, LOG + 8192] {
            fields.extend([(0, 4), (4, 4), (4092, 4)].map(|(field, len)| (at + field, len)));
        }
        // The BAT that is replayed stands in the descriptor and the data sector.
        fields.extend([(LOG + 64 + 8, 8), (LOG + 4096 + 8, 8), (LOG + 4096 + 16, 8)]);
    } else {
        fields.extend((0..4).map(|index| (BAT + index * 8, 8)));
    }
    fields
}

#[test]
fn every_field_set_to_every_awkward_value_is_refused_or_read_right() {
    for (dirty, made) in disks().into_iter().enumerate() {
        let dirty = dirty == 1;
        let file_len = made.bytes.len() as u64;
        assert!(read_all(&open(&made.bytes).unwrap(), MIB).unwrap() == made.guest);
        let mut source = Arc::new(MemorySource(made.bytes.clone()));
        for (at, len) in fields(dirty) {
            let mut stored = [0; 8];
            stored[..len].copy_from_slice(&made.bytes[at..at + len]);
            let found = u64::from_le_bytes(stored);
            for value in [
                0,
                1,
                u64::MAX,
                u64::MAX / 2,
                found.wrapping_add(1),
                found.wrapping_sub(1),
                found ^ (1 << 20),
                file_len,
                file_len - 1,
                file_len + (1 << 20),
                file_len | FULLY_PRESENT,
                !0xfffff | FULLY_PRESENT,
            ] {
                for sealed in [false, true] {
                    let bytes = &mut Arc::get_mut(&mut source).unwrap().0;
                    bytes[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
                    if sealed {
                        reseal(bytes, dirty);
                    }
                    let started = cpu_time();
                    let what = format!("{dirty} {at:#x} {value:#x} {sealed}");
                    if let Ok((image, size)) = exercise(Arc::clone(&source)) {
                        assert!(image.memory_bound(2) < 64 << 20, "{what}");
                        // Whether the table says something else depends on the field.
                        let moved = at >= LOG || (64 << 10..320 << 10).contains(&at) && sealed;
                        if !moved && size == made.guest.len() as u64 {
                            assert!(read_all(&image, MIB).unwrap() == made.guest, "{what}");
                        }
                    }
                    assert!((cpu_time() - started) < Duration::from_secs(2), "{what}");
                    let bytes = &mut Arc::get_mut(&mut source).unwrap().0;
                    bytes[at..at + len].copy_from_slice(&stored[..len]);
                    reseal(bytes, dirty);
                }
            }
        }
    }
}

#[test]
fn files_cut_off_anywhere_are_refused_or_give_the_bytes_that_are_there() {
    for made in disks() {
        let full = made.bytes.len();
        let cuts = (0..full)
            .step_by(256 << 10)
            .chain([full - 1, full - 4096, PAYLOAD + 1]);
        for cut in cuts {
            let Ok(image) = open(&made.bytes[..cut]) else {
                continue;
            };
            for at in (0..made.guest.len()).step_by(64 << 10) {
                let mut found = vec![0; 64 << 10];
                if image.read_at(GuestOffset(at as u64), &mut found).is_ok() {
                    assert!(
                        found == made.guest[at..at + found.len()],
                        "{cut:#x} {at:#x}"
                    );
                }
            }
            let whole = read_all(&image, MIB);
            assert!(whole.is_err(), "a file cut at {cut:#x} was read to its end");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn random_damage_never_panics_or_hangs(
        dirty in any::<bool>(),
        sealed in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let [clean, logged] = disks();
        let mut bytes = if dirty { logged.bytes } else { clean.bytes };
        let fields = fields(dirty);
        for (field, byte, value) in damage {
            let (at, len) = fields[field.index(fields.len())];
            bytes[at + byte.index(len)] = value;
        }
        if sealed {
            reseal(&mut bytes, dirty);
        }
        let started = cpu_time();
        let _ = exercise(Arc::new(MemorySource(bytes)));
        prop_assert!((cpu_time() - started) < Duration::from_secs(2));
    }
}
