//! Layers read as one disk, as QEMU reads them.

use std::path::Path;

use diskimg::{
    BackingPolicy, DiskImageExt, ErrorKind, ExtentKind, Format, GuestOffset, Hint, OpenOptions,
};
use tempfile::TempDir;
use testkit::qemu;

use crate::craft::{self, Cluster, Craft};
use crate::{assert_error, inside, open_inside, overlay, plain, refused};

/// Opens `top` and holds it against what QEMU reads.
#[track_caller]
fn assert_as_qemu(top: &Path, dir: &Path) -> diskimg::Opened {
    let opened = open_inside(top, dir).unwrap();
    testkit::conformance(opened.image.as_ref(), &qemu::content(top));
    opened
}

/// Three layers with data, zeros and nothing on each other, cut at different places.
fn three_layers(dir: &Path, options: &[&str]) -> std::path::PathBuf {
    let base = dir.join("base.raw");
    qemu::img(["create", "-q", "-f", "raw", base.to_str().unwrap(), "6M"]);
    qemu::io(&base, "raw", &["write -P 1 0 2M", "write -P 2 3M 700k"]);
    let middle = dir.join("middle.qcow2");
    overlay(&middle, ("base.raw", "raw"), options, Some("6M"));
    qemu::io(
        &middle,
        "qcow2",
        &[
            "write -P 3 1000k 300k",
            "write -z 3200k 256k",
            "write -P 4 5M 64k",
        ],
    );
    let top = dir.join("top.qcow2");
    overlay(&top, ("middle.qcow2", "qcow2"), options, Some("6M"));
    qemu::io(
        &top,
        "qcow2",
        &[
            "write -P 5 1100k 10k",
            "write -z 0 128k",
            "write -P 6 4M 3k",
        ],
    );
    top
}

#[test]
fn a_chain_of_three_reads_as_qemu_reads_it_whatever_the_clusters() {
    if qemu::missing() {
        return;
    }
    for options in [
        &[][..],
        &["cluster_size=512"],
        &["cluster_size=2M"],
        &["extended_l2=on"],
        &["compat=0.10"],
    ] {
        let dir = TempDir::new().unwrap();
        let top = three_layers(dir.path(), options);
        let opened = assert_as_qemu(&top, dir.path());
        let files = opened.image.details().refers_to;
        let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["middle.qcow2", "base.raw"]);
        assert_eq!(files[1].format.as_deref(), Some("raw"));
    }
}

#[test]
fn a_hole_is_where_no_layer_holds_anything() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let top = three_layers(dir.path(), &[]);
    let opened = open_inside(&top, dir.path()).unwrap();
    let mut extents = Vec::new();
    for extent in opened.image.all_extents() {
        let extent = extent.unwrap();
        extents.push((extent.start.0 >> 10, extent.len >> 10, extent.kind));
    }
    use ExtentKind::{Data, Hole, Zero};
    assert_eq!(
        extents,
        [
            (0, 128, Zero),
            // All three layers, in turn.
            (128, 1920, Data),
            (2048, 1024, Hole),
            (3072, 128, Data),
            (3200, 256, Zero),
            (3456, 316, Data),
            (3772, 324, Hole),
            (4096, 64, Data),
            (4160, 960, Hole),
            (5120, 64, Data),
            (5184, 960, Hole),
        ]
    );
}

#[test]
fn layers_of_different_sizes_read_as_zeros_beyond_the_lower_ones_end() {
    if qemu::missing() {
        return;
    }
    for (base_size, top_size) in [("3M", "5M"), ("5M", "3M"), ("1000001", "2M")] {
        let dir = TempDir::new().unwrap();
        let base = dir.path().join("base.raw");
        let base_text = base.to_str().unwrap();
        qemu::img(["create", "-q", "-f", "raw", base_text, "1M"]);
        let len = match base_size {
            "3M" => 3 << 20,
            "5M" => 5 << 20,
            odd => odd.parse().unwrap(),
        };
        std::fs::write(&base, vec![7; len]).unwrap();
        let top = dir.path().join("top.qcow2");
        overlay(&top, ("base.raw", "raw"), &[], Some(top_size));
        qemu::io(&top, "qcow2", &["write -P 9 100k 10k"]);
        assert_as_qemu(&top, dir.path());
    }
}

#[test]
fn every_format_can_lie_below_and_is_what_it_is_declared_to_be() {
    if qemu::missing() {
        return;
    }
    for (format, name) in [("vpc", "base.vhd"), ("vhdx", "base.vhdx"), ("raw", "base")] {
        let dir = TempDir::new().unwrap();
        let base = dir.path().join(name);
        qemu::img(["create", "-q", "-f", format, base.to_str().unwrap(), "8M"]);
        qemu::io(&base, format, &["write -P 1 1M 3M"]);
        let top = dir.path().join("top.qcow2");
        overlay(&top, (name, format), &[], Some("8M"));
        qemu::io(&top, "qcow2", &["write -P 2 2M 100k"]);
        assert_as_qemu(&top, dir.path());
    }
    // A qcow2 image that is declared to be raw is raw: its header is what the guest sees.
    let dir = TempDir::new().unwrap();
    plain(&dir.path().join("base.qcow2"), "1M");
    let top = dir.path().join("top.qcow2");
    overlay(&top, ("base.qcow2", "raw"), &[], Some("1M"));
    let opened = assert_as_qemu(&top, dir.path());
    let mut start = [0; 4];
    opened.image.read_at(GuestOffset(0), &mut start).unwrap();
    assert_eq!(&start, b"QFI\xfb");
}

#[test]
fn an_external_data_file_holds_the_clusters() {
    if qemu::missing() {
        return;
    }
    for raw in [
        "data_file_raw=off",
        "data_file_raw=on",
        "data_file_raw=off,extended_l2=on",
    ] {
        let dir = TempDir::new().unwrap();
        let top = dir.path().join("top.qcow2");
        let data = dir.path().join("data.raw");
        let file = format!("data_file={},{raw}", data.display());
        let top_text = top.to_str().unwrap();
        qemu::img(["create", "-q", "-f", "qcow2", "-o", &file, top_text, "4M"]);
        qemu::io(
            &top,
            "qcow2",
            &["write -P 1 0 64k", "write -P 2 2M 1M", "write -z 0 4k"],
        );
        let opened = assert_as_qemu(&top, dir.path());
        assert_eq!(opened.image.details().refers_to[0].role, "data file");

        let error = refused(diskimg::open(&top, &OpenOptions::default(), &[]));
        assert_error(
            &error,
            ErrorKind::Unsupported,
            &["external data file", "data.raw"],
        );
        assert!(matches!(error.hint(), Some(Hint::AllowBacking { .. })));
        // Nothing of it is missing silently.
        std::fs::OpenOptions::new()
            .write(true)
            .open(&data)
            .and_then(|file| file.set_len(2 << 20))
            .unwrap();
        let opened = open_inside(&top, dir.path()).unwrap();
        let error = refused(opened.image.read_at(GuestOffset(2 << 20), &mut [0; 512]));
        assert_eq!(error.kind(), ErrorKind::Truncated);
    }
}

#[test]
fn a_snapshot_of_an_overlay_reads_through_to_its_backing_file() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let top = three_layers(dir.path(), &[]);
    let before = qemu::content(&top);
    qemu::img(["snapshot", "-c", "before", top.to_str().unwrap()]);
    qemu::io(&top, "qcow2", &["write -P 8 0 6M"]);
    let options = OpenOptions {
        snapshot: Some("before".to_owned()),
        ..inside(dir.path())
    };
    let opened = diskimg::open(&top, &options, &[]).unwrap();
    testkit::conformance(opened.image.as_ref(), &before);
}

#[test]
fn a_described_image_names_its_files_and_reads_none_of_them() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let top = three_layers(dir.path(), &[]);
    std::fs::remove_file(dir.path().join("middle.qcow2")).unwrap();
    let options = OpenOptions {
        backing: BackingPolicy::Describe,
        ..OpenOptions::default()
    };
    let image = diskimg::open(&top, &options, &[]).unwrap().image;
    let details = image.details();
    assert_eq!(details.format, Format::Qcow2);
    assert_eq!(details.refers_to[0].role, "backing file");
    assert_eq!(details.refers_to[0].name, "middle.qcow2");
    // Its own data can be read; what is elsewhere is neither zero nor data.
    let mut own = [0; 3072];
    image.read_at(GuestOffset(4 << 20), &mut own).unwrap();
    assert_eq!(own, [6; 3072]);
    let extent = image.extent_at(GuestOffset(2 << 20), 512).unwrap();
    assert_eq!(extent.kind, ExtentKind::Elsewhere);
    let error = refused(image.read_at(GuestOffset(2 << 20), &mut [0; 512]));
    assert_error(
        &error,
        ErrorKind::Unsupported,
        &["middle.qcow2", "not opened"],
    );
}

#[test]
fn memory_of_all_layers_is_in_the_bound() {
    if qemu::missing() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let top = three_layers(dir.path(), &[]);
    let bound = |name: &str| {
        let opened = open_inside(&dir.path().join(name), dir.path()).unwrap();
        opened.image.memory_bound(4)
    };
    assert!(bound("top.qcow2") > bound("middle.qcow2"));
    drop(top);
}

#[test]
fn compressed_clusters_of_layers_that_take_turns_are_read() {
    let dir = TempDir::new().unwrap();
    let (bits, clusters) = (12, 96);
    let mut guest = vec![0; clusters << bits];
    // From the base up: each layer holds some clusters, packed, plain or as zeros, in its own way.
    for layer in 0..4_usize {
        let kinds = (0..clusters).map(|at| match (at * 7 + layer * 3) % 11 {
            0..=2 => Cluster::Packed(craft::text(bits, layer * 100 + at)),
            3 => Cluster::Plain(craft::noise(bits, layer * 100 + at)),
            4 => Cluster::Zero,
            _ => Cluster::Hole,
        });
        let made = Craft {
            zstd: layer % 2 == 1,
            ..Craft::new(3, bits, kinds.clone().collect())
        }
        .build();
        for (at, kind) in kinds.enumerate() {
            let range = at << bits..(at + 1) << bits;
            if !matches!(kind, Cluster::Hole) {
                guest[range.clone()].copy_from_slice(&made.guest[range]);
            }
        }
        let below = layer.checked_sub(1).map(|below| format!("{below}.qcow2"));
        let bytes = match below {
            Some(below) => craft::over(made.bytes, &below),
            None => made.bytes,
        };
        std::fs::write(dir.path().join(format!("{layer}.qcow2")), bytes).unwrap();
    }
    let opened = open_inside(&dir.path().join("3.qcow2"), dir.path()).unwrap();
    testkit::conformance(opened.image.as_ref(), &guest);
}
