//! Every reader of this suite holds what every reader must hold.

use std::sync::Arc;

use diskimg::RawImage;
use diskimg::{FileSource, MemorySource, OpenOptions};
use tempfile::TempDir;
use testkit::conformance;
use testkit::content::Content;
use testkit::qemu;

use crate::craft::mixed;
use crate::{open_bytes, qcow2_subclusters};

#[test]
fn raw_disks_conform() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("disk.raw");
    let content = Content::new(11, (3 << 20) + 512, 512, 200 << 10);
    content.write_sparse(&path).unwrap();
    let sparse = RawImage::open(Arc::new(FileSource::open(&path).unwrap())).unwrap();
    conformance(&sparse, &content.bytes);

    // A length that is not a multiple of 512 is padded with zeros.
    let mut bytes = content.bytes[..70_001].to_vec();
    let odd = RawImage::open(Arc::new(MemorySource(bytes.clone()))).unwrap();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    conformance(&odd, &bytes);
}

#[test]
fn qcow2_images_conform() {
    for version in [2, 3] {
        for (bits, zstd) in [(9, false), (12, version == 3), (16, false)] {
            let image = mixed(version, bits, zstd);
            conformance(&open_bytes(&image.bytes).unwrap(), &image.guest);
        }
    }
}

#[test]
fn qcow2_images_with_subclusters_conform() {
    let (bytes, guest) = qcow2_subclusters::sample();
    conformance(&open_bytes(&bytes).unwrap(), &guest);
}

#[test]
fn qcow2_files_that_qemu_writes_conform() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let (raw, qcow2) = (dir.path().join("d.raw"), dir.path().join("d.qcow2"));
    let content = Content::new(12, 5 << 20, 512, 300 << 10);
    content.write_sparse(&raw).unwrap();
    for options in ["compression_type=zstd", "extended_l2=on", "compat=0.10"] {
        for flags in [&[][..], &["-c"]] {
            let mut args = vec!["convert", "-f", "raw", "-O", "qcow2", "-o", options];
            args.extend(flags);
            args.extend([raw.to_str().unwrap(), qcow2.to_str().unwrap()]);
            qemu::img(args);
            let opened = diskimg::open(&qcow2, &OpenOptions::default(), &[]).unwrap();
            conformance(opened.image.as_ref(), &content.bytes);
        }
    }
}
