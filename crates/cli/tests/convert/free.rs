//! Disks without their free space.

use std::fs;

use crate::common::free::{self, SWAP};
use crate::common::{imgferry, json_of, os_str};

#[test]
fn free_space_reads_as_zeros_and_everything_else_stays() {
    let dir = tempfile::tempdir().unwrap();
    let [source, raw, zvhd2] = ["disk.raw", "out.raw", "out.zvhd2"].map(|it| dir.path().join(it));
    let Some(before) = free::disk(dir.path(), &source) else {
        return;
    };
    let flag = "--discard-free".as_ref();
    let run = imgferry(&[
        "convert".as_ref(),
        flag,
        os_str(&source),
        os_str(&raw),
        "--json".as_ref(),
    ]);
    let told = &json_of(&run)["discarded"];
    let kinds: Vec<_> = told["volumes"].as_array().unwrap().iter().collect();
    assert_eq!(kinds.len(), 4, "{told:#}");
    assert_eq!(kinds[0]["kind"], "ext4");
    assert!(kinds[0]["stored"].as_u64().unwrap() > 25 << 20, "{told:#}");
    assert!(kinds[1]["kept"].as_str().unwrap().contains("not asked for"));
    assert_eq!(told["free_bytes"], told["stored_bytes"]);
    assert!(
        run.stderr.contains("of free space are left out"),
        "{}",
        run.stderr
    );
    let after = fs::read(&raw).unwrap();
    free::is_whole(dir.path(), &before, &after);
    assert!(before[SWAP] == after[SWAP], "the swap space");
    assert!(
        after[41 << 20..44 << 20].iter().all(|byte| *byte == 0),
        "the gap"
    );

    // The same by way of ZVHD2, and compared like with like.
    imgferry(&["convert".as_ref(), flag, os_str(&source), os_str(&zvhd2)]).success();
    imgferry(&["verify".as_ref(), os_str(&raw), os_str(&zvhd2)]).success();
    for image in [&raw, &zvhd2] {
        imgferry(&["verify".as_ref(), flag, os_str(&source), os_str(image)]).success();
        imgferry(&["verify".as_ref(), flag, os_str(image), os_str(&source)]).success();
        let differ = imgferry(&["verify".as_ref(), os_str(&source), os_str(image)]);
        assert_eq!(differ.code, Some(5), "{}", differ.stderr);
    }
}

#[test]
fn swap_space_goes_only_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let [source, raw] = ["disk.raw", "out.raw"].map(|it| dir.path().join(it));
    let Some(before) = free::disk(dir.path(), &source) else {
        return;
    };
    let mut arguments = vec!["convert".as_ref(), os_str(&source), os_str(&raw)];
    arguments.push("--discard-swap".as_ref());
    assert_eq!(imgferry(&arguments).code, Some(2));
    arguments.push("--discard-free".as_ref());
    imgferry(&arguments).success();
    let after = fs::read(&raw).unwrap();
    free::is_whole(dir.path(), &before, &after);
    assert!(after[SWAP][1 << 20..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_disk_that_is_read_front_to_back_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let packed = dir.path().join("disk.raw.gz");
    let mut gzip = std::process::Command::new("gzip");
    let content = std::process::Stdio::piped();
    let mut child = gzip
        .stdin(content)
        .stdout(fs::File::create(&packed).unwrap())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &[7; 1 << 20]).unwrap();
    child.wait().unwrap();
    let out = dir.path().join("out.raw");
    let refused = imgferry(&[
        "convert".as_ref(),
        "--discard-free".as_ref(),
        os_str(&packed),
        os_str(&out),
    ]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("front to back"),
        "{}",
        refused.stderr
    );
    assert!(!out.exists());
}
