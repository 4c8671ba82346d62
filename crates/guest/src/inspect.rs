//! The inspection of a disk: image → facts → report.

use std::rc::Rc;
use std::time::Instant;

use diskimg::partitions::{self, PartitionTable};
use diskimg::{DiskImage, Format};

use crate::asking::ask;
use crate::media::Media;
use crate::mount::{self, Mounted};
use crate::report::Report;
use crate::{Budget, Facts, Wanted};

mod choice;
mod system;

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
    let cap = budget.clone();
    let examined = ask(image, budget.time, move |source, size| {
        let media = Rc::new(Media::new(source, size, &cap));
        let facts = collect(&media, wanted, table);
        let mut report = Report::judge(&facts);
        report.cost.bytes_read = media.bytes_read();
        report
    });
    examined.unwrap_or_else(Report::undone)
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
    use super::*;

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
