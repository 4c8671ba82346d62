//! Which system on the disk is started, and what is collected about it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use super::choice;
use crate::Facts;
use crate::linux::config::Config;
use crate::linux::identify::{self, Root, System};
use crate::tree::Tree;
use crate::view::View;
use crate::windows;

/// The system that is started.
pub(super) enum Found {
    Linux(Box<Root>),
    Windows {
        view: View,
        directory: String,
        /// Index of its volume.
        volume: usize,
    },
}

/// Finds all systems, and chooses the one that starts by itself: of a Linux and a Windows the
/// Linux, unless the firmware or the boot menu starts the other one.
pub(super) fn find(facts: &mut Facts, trees: &[Option<Rc<dyn Tree>>]) -> Option<Found> {
    let linux = step(facts, "Linux systems", |facts| {
        identify::identify(&facts.volumes, trees)
    })
    .unwrap_or_default();
    for (volume, reason) in linux.failed {
        if let Some(volume) = facts.volumes.get(volume) {
            facts
                .incomplete
                .push(format!("{}: {reason}", volume.name()));
        }
    }
    let mut roots = linux.roots;
    let windows = step(facts, "Windows", |facts| find_windows(facts, trees)).unwrap_or_default();
    let mut systems: Vec<System> = roots.iter().map(Root::system).collect();
    systems.extend(windows.iter().map(|(_, _, volume)| System {
        volume: *volume,
        id: "windows".into(),
        version: None,
        machine_id: None,
    }));
    facts.systems = systems;
    let firmware = facts.wanted.firmware.clone();
    let started = step(facts, "boot menus", |facts| {
        identify::started(&roots, &facts.volumes, firmware.as_deref())
    });
    let started = started.unwrap_or_default();
    let other = !windows.is_empty()
        && roots.get(started).is_some_and(|root| {
            let starts = step(facts, "boot loaders", |facts| {
                choice::starts_windows(facts, trees, root)
            });
            starts == Some(true)
        });
    if started < roots.len() && !other {
        let system = facts.systems.remove(started);
        facts.systems.insert(0, system);
        let root = roots.swap_remove(started);
        facts.root = Some(root.volume);
        facts.os = Some(root.os.clone());
        return Some(Found::Linux(Box::new(root)));
    }
    let (view, directory, volume) = windows.into_iter().next()?;
    facts.root = Some(volume);
    let is_this = |system: &System| system.id == "windows" && system.volume == volume;
    if let Some(at) = facts.systems.iter().position(is_this) {
        let system = facts.systems.remove(at);
        facts.systems.insert(0, system);
    }
    Some(Found::Windows {
        view,
        directory,
        volume,
    })
}

/// The views of Windows systems, with their directories and volumes.
fn find_windows(facts: &mut Facts, trees: &[Option<Rc<dyn Tree>>]) -> Vec<(View, String, usize)> {
    let mut found = Vec::new();
    for (index, tree) in trees.iter().enumerate() {
        let Some(tree) = tree.as_ref().filter(|tree| tree.ignores_case()) else {
            continue;
        };
        let view = View::new(Rc::clone(tree), index);
        match (windows::directory(&view), facts.volumes.get(index)) {
            (Ok(Some(directory)), _) => found.push((view, directory, index)),
            (Err(reason), Some(volume)) => {
                facts
                    .incomplete
                    .push(format!("{}: {reason}", volume.name()));
            }
            _ => {}
        }
    }
    found
}

impl Found {
    pub(super) fn view(&self) -> &View {
        match self {
            Self::Linux(root) => &root.view,
            Self::Windows { view, .. } => view,
        }
    }

    /// Adds what is known of the system.
    pub(super) fn describe(&self, facts: &mut Facts, trees: &[Option<Rc<dyn Tree>>]) {
        match self {
            Self::Linux(root) => {
                if let Some(reason) = &root.unread {
                    facts.incomplete.push(reason.clone());
                }
                let firmware = facts.firmware().map(str::to_owned);
                facts.linux_boot = step(facts, "the boot menu", |facts| {
                    root.boot(&facts.volumes, firmware.as_deref())
                });
                facts.linux = step(facts, "the configuration", |_| Config::collect(&root.view));
            }
            Self::Windows {
                view,
                directory,
                volume,
            } => {
                let collected = step(facts, "Windows", |facts| {
                    let disk = windows::Disk {
                        volumes: &facts.volumes,
                        trees,
                        root: *volume,
                        table: facts.table.as_ref(),
                    };
                    windows::collect(view, directory, &disk)
                });
                if let Some((os, windows)) = collected {
                    if let Some(system) = facts.systems.first_mut() {
                        system.version.clone_from(&os.version);
                    }
                    facts.os = Some(os);
                    facts.windows = Some(windows);
                }
            }
        }
    }
}

/// Runs a part of the inspection. When it panics, the rest goes on without what it collects.
pub(super) fn step<T>(
    facts: &mut Facts,
    what: &str,
    run: impl FnOnce(&mut Facts) -> T,
) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(|| run(facts))) {
        Ok(found) => Some(found),
        Err(_) => {
            let reason = format!("reading {what} stopped at an error of the reader");
            facts.incomplete.push(reason);
            None
        }
    }
}
