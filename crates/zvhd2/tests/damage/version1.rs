//! The first version of the format.

use diskimg::{DiskImage, ErrorKind, GuestOffset};
use testkit::vectors::vector;
use zvhd2::BLOCK_SIZE;

use crate::common::{BLOCK, open_v1};
use crate::support::{PAGE, corrupt, one, several};

#[test]
fn every_corrupt_byte_of_version_1_metadata_is_refused_or_harmless() {
    let vector = vector("tiny-v1").unwrap();
    let file = std::fs::read(vector.path()).unwrap();
    let mut guest = vec![0; vector.virtual_size as usize];
    vector.read_at(0, &mut guest);
    let last = file.len() - PAGE;
    for at in [0, last] {
        let (_, harmless) = corrupt(&file, &guest, at..at + 512, &several, true);
        assert_eq!(harmless, 0);
    }
    for at in [0x1000, 0x5000, 0x8000] {
        let (refused, _) = corrupt(&file, &guest, at..at + 16, &several, true);
        assert!(refused > 16 * 3);
        // Not the block's number: another one moves the block on the disk, and nothing in a file
        // of version 1 contradicts that, unless it breaks the order or leaves the disk.
        let (_, harmless) = corrupt(&file, &guest, at + 20..at + 48, &one, true);
        assert_eq!(harmless, 28);
    }
    for end in [0x5000, 0x8000, last] {
        let (_, harmless) = corrupt(&file, &guest, end - 4..end, &several, true);
        assert_eq!(harmless, 0);
    }
}

#[test]
fn truncated_version_1_says_how_many_blocks_are_whole() {
    let file = std::fs::read(vector("tiny-v1").unwrap().path()).unwrap();
    let ends = [0x5000, 0x8000, 0xb000];
    for len in (0..file.len()).step_by(512) {
        let result = open_v1(file[..len].to_vec());
        let error = match result {
            Err(error) => error,
            Ok(_) => panic!("{len} bytes were enough"),
        };
        assert_eq!(error.kind(), ErrorKind::Truncated, "{len}: {error}");
        let whole = ends.iter().filter(|end| **end <= len).count();
        if (PAGE..0xb000).contains(&len) {
            let expected = format!("{whole} data blocks are whole");
            assert!(error.to_string().contains(&expected), "{len}: {error}");
        }
    }
}

#[test]
fn version_1_stream_that_ends_or_breaks_early_is_an_error_every_time() {
    let mut file = std::fs::read(vector("tiny-v1").unwrap().path()).unwrap();
    file[0x5000 + 48 + 20] ^= 0xff;
    let image = open_v1(file).unwrap();
    let mut block = vec![0; BLOCK_SIZE];
    image.read_at(GuestOffset(0), &mut block).unwrap();
    for _ in 0..2 {
        let damaged = image.read_at(GuestOffset(BLOCK), &mut block).is_err();
        let after = image.read_at(GuestOffset(2 * BLOCK), &mut [0; 1]).is_err();
        assert!(damaged && after, "what follows damage cannot be right");
        image.read_at(GuestOffset(0), &mut block).unwrap();
    }
}
