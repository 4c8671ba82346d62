//! The output file appears complete or not at all, whatever happens.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{BLOCK, Fill, IDENTITY, MIB, TestDisk, child, names, plan};
use convert::{CancelToken, Error, Hint, OutputFile, Overwrite, Sink, Target, VoidMonitor};

fn refusal(result: Result<OutputFile, Error>) -> (String, Option<Hint>) {
    match result {
        Err(error @ Error::Refused { .. }) => (error.to_string(), error.hint()),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn output_appears_complete_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.zvhd2");
    let mut out = OutputFile::create(&path, Overwrite::Refuse).unwrap();
    out.write(b"first, ").unwrap();
    out.write(b"second").unwrap();
    let [name] = &names(directory.path())[..] else {
        panic!("not one file");
    };
    assert!(
        name.starts_with(".disk.zvhd2.imgferry-") && name.ends_with(".part"),
        "{name}"
    );
    out.commit().unwrap();
    assert_eq!(names(directory.path()), ["disk.zvhd2"]);
    assert_eq!(fs::read(&path).unwrap(), b"first, second");

    let dropped = directory.path().join("other");
    drop(OutputFile::create(&dropped, Overwrite::Refuse).unwrap());
    assert_eq!(names(directory.path()), ["disk.zvhd2"]);
}

#[test]
fn an_existing_file_is_refused_at_once_and_replaced_only_on_request() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    fs::write(&path, "old").unwrap();
    let (message, hint) = refusal(OutputFile::create(&path, Overwrite::Refuse));
    assert!(message.ends_with("disk exists"), "{message}");
    assert!(hint == Some(Hint::Replace));

    let mut out = OutputFile::create(&path, Overwrite::Replace).unwrap();
    out.write(b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    out.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
}

#[test]
fn a_file_that_appears_meanwhile_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    let mut out = OutputFile::create(&path, Overwrite::Refuse).unwrap();
    out.write(b"ours").unwrap();
    fs::write(&path, "somebody else's").unwrap();
    let error = out.commit().unwrap_err();
    assert!(
        matches!(error.hint(), Some(Hint::MoveOrReplace(_))),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), b"somebody else's");
    let Error::Unnamed { kept, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(fs::read(kept).unwrap(), b"ours", "the work is not lost");
    assert!(
        error
            .hint()
            .unwrap()
            .to_string()
            .contains(kept.to_str().unwrap())
    );
}

#[test]
fn the_source_itself_is_refused_under_every_name() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("disk.raw");
    fs::write(&source, "content").unwrap();
    let link = directory.path().join("symbolic");
    symlink(&source, &link).unwrap();
    let hard = directory.path().join("hard");
    fs::hard_link(&source, &hard).unwrap();
    let dotted = directory.path().join(".").join("disk.raw");
    for target in [&source, &link, &hard, &dotted] {
        let (message, _) = refusal(OutputFile::create_from(
            &[&source],
            target,
            Overwrite::Replace,
        ));
        assert!(message.contains("is the source image itself"), "{message}");
    }
    // And the link as the source.
    refusal(OutputFile::create_from(
        &[&link],
        &source,
        Overwrite::Replace,
    ));
    assert_eq!(fs::read(&source).unwrap(), b"content");

    let other = directory.path().join("other");
    OutputFile::create_from(&[&link, &source], &other, Overwrite::Refuse).unwrap();
}

#[test]
fn a_link_is_followed_and_stays_a_link() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("file");
    fs::write(&file, "old").unwrap();
    let link = directory.path().join("link");
    symlink(&file, &link).unwrap();
    let mut out = OutputFile::create(&link, Overwrite::Replace).unwrap();
    out.write(b"new").unwrap();
    out.commit().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read(&file).unwrap(), b"new");

    let dangling = directory.path().join("dangling");
    symlink("nowhere", &dangling).unwrap();
    for overwrite in [Overwrite::Refuse, Overwrite::Replace] {
        let (message, hint) = refusal(OutputFile::create(&dangling, overwrite));
        assert!(message.contains("does not exist"), "{message}");
        assert!(hint.is_some());
    }
}

#[test]
fn what_is_no_regular_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for target in [directory.path(), Path::new("/dev/null"), Path::new("/")] {
        for overwrite in [Overwrite::Refuse, Overwrite::Replace] {
            let (message, hint) = refusal(OutputFile::create(target, overwrite));
            assert!(message.contains(" is "), "{message}");
            assert!(
                hint.is_some_and(|hint| {
                    !matches!(hint, Hint::Replace | Hint::MoveOrReplace(_))
                })
            );
        }
    }
    assert!(fs::metadata("/dev/null").is_ok_and(|found| !found.is_file()));
}

#[test]
fn a_missing_directory_is_named_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("missing/disk");
    let error = OutputFile::create(&path, Overwrite::Refuse).unwrap_err();
    assert!(matches!(error, Error::Output { .. }), "{error:?}");
    assert!(error.to_string().contains("missing/disk"), "{error}");
}

#[test]
fn long_names_and_names_without_a_directory_work() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("n".repeat(255));
    OutputFile::create(&path, Overwrite::Refuse)
        .unwrap()
        .commit()
        .unwrap();
    assert!(path.exists());

    let output = child("bare_name_child", &[])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(directory.path().join("bare").exists());
}

#[test]
#[ignore = "run by long_names_and_names_without_a_directory_work as a child process"]
fn bare_name_child() {
    if !common::is_child() {
        return;
    }
    OutputFile::create(Path::new("bare"), Overwrite::Refuse)
        .unwrap()
        .commit()
        .unwrap();
}

#[test]
fn permissions_are_those_of_any_new_file() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, plain) = (
        directory.path().join("ours"),
        directory.path().join("plain"),
    );
    fs::write(&plain, "").unwrap();
    OutputFile::create(&ours, Overwrite::Refuse)
        .unwrap()
        .commit()
        .unwrap();
    let mode = |path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&ours), mode(&plain));
}

#[test]
fn more_than_the_disk_has_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let out = OutputFile::create(&directory.path().join("disk"), Overwrite::Refuse).unwrap();
    out.require_space(1).unwrap();
    let error = out.require_space(u64::MAX).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("are free"), "{error}");
}

/// A conversion that never ends by itself, into the path that the environment names.
#[test]
#[ignore = "run by a_killed_run_leaves_the_target_as_it_was as a child process"]
fn endless_child() {
    if !common::is_child() {
        return;
    }
    let target = PathBuf::from(std::env::var_os("TARGET").unwrap());
    let raw = std::env::var_os("RAW").is_some();
    let disk = TestDisk::new(&[(1 << 40, Fill::Random(1))]).with_hook(|at| {
        if at / BLOCK > 8 {
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    });
    let cancel = CancelToken::new();
    let mut out = OutputFile::create(&target, Overwrite::Replace).unwrap();
    if raw {
        let plan = plan(&disk, Target::Raw, 2);
        convert::to_raw(&disk, &plan, &out, &VoidMonitor, &cancel).unwrap();
    } else {
        let plan = plan(&disk, Target::Zvhd2, 2);
        convert::to_zvhd2(&disk, &plan, IDENTITY, &mut out, &VoidMonitor, &cancel).unwrap();
    }
    out.commit().unwrap();
}

#[test]
fn a_killed_run_leaves_the_target_as_it_was() {
    for (raw, before) in [
        (false, None),
        (true, None),
        (false, Some("old")),
        (true, Some("old")),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("disk");
        if let Some(content) = before {
            fs::write(&target, content).unwrap();
        }
        let mut values = vec![("TARGET", target.as_os_str())];
        if raw {
            values.push(("RAW", OsStr::new("1")));
        }
        let mut running = child("endless_child", &values)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Killed in the middle of writing.
        let start = Instant::now();
        let written = || {
            names(directory.path())
                .iter()
                .filter(|name| name.ends_with(".part"))
                .map(|name| fs::metadata(directory.path().join(name)).unwrap().blocks() * 512)
                .sum::<u64>()
        };
        while written() < 4 * MIB && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        running.kill().unwrap();
        running.wait().unwrap();
        assert!(written() >= 4 * MIB, "nothing was written before the kill");
        assert_eq!(fs::read_to_string(&target).ok().as_deref(), before);
    }
}

/// Writes more than fits into the directory that the environment names.
#[test]
#[ignore = "run by a_full_disk_is_a_clear_error_and_leaves_no_file as a child process"]
fn full_disk_child() {
    if !common::is_child() {
        return;
    }
    let directory = PathBuf::from(std::env::var_os("DIRECTORY").unwrap());
    fs::write(directory.join("disk"), "precious").unwrap();
    let disk = TestDisk::random(10);
    let cancel = CancelToken::new();
    for target in Target::ALL {
        let plan = plan(&disk, target, 2);
        let mut out = OutputFile::create(&directory.join("disk"), Overwrite::Replace).unwrap();
        let error = match target {
            Target::Raw => convert::to_raw(&disk, &plan, &out, &VoidMonitor, &cancel),
            Target::Zvhd2 => {
                convert::to_zvhd2(&disk, &plan, IDENTITY, &mut out, &VoidMonitor, &cancel)
            }
        }
        .unwrap_err();
        assert!(
            error.to_string().ends_with("disk: writing failed"),
            "{error}"
        );
        assert!(error.hint().unwrap().to_string().contains("make room"));
        if target == Target::Raw {
            let refused = out.require_space(plan.least_output_bytes()).unwrap_err();
            assert!(
                refused.to_string().contains("20 MiB are needed"),
                "{refused}"
            );
        }
        drop(out);
        assert_eq!(names(&directory), ["disk"]);
        assert_eq!(fs::read(directory.join("disk")).unwrap(), b"precious");
    }
}

#[test]
fn a_full_disk_is_a_clear_error_and_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    // A small disk of its own, in a mount namespace of its own.
    let run = child("full_disk_child", &[]);
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c"])
        .arg("mount -t tmpfs -o size=8m tmpfs \"$0\" || exit 77; exec \"$@\"")
        .arg(directory.path())
        .arg(run.get_program())
        .args(run.get_args())
        .envs(
            run.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("DIRECTORY", directory.path())
        .output();
    match output {
        Ok(output) if output.status.code() == Some(77) => {
            println!("skipped: no file system can be mounted here");
        }
        Err(_) => println!("skipped: unshare is not installed"),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            if text.contains("unshare failed") {
                println!("skipped: {text}");
                return;
            }
            assert!(output.status.success(), "{text}");
        }
    }
}
