//! An import as a library call, in a sandbox in this process.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use cloud::{Class, Session, SessionOptions, StopToken};
use convert::CancelToken;
use diskimg::OpenOptions;
use import::{
    Action, Activity, Context, Counting, GuestCheck, ImportSpec, Input, JobWatch, Observer,
    Reading, Silent, SourceDisk, Step, open_input,
};
use testkit::ova::Machine;

/// Content digest of `testdata/debian-tree.qcow2`, computed by another program.
const DIGEST: &str = "v1:30541ea70cba88766e6bd5932c3192d4cf5fdea4249209ec9663d2edb3767e97";

fn spec() -> ImportSpec {
    let disk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/debian-tree.qcow2");
    ImportSpec {
        os_version: Some("Debian GNU/Linux 12.0.0 64bit".into()),
        guest_check: GuestCheck::Off,
        ..ImportSpec::new(disk, "web01", "images")
    }
}

async fn sandbox() -> Session {
    let options = SessionOptions {
        buckets: vec!["images".into()],
        ..SessionOptions::default()
    };
    Session::local(None, options).await.unwrap()
}

/// Keeps steps and warnings.
#[derive(Default)]
struct Seen {
    steps: Mutex<Vec<Step>>,
    warnings: Mutex<Vec<String>>,
}

impl Observer for Seen {
    fn notice(&self, text: fmt::Arguments<'_>) {
        Silent.notice(text);
    }

    fn warn(&self, text: fmt::Arguments<'_>) {
        self.warnings.lock().unwrap().push(text.to_string());
    }

    fn count(&self, activity: Activity, total: u64) -> Arc<dyn Counting> {
        Silent.count(activity, total)
    }

    fn follow(&self) -> Box<dyn JobWatch> {
        Silent.follow()
    }

    fn at(&self, step: Step) {
        self.steps.lock().unwrap().push(step);
    }
}

fn open(path: &Path) -> Input {
    let reading = Reading {
        size: None,
        threads: None,
        observer: &Silent,
        cancel: &CancelToken::new(),
        force_share: false,
        ignore_manifest: false,
    };
    open_input(&SourceDisk::from(path), &OpenOptions::default(), reading).unwrap()
}

#[test]
fn every_chunk_of_a_disk_beside_its_descriptor_is_watched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vm.ovf");
    let file = "ovf:id=\"file0\"";
    let descriptor = Machine::new("vm", &[("vm-disk1.img", 8192)]).descriptor();
    let chunked = descriptor.replace(file, &format!("{file} ovf:chunkSize=\"4096\""));
    fs::write(&path, chunked).unwrap();
    let chunks = [0, 1].map(|number| dir.path().join(format!("vm-disk1.img.{number:09}")));
    for chunk in &chunks {
        fs::write(chunk, [1; 4096]).unwrap();
    }
    for chunk in &chunks {
        let input = open(&path);
        input.watch.unchanged().unwrap();
        fs::write(chunk, [2; 4096]).unwrap();
        let failure = input.watch.unchanged().err().unwrap();
        let told = format!("{} changed while it was read", chunk.display());
        assert!(failure.message().contains(&told), "{failure}");
    }
}

#[test]
fn a_disk_that_a_vmware_program_has_locked_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("web.vmdk");
    fs::write(&path, testkit::vmdk::Craft::sparse(&[1; 4096]).make().bytes).unwrap();
    assert_eq!(open(&path).warnings, Vec::<String>::new());
    let lock = dir.path().join("web.vmdk.lck");
    fs::create_dir(&lock).unwrap();
    let told = open(&path).warnings;
    let of_lock = format!("{} exists", lock.display());
    assert!(told.len() == 1 && told[0].starts_with(&of_lock), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_becomes_an_active_image_with_the_same_content() {
    let session = sandbox().await;
    let (spec, seen, stop) = (spec(), Seen::default(), StopToken::new());
    let cx = Context::new(&session, &seen, &stop);
    let outcome = import::run(&spec, cx).await.unwrap();
    assert_eq!(outcome.status.as_deref(), Some("active"));
    assert_eq!(outcome.image_digest.as_deref(), Some(DIGEST));
    let steps = seen.steps.into_inner().unwrap();
    let all = [Step::Check, Step::Convert, Step::Complete, Step::Register];
    assert_eq!(steps, all);
    // Whoever reads only the outcome sees the same warnings.
    assert_eq!(outcome.warnings, seen.warnings.into_inner().unwrap());
    session.close(Ok(())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_changes_nothing() {
    let session = sandbox().await;
    let (spec, stop) = (spec(), StopToken::new());
    let cx = Context::new(&session, &Silent, &stop);
    for _ in 0..2 {
        let budgets = std::slice::from_ref(&spec.work);
        let planned = import::plan(&spec, cx, budgets).await.unwrap();
        assert_eq!(planned.action, Action::Upload);
    }
    assert!(
        session
            .images()
            .image_named("web01")
            .await
            .unwrap()
            .is_none()
    );
    session.close(Ok(())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_stopped_makes_no_image() {
    let session = sandbox().await;
    let (spec, stop) = (spec(), StopToken::new());
    stop.stop();
    let cx = Context::new(&session, &Silent, &stop);
    let failure = import::run(&spec, cx).await.err().unwrap();
    assert_eq!(failure.class(), Class::Interrupted);
    assert!(
        session
            .images()
            .image_named("web01")
            .await
            .unwrap()
            .is_none()
    );
    session.close(Ok(())).await.unwrap();
}
