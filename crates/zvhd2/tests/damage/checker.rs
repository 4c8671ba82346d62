//! What the checker finds beside what readers refuse.

use diskimg::{MAX_LISTED, MemorySource, Severity};
use zvhd2::BLOCK_SIZE;

use crate::common::{BLOCK, Crafted, check, open, read_all, seal, small};
use crate::support::{PAGE, block_at, parts};

#[test]
fn checker_names_what_readers_forgive() {
    let (file, guest) = small();
    let parts = parts(&file);
    let start = block_at(&file, 0);
    let mut forgiven: Vec<(&str, Vec<u8>)> = Vec::new();
    let mut add = |rule, change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = file.clone();
        change(&mut file);
        forgiven.push((rule, file));
    };
    add("footer-copy-checksum", &|file| file[parts.copy + 64] ^= 1);
    add("footer-copy-totals", &|file| {
        file[parts.copy + 136] ^= 1;
        seal(file, parts.copy);
    });
    add("footer-copy-fields", &|file| {
        file[parts.copy + 30] ^= 1;
        seal(file, parts.copy);
    });
    add("first-footer-totals", &|file| {
        file[136] = 2;
        seal(file, 0);
    });
    add("block-padding", &|file| file[start + 48 + 3300] = 1);
    add("block-reserved", &|file| file[start + 20] = 1);
    add("index-padding", &|file| file[parts.index + 32] = 1);
    add("reserved", &|file| file[parts.last + 600] = 1);
    add("footer-field", &|file| {
        file[parts.last + 56] ^= 1;
        seal(file, parts.last);
    });
    add("footers-agree", &|file| {
        file[parts.last + 24] ^= 1;
        seal(file, parts.last);
    });
    for (rule, file) in forgiven {
        let report = check(file.clone());
        assert!(report.is_sound(), "{rule}: {report:#?}");
        assert!(
            report.findings.iter().any(|v| v.rule == rule),
            "{rule}: {report:#?}"
        );
        assert!(
            read_all(&open(file).unwrap(), BLOCK_SIZE).unwrap() == guest,
            "{rule}"
        );
    }
}

#[test]
fn checker_names_blocks_that_should_not_be_there() {
    let pack = |content: &[u8]| zstd::bulk::compress(content, 1).unwrap();
    let mut beyond = vec![0; BLOCK_SIZE];
    beyond[..600].fill(1);
    let mut two_frames = pack(&vec![1; BLOCK_SIZE / 2]);
    two_frames.extend(pack(&vec![1; BLOCK_SIZE / 2]));
    let file = Crafted {
        block_size: 2 << 20,
        virtual_size: 2 * BLOCK + 512,
        zstd: true,
        full_index: false,
        payloads: vec![
            (0, pack(&vec![0; BLOCK_SIZE])),
            (1, two_frames),
            (2, pack(&beyond)),
        ],
        padding: 0,
    };
    let report = check(file.build());
    assert!(report.is_sound());
    for (rule, offset) in [
        ("zero-block", 4096),
        ("one-frame", 8192),
        ("beyond-end", 12288),
    ] {
        let found = report.findings.iter().find(|v| v.rule == rule).unwrap();
        assert_eq!(found.offset, Some(offset), "{rule}");
    }
}

#[test]
fn gaps_between_blocks_are_warnings() {
    let (file, guest) = small();
    let parts = parts(&file);
    // A page of nothing between the last block and the copy; everything after it moves.
    let mut gap = file[..parts.copy].to_vec();
    gap.resize(parts.copy + PAGE, 0);
    gap.extend_from_slice(&file[parts.copy..]);
    let last = gap.len() - PAGE;
    for at in [96, 104] {
        let lba = u64::from_le_bytes(gap[last + at..last + at + 8].try_into().unwrap());
        gap[last + at..last + at + 8].copy_from_slice(&(lba + PAGE as u64).to_le_bytes());
    }
    seal(&mut gap, last);
    let report = check(gap.clone());
    assert!(report.is_sound(), "{report:#?}");
    assert_eq!(report.findings[0].rule, "block-gap");
    assert!(read_all(&open(gap).unwrap(), BLOCK_SIZE).unwrap() == guest);
}

#[test]
fn check_stops_when_asked_and_says_so() {
    let (file, _) = small();
    let asked = std::cell::Cell::new(0);
    let report = zvhd2::check(&MemorySource(file), &|| {
        asked.set(asked.get() + 1);
        asked.get() == 2
    })
    .unwrap();
    assert!(report.cancelled && !report.is_sound());
    assert_eq!(asked.get(), 2);
}

#[test]
fn report_lists_a_bounded_number_and_counts_all() {
    let payload = zstd::bulk::compress(&vec![1; 1 << 20], 1).unwrap();
    let file = Crafted {
        block_size: 1 << 20,
        virtual_size: 700 << 20,
        zstd: true,
        full_index: false,
        payloads: (0..700).map(|number| (number, payload.clone())).collect(),
        padding: 0,
    };
    let mut file = file.build();
    // An error after all those warnings is still listed.
    let last_block = 4096 + 699 * 4096;
    file[last_block + 60] ^= 0xff;
    let report = check(file);
    assert!(report.warnings >= 699 && report.cut);
    assert_eq!(report.findings.len(), MAX_LISTED + 1);
    assert_eq!(report.errors, 1);
    assert_eq!(report.findings.last().unwrap().severity, Severity::Error);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["findings"][0]["severity"], "warning");
    assert_eq!(json["cancelled"], false);
}
