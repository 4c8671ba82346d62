//! A batch as a library call, in a sandbox in this process.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use batch::{ItemOutcome, ItemState, claim};
use cloud::{Class, Session, StopToken};
use fleet::{CleanOptions, Cleaning, Context, DiskEvent, Event, FleetSpec, Observer};
use import::{GuestCheck, JournalSpec};
use tempfile::TempDir;

/// Content digest of `testdata/debian-tree.qcow2`, computed by another program.
const DIGEST: &str = "v1:30541ea70cba88766e6bd5932c3192d4cf5fdea4249209ec9663d2edb3767e97";

/// The manifest of the example: a system disk and a data disk.
fn spec() -> FleetSpec {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/two_disks.yaml");
    // The system disk is a tree of files that nothing starts.
    FleetSpec {
        guest_check: GuestCheck::Off,
        ..FleetSpec::read(&path).unwrap()
    }
}

/// Keeps what happened to each disk.
#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl Observer for Seen {
    fn event(&self, event: Event<'_>) {
        let line = match event {
            Event::Checking(disks) => format!("checking {disks}"),
            Event::Started(overview) => {
                let (to_do, done) = (overview.to_do, overview.done);
                format!("started {to_do} of {}, {done} done", overview.disks)
            }
            Event::Disk(disk, DiskEvent::Stage(stage)) => format!("{} {stage}", disk.id),
            Event::Disk(disk, DiskEvent::Ended { outcome, .. }) => {
                format!("{} {}", disk.id, outcome.state)
            }
            _ => return,
        };
        self.0.lock().unwrap().push(line);
    }
}

impl Seen {
    /// The lines that begin with `of`.
    fn take(&self, of: &str) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        let lines = lines.iter().filter_map(|line| line.strip_prefix(of));
        lines.map(|line| line.trim_start().to_owned()).collect()
    }
}

async fn context(dir: Option<&Path>, spec: &FleetSpec) -> (Context, Arc<Seen>) {
    let session = Session::local(dir, spec.session_options()).await.unwrap();
    let seen = Arc::new(Seen::default());
    let observer = Arc::clone(&seen) as Arc<dyn Observer>;
    (Context::new(session, observer, &StopToken::new()), seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disks_of_a_manifest_become_active_images() {
    let spec = spec();
    let (cx, seen) = context(None, &spec).await;
    let ended = fleet::run(&spec, &cx).await;
    let outcome = cx.close(ended).await.unwrap();
    assert!(outcome.broken.is_none());
    assert_eq!((outcome.failed(), outcome.left()), (0, 0));
    for disk in &outcome.report.items {
        assert_eq!(disk.state, ItemState::Active, "{disk:?}");
        assert_eq!(disk.digest.as_deref(), Some(DIGEST));
    }
    assert_eq!(seen.take("checking "), ["2"]);
    assert_eq!(seen.take("started "), ["2 of 2, 0 done"]);
    let stages = ["check", "transfer", "complete", "register", "active"];
    assert_eq!(seen.take("web01 "), stages);
    assert_eq!(seen.take("web01-data "), stages);
    let json = serde_json::to_value(&outcome).unwrap();
    assert_eq!(json.pointer("/items/1/id").unwrap(), "web01-data");
    assert_eq!(json.pointer("/exit").unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_changes_nothing_and_a_stopped_run_leaves_every_disk() {
    let spec = spec();
    let (cx, _) = context(None, &spec).await;
    let plan = fleet::plan(&spec, &cx).await.unwrap();
    assert_eq!((plan.totals.items, plan.totals.to_do), (2, 2));
    assert_eq!(plan.items.first().unwrap().action, "upload");
    let images = cx.session.images();
    assert!(images.image_named("web01").await.unwrap().is_none());
    cx.stop.stop();
    let failure = fleet::run(&spec, &cx).await.err().unwrap();
    assert_eq!(failure.class(), Class::Interrupted);
    assert!(images.image_named("web01").await.unwrap().is_none());
    cx.close(Ok(())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_batch_is_done_once_and_its_status_says_so() {
    let (state, dir) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut spec = spec();
    spec.journal = Some(JournalSpec {
        dir: Some(state.path().to_owned()),
        command: vec!["again".into()],
    });
    let run = async |done: &str, state: ItemState| {
        let (cx, seen) = context(Some(dir.path()), &spec).await;
        let ended = fleet::run(&spec, &cx).await;
        let outcome = cx.close(ended).await.unwrap();
        assert_eq!(seen.take("started "), [done]);
        let items = &outcome.report.items;
        assert!(items.iter().all(|disk| disk.state == state), "{items:?}");
    };
    assert_eq!(fleet::status(&spec).unwrap().left, 2);
    run("2 of 2, 0 done", ItemState::Active).await;
    run("0 of 2, 2 done", ItemState::Skipped).await;
    let status = fleet::status(&spec).unwrap();
    assert_eq!((status.done, status.left), (2, 0));
    assert_eq!(status.command.as_deref(), Some("again"));
}

/// A batch of one data disk, its cloud, and its books.
struct One {
    dir: TempDir,
    lease: Option<Duration>,
}

impl One {
    fn new(lease: Option<Duration>) -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("a.raw"), [7; 4096]).unwrap();
        Self { dir, lease }
    }

    /// The batch, with what to do when the image exists.
    fn spec(&self, if_exists: &str) -> FleetSpec {
        let path = self.dir.path().join("batch.yaml");
        let text = format!(
            "images: [{{source: a.raw, bucket: images, type: DataImage, if_exists: {if_exists}}}]"
        );
        std::fs::write(&path, text).unwrap();
        let mut spec = FleetSpec::read(&path).unwrap();
        spec.lease = self.lease;
        spec.journal = self.journal();
        spec
    }

    fn journal(&self) -> Option<JournalSpec> {
        Some(JournalSpec {
            dir: Some(self.dir.path().join("state")),
            command: Vec::new(),
        })
    }

    async fn context(&self, spec: &FleetSpec) -> (Context, Arc<Seen>) {
        context(Some(&self.dir.path().join("cloud")), spec).await
    }

    /// Runs it: how the disk ended, and what a run that is not shared starts with.
    async fn run(&self, if_exists: &str) -> (ItemOutcome, Vec<String>) {
        let spec = self.spec(if_exists);
        let (cx, seen) = self.context(&spec).await;
        let ended = fleet::run(&spec, &cx).await;
        let mut outcome = cx.close(ended).await.unwrap();
        (outcome.report.items.pop().unwrap(), seen.take("started "))
    }

    /// Registers the image without any books, and forgets that.
    async fn exists(&self) {
        let mut spec = self.spec("adopt");
        (spec.lease, spec.journal) = (None, None);
        let (cx, _) = self.context(&spec).await;
        let ended = fleet::run(&spec, &cx).await;
        let outcome = cx.close(ended).await.unwrap();
        assert_eq!(
            outcome.report.items.first().unwrap().state,
            ItemState::Active
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_was_skipped_is_replaced_when_that_is_asked_for() {
    let one = One::new(None);
    one.exists().await;
    let (skipped, started) = one.run("skip").await;
    assert_eq!(skipped.state, ItemState::Skipped);
    let cause = skipped.cause.unwrap();
    assert!(
        cause.starts_with("image ") && cause.contains("not compared"),
        "{cause}"
    );
    assert_eq!(started, ["0 of 1, 1 done"]);
    let status = fleet::status(&one.spec("skip")).unwrap();
    assert_eq!(status.items.first().unwrap().state, ItemState::Skipped);
    let (replaced, started) = one.run("replace").await;
    assert_eq!(replaced.state, ItemState::Active, "{replaced:?}");
    assert_eq!(started, ["1 of 1, 0 done"]);
    assert_ne!(replaced.image_id, skipped.image_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_was_skipped_is_imported_when_the_image_is_gone() {
    for lease in [None, Some(Duration::from_secs(60))] {
        let one = One::new(lease);
        one.exists().await;
        let (skipped, _) = one.run("skip").await;
        assert_eq!(skipped.state, ItemState::Skipped);
        let spec = one.spec("skip");
        let (cx, _) = one.context(&spec).await;
        let id = skipped.image_id.unwrap().parse().unwrap();
        cx.session.images().delete_image(&id, false).await.unwrap();
        cx.close(Ok(())).await.unwrap();
        let (imported, _) = one.run("skip").await;
        // Its object is still there.
        assert_eq!(
            imported.state,
            ItemState::Adopted,
            "{lease:?}: {imported:?}"
        );
        assert_ne!(imported.image_id.unwrap(), id.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_proven_stays_imported() {
    let one = One::new(None);
    one.exists().await;
    let (proven, _) = one.run("adopt").await;
    assert_eq!(proven.state, ItemState::Skipped);
    assert!(proven.cause.unwrap().starts_with("already imported"));
    let (again, started) = one.run("adopt").await;
    assert_eq!(again.cause.as_deref(), Some("done by an earlier run"));
    assert_eq!(started, ["0 of 1, 1 done"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_in_the_bucket_decides_nothing_but_that_the_disk_is_done() {
    let one = One::new(Some(Duration::from_secs(60)));
    let spec = one.spec("adopt");
    let (cx, _) = one.context(&spec).await;
    let forged = serde_json::json!({
        "id": "another", "name": "another", "bucket": "elsewhere", "source": "/etc/passwd",
        "state": "failed", "worker": "w".repeat(5000), "warnings": ["w"], "image_id": "image-1",
    });
    let digest = spec.manifest.digest.get(..32).unwrap();
    let key = format!(".imgferry/claims/{digest}/{}/done", claim::directory("a"));
    let storage = cx.session.storage().await.unwrap();
    let body = forged.to_string().into_bytes().into();
    storage
        .put_object("images", &key, body, "application/json")
        .await
        .unwrap();
    let ended = fleet::run(&spec, &cx).await;
    let outcome = cx.close(ended).await.unwrap();
    let item = outcome.report.items.first().unwrap();
    assert_eq!((item.id.as_str(), item.name.as_str()), ("a", "a"));
    assert_eq!(
        (item.bucket.as_str(), item.state),
        ("images", ItemState::Skipped)
    );
    assert!(
        item.source.ends_with("a.raw") && item.warnings.is_empty(),
        "{item:?}"
    );
    assert_eq!(item.worker.as_deref(), Some("w".repeat(64).as_str()));
    assert_eq!(item.image_id.as_deref(), Some("image-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_deletes_nothing() {
    let one = One::new(None);
    let spec = one.spec("adopt");
    let (cx, _) = one.context(&spec).await;
    let options = CleanOptions {
        dry_run: true,
        ..CleanOptions::default()
    };
    let cleaning = Cleaning::begin(&spec, &cx, options).await.unwrap();
    let left = cleaning.find().await.unwrap();
    let failure = cleaning.delete(&left).await.unwrap_err();
    assert_eq!(failure.class(), Class::Refused);
    drop(cleaning);
    cx.close(Ok(())).await.unwrap();
}

#[test]
fn a_disk_to_redo_must_be_in_the_manifest() {
    let mut spec = spec();
    spec.redo = vec!["web01".into(), "nobody".into()];
    let failure = spec.check().unwrap_err();
    assert!(
        failure.message().contains("cannot redo nobody"),
        "{failure}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_disk_needs_its_file_no_more_and_the_others_do() {
    let one = One::new(None);
    let (imported, _) = one.run("adopt").await;
    assert_eq!(imported.state, ItemState::Active);
    std::fs::remove_file(one.dir.path().join("a.raw")).unwrap();
    std::fs::write(one.dir.path().join("b.raw"), [8; 4096]).unwrap();
    let manifest = one.dir.path().join("batch.yaml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let with = |file: &str| {
        let more = format!(", {{source: {file}, bucket: images, type: DataImage}}]");
        std::fs::write(&manifest, text.replace(']', &more)).unwrap();
        let mut spec = FleetSpec::read(&manifest).unwrap();
        spec.journal = one.journal();
        spec
    };
    let spec = with("gone.raw");
    let (cx, _) = one.context(&spec).await;
    let ended = fleet::run(&spec, &cx).await;
    let failure = cx.close(ended).await.err().unwrap();
    assert_eq!(failure.class(), Class::Refused);
    assert!(failure.message().contains("images[1].source"), "{failure}");
    let spec = with("b.raw");
    let (cx, _) = one.context(&spec).await;
    let ended = fleet::run(&spec, &cx).await;
    let outcome = cx.close(ended).await.unwrap();
    let [done, new] = outcome.report.items.as_slice() else {
        panic!("{outcome:?}");
    };
    assert_eq!(
        (done.state, new.state),
        (ItemState::Skipped, ItemState::Active)
    );
    let cause = done.cause.as_deref().unwrap();
    assert!(cause.contains("a.raw cannot be read"), "{cause}");
}
