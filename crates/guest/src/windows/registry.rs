//! The hives of an installed Windows, and the part of them that its next start will use.

use super::hive::{Hive, Key};
use crate::known::Known;
use crate::view::View;

/// What reports and commands call the control set of the next start.
pub(super) const CONTROL: &str = r"HKLM\SYSTEM\CurrentControlSet";
/// What they call the hive of installed software.
pub(super) const SOFTWARE: &str = r"HKLM\SOFTWARE";

/// Opened hives.
pub(super) struct Registry {
    system: Known<Hive>,
    software: Known<Hive>,
    /// Name of the control set in `system`.
    set: Known<String>,
    /// Paths of the hives, and whether they are flushed.
    pub(super) hives: Vec<(String, Known<bool>)>,
}

impl Registry {
    /// Opens the hives of the Windows in `directory`.
    pub(super) fn open(view: &View, directory: &str) -> Self {
        let mut hives = Vec::new();
        let mut open = |name| {
            let path = hive_path(directory, name);
            let hive = open(view, &path);
            hives.push((
                path,
                hive.as_ref().map(|hive| hive.flushed).map_err(Clone::clone),
            ));
            hive
        };
        let system = open("SYSTEM");
        let software = open("SOFTWARE");
        let set = control_set(&system);
        Self {
            system,
            software,
            set,
            hives,
        }
    }

    /// The key at `path` of the control set, if it is there.
    pub(super) fn control(&self, path: &str) -> Known<Option<Key<'_>>> {
        let set = self.set.as_ref().map_err(Clone::clone)?;
        self.system(&format!(r"{set}\{path}"))
    }

    /// The key at `path` of the hive `SYSTEM`.
    pub(super) fn system(&self, path: &str) -> Known<Option<Key<'_>>> {
        self.system.as_ref().map_err(Clone::clone)?.key(path)
    }

    /// The key at `path` of the hive `SOFTWARE`.
    pub(super) fn software(&self, path: &str) -> Known<Option<Key<'_>>> {
        self.software.as_ref().map_err(Clone::clone)?.key(path)
    }

    /// The number `name` in the key at `path` of the control set.
    pub(super) fn control_number(&self, path: &str, name: &str) -> Known<Option<u32>> {
        match self.control(path)? {
            Some(key) => key.number(name),
            None => Ok(None),
        }
    }

    /// The texts `name` in the key at `path` of the control set.
    pub(super) fn control_texts(&self, path: &str, name: &str) -> Known<Vec<String>> {
        match self.control(path)? {
            Some(key) => key.texts(name),
            None => Ok(Vec::new()),
        }
    }
}

/// Path of a hive in the guest.
pub(super) fn hive_path(directory: &str, name: &str) -> String {
    format!("{directory}/System32/config/{name}")
}

/// The hive at `path`.
pub(super) fn open(view: &View, path: &str) -> Known<Hive> {
    match view.open(path)? {
        Some(file) => Hive::open(file).map_err(|reason| format!("{path}: {reason}")),
        None => Err(format!("{path} is not there")),
    }
}

fn control_set(system: &Known<Hive>) -> Known<String> {
    let system = system.as_ref().map_err(Clone::clone)?;
    let current = match system.key("Select")? {
        Some(key) => key.number("Current")?,
        None => None,
    };
    match current {
        Some(number) => Ok(format!("ControlSet{number:03}")),
        None => Err(r"SYSTEM\Select does not say which control set is in use".into()),
    }
}
