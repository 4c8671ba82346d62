//! Sources that fail: the error comes out, and never data in its place.

use std::fs::OpenOptions as FileOptions;

use diskimg::{DiskImageExt, ErrorKind, GuestOffset, OpenOptions};
use tempfile::NamedTempFile;

use crate::craft::mixed;
use crate::sources::{Failing, Recorded};
use crate::{assert_same, extents, open_source, read_all, refused};

#[test]
fn an_io_error_at_any_read_surfaces() {
    for (bits, zstd) in [(9, false), (12, true)] {
        let image = mixed(3, bits, zstd);
        let source = Recorded::new(&image.bytes);
        let opened = open_source(source.clone()).unwrap();
        extents(&opened).unwrap();
        read_all(&opened, 5000).unwrap();
        let reads = source.take().len();
        assert!(reads > 20);
        let survey = |at, forever| {
            let opened = open_source(Failing::new(&image.bytes, at, forever))?;
            opened.all_extents().collect::<Result<Vec<_>, _>>()?;
            read_all(&opened, 5000)
        };
        for at in 0..reads {
            let error = refused(survey(at, true));
            assert_eq!(error.kind(), ErrorKind::Io, "read {at}: {error}");
            // An extent may end before a table that cannot be read; it is tried again then.
            if let Ok(found) = survey(at, false) {
                assert_same(&found, &image.guest, "tried again");
            }
        }
    }
}

#[test]
fn after_a_failed_read_the_image_still_reads_right() {
    let image = mixed(3, 9, false);
    let source = Recorded::new(&image.bytes);
    open_source(source.clone()).unwrap();
    let opening = source.take().len();
    for at in opening..opening + 40 {
        let opened = open_source(Failing::new(&image.bytes, at, false)).unwrap();
        let mut failed = 0;
        for _ in 0..3 {
            match read_all(&opened, 3000) {
                Ok(found) => assert_same(&found, &image.guest, "afterwards"),
                Err(_) => failed += 1,
            }
        }
        assert_eq!(failed, 1, "read {at}");
    }
}

#[test]
fn a_file_that_becomes_shorter_is_an_error_not_a_hole() {
    for raw in [true, false] {
        let image = mixed(3, 12, false);
        let bytes = if raw { &image.guest } else { &image.bytes };
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let options = OpenOptions::of(raw.then_some(diskimg::Format::Raw));
        let opened = diskimg::open(file.path(), &options, &[]).unwrap().image;
        FileOptions::new()
            .write(true)
            .open(file.path())
            .unwrap()
            .set_len(32 << 10)
            .unwrap();
        let cluster = GuestOffset(60 * 4096);
        for error in [
            refused(opened.extent_at(cluster, 512)),
            refused(opened.read_at(cluster, &mut [0; 512])),
        ] {
            assert_eq!(error.kind(), ErrorKind::Truncated, "{error}");
            assert!(
                error
                    .hint()
                    .is_some_and(|hint| hint.to_string().contains("in use"))
            );
            assert!(error.to_string().starts_with(file.path().to_str().unwrap()));
        }
    }
}
