//! The inspection of a disk: image → facts → report.
//!
//! Readers of others must not be able to stop the program: they run on a thread of their own, which
//! asks the caller's thread for the image's bytes. When that thread neither asks nor ends in time,
//! it is left behind.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use diskimg::partitions::{self, PartitionTable};
use diskimg::{DiskImage, Format, GuestOffset};

use crate::media::Media;
use crate::mount::{self, Mounted};
use crate::report::Report;
use crate::{Budget, Facts, Wanted};

mod choice;
mod system;

/// Stack of the thread that looks into the disk.
const STACK: usize = 8 << 20;
/// How long it may take to end after its time is up.
const GRACE: Duration = Duration::from_secs(10);

/// What the thread that looks into the disk says.
enum Message {
    /// It wants this many bytes from there.
    Read(u64, usize),
    Done(Box<Report>),
}

type Answer = Result<Vec<u8>, String>;

/// Looks into the disk in `image` and holds what is found against every rule.
pub fn inspect(image: &dyn DiskImage, wanted: Wanted, budget: &Budget) -> Report {
    let started = Instant::now();
    let mut report = look(image, wanted, budget);
    report.cost.ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    report
}

fn look(image: &dyn DiskImage, wanted: Wanted, budget: &Budget) -> Report {
    let details = image.details();
    if details.streamed || details.format == Format::Zvhd {
        return Report::undone("the image can be read front to back only");
    }
    let table = match partitions::read(image) {
        Ok(table) => table,
        Err(error) => return Report::undone(error.to_string()),
    };
    let (ask, asked) = mpsc::channel();
    let (answer, answers) = mpsc::channel();
    let size = image.virtual_size();
    let budget = budget.clone();
    let deadline = Instant::now() + budget.time + GRACE;
    let run = move || {
        let asking = ask.clone();
        let run = || examine(asking, answers, size, wanted, table, &budget);
        let report = catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|_| Report::undone("a reader stopped at an error of its own"));
        // Nobody listens any more when the time was up.
        let _ = ask.send(Message::Done(Box::new(report)));
    };
    let thread = thread::Builder::new()
        .name("guest".into())
        .stack_size(STACK);
    match thread.spawn(run) {
        Ok(_) => serve(image, &asked, &answer, deadline),
        Err(error) => Report::undone(format!("no thread could be started: {error}")),
    }
}

/// Reads for the thread until it is done.
fn serve(
    image: &dyn DiskImage,
    asked: &Receiver<Message>,
    answer: &Sender<Answer>,
    deadline: Instant,
) -> Report {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match asked.recv_timeout(left) {
            Ok(Message::Read(at, length)) => {
                let mut bytes = vec![0; length];
                let read = image.read_at(GuestOffset(at), &mut bytes);
                let read = read.map(|()| bytes).map_err(|error| error.to_string());
                // A thread that is gone says so by its next message, or by none.
                let _ = answer.send(read);
            }
            Ok(Message::Done(report)) => return *report,
            Err(RecvTimeoutError::Timeout) => {
                return Report::undone("a reader did not come to an end");
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Report::undone("a reader stopped at an error of its own");
            }
        }
    }
}

/// The work of the thread.
fn examine(
    ask: Sender<Message>,
    answers: Receiver<Answer>,
    size: u64,
    wanted: Wanted,
    table: PartitionTable,
    budget: &Budget,
) -> Report {
    let source = move |at: u64, buf: &mut [u8]| {
        let gone = || "the inspection was given up".to_owned();
        ask.send(Message::Read(at, buf.len())).map_err(|_| gone())?;
        let bytes = answers.recv().map_err(|_| gone())??;
        match bytes.len() == buf.len() {
            true => buf.copy_from_slice(&bytes),
            false => return Err(gone()),
        }
        Ok(())
    };
    let media = Rc::new(Media::new(Box::new(source), size, budget));
    let facts = collect(&media, wanted, table);
    let mut report = Report::judge(&facts);
    report.cost.bytes_read = media.bytes_read();
    report
}

/// Everything that rules ask for.
fn collect(media: &Rc<Media>, wanted: Wanted, table: PartitionTable) -> Facts {
    let Mounted { volumes, trees } = mount::mount(media, &table);
    media.opened();
    let mut facts = Facts {
        wanted,
        bios: Some(crate::start::bios::collect(media, &table)),
        gpt_backup: crate::disk::gpt_backup(media, &table),
        volumes,
        table: Some(table),
        ..Facts::default()
    };
    let system = system::find(&mut facts, &trees);
    let view = system.as_ref().map(system::Found::view);
    let efi = system::step(&mut facts, "the EFI system partition", |facts| {
        crate::start::efi::collect(view, &facts.volumes, &trees, facts.table.as_ref())
    });
    facts.efi = efi;
    if let Some(view) = view {
        facts.mounted = view
            .mounted()
            .map(|(at, volume)| (at.to_vec(), volume))
            .collect();
        facts.free = view.free();
    }
    if let Some(system) = &system {
        system.describe(&mut facts, &trees);
    } else {
        facts.os = facts.table.as_ref().and_then(crate::bsd::identify);
    }
    if let Some(reason) = media.exhausted() {
        facts.incomplete.push(reason);
    }
    facts
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use diskimg::{MemorySource, RawImage};

    use super::*;

    fn image() -> RawImage {
        RawImage::open(Arc::new(MemorySource(vec![7; 4096]))).unwrap()
    }

    #[test]
    fn a_reader_without_an_end_is_left_behind() {
        let (ask, asked) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        ask.send(Message::Read(1024, 2)).unwrap();
        let report = serve(&image(), &asked, &answer, Instant::now());
        assert!(report.unknown[0].reason.contains("come to an end"));
        // What it asked for in time was answered.
        assert_eq!(answers.try_recv().unwrap(), Ok(vec![7, 7]));
    }

    #[test]
    fn a_reader_that_is_gone_is_reported() {
        let (ask, asked) = mpsc::channel();
        let (answer, _answers) = mpsc::channel();
        ask.send(Message::Read(4096, 2)).unwrap();
        drop(ask);
        let deadline = Instant::now() + GRACE;
        let report = serve(&image(), &asked, &answer, deadline);
        assert!(report.unknown[0].reason.contains("error of its own"));
    }

    #[test]
    fn a_step_that_panics_is_named_and_the_others_go_on() {
        let mut facts = Facts::default();
        let failed: Option<()> = system::step(&mut facts, "a thing", |_| panic!("on purpose"));
        assert_eq!(failed, None);
        assert_eq!(system::step(&mut facts, "another", |_| 5), Some(5));
        assert_eq!(facts.incomplete.len(), 1);
        assert!(facts.incomplete[0].contains("a thing"));
    }
}
