//! Every kind of qcow2 that qemu-img makes, through the binary to ZVHD2 and to raw: the content is
//! that of `qemu-img convert -O raw`, whatever lies between.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{Run, command, json_of};
use testkit::content::Content;
use testkit::qemu;

/// A disk of 9 MiB and a bit, with data, written zeros and holes.
const LEN: usize = (9 << 20) + 512 * 3;

fn run(arguments: &[&OsStr]) -> Run {
    command().args(arguments).output().unwrap().into()
}

#[track_caller]
fn digest(image: &Path) -> String {
    let run = run(&["digest".as_ref(), "--json".as_ref(), image.as_os_str()]);
    run.success();
    json_of(&run)["digest"].as_str().unwrap().to_owned()
}

/// Makes `image` of `raw` with `-o options`, compressed or not.
fn make(raw: &Path, image: &Path, options: &str, compressed: bool) {
    let mut arguments = vec!["convert", "-f", "raw", "-O", "qcow2", "-o", options];
    if compressed {
        arguments.push("-c");
    }
    let arguments = arguments.into_iter().map(OsStr::new);
    qemu::img(arguments.chain([raw.as_os_str(), image.as_os_str()]));
}

/// Takes `image` to ZVHD2 and to raw, and holds both against what qemu-img reads from it.
#[track_caller]
fn check(dir: &Path, image: &Path, what: &str) {
    let expected = qemu::content(image);
    let reference = dir.join("reference.raw");
    fs::write(&reference, &expected).unwrap();
    let (zvhd2, raw) = (dir.join("out.zvhd2"), dir.join("out.raw"));
    for out in [&zvhd2, &raw] {
        run(&[
            "convert".as_ref(),
            "--force".as_ref(),
            image.as_os_str(),
            out.as_os_str(),
        ])
        .success();
    }
    assert!(fs::read(&raw).unwrap() == expected, "{what}: raw differs");
    assert_eq!(digest(&zvhd2), digest(&reference), "{what}: ZVHD2 differs");
}

#[test]
fn qcow2_of_every_version_cluster_size_and_compression_converts_to_the_same_disk() {
    if qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let raw = dir.join("content.raw");
    Content::new(7, LEN, 512, 1 << 20)
        .write_sparse(&raw)
        .unwrap();
    let image = dir.join("image.qcow2");
    for bits in 9..=21 {
        let size = 1 << bits;
        for (options, compressed) in [
            (format!("compat=0.10,cluster_size={size}"), bits % 2 == 0),
            (format!("compat=1.1,cluster_size={size}"), false),
            (
                format!("compat=1.1,cluster_size={size},compression_type=zlib"),
                true,
            ),
            (
                format!("compat=1.1,cluster_size={size},compression_type=zstd"),
                true,
            ),
        ] {
            make(&raw, &image, &options, compressed);
            check(dir, &image, &options);
        }
    }
}

#[test]
fn preallocated_empty_and_zeroed_qcow2_convert_to_the_same_disk() {
    if qemu::missing() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let image: PathBuf = dir.join("image.qcow2");
    for preallocation in ["off", "metadata", "falloc", "full"] {
        let options = format!("preallocation={preallocation}");
        qemu::img([
            "create".as_ref(),
            "-q".as_ref(),
            "-f".as_ref(),
            "qcow2".as_ref(),
            "-o".as_ref(),
            OsStr::new(&options),
            image.as_os_str(),
            "24M".as_ref(),
        ]);
        check(dir, &image, &options);
        qemu::io(
            &image,
            "qcow2",
            &[
                "write -P 0xaa 1000k 3M",
                "write -z 2M 1M",
                "write -P 0 8M 2M",
                "write -P 0x55 23M 1M",
                "discard 3M 512k",
            ],
        );
        check(dir, &image, &format!("{options}, written"));
    }
}
