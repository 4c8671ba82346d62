//! Filters of disks and volumes: each of them must be there, or Windows does not see its disk.

use super::registry::{CONTROL, Registry};
use super::services;
use crate::known::Known;
use crate::view::View;
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

/// Disks, SCSI adapters, volumes.
const CLASSES: [&str; 3] = [
    "{4d36e967-e325-11ce-bfc1-08002be10318}",
    "{4d36e97b-e325-11ce-bfc1-08002be10318}",
    "{71a27cdd-812a-11d0-bec7-08002be2092f}",
];

/// A filter that cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LostFilter {
    /// Key of the class and name of the value that name the filter.
    pub(crate) key: String,
    pub(crate) name: String,
    /// The file that is missing; `None` when there is no such service.
    pub(crate) file: Option<String>,
}

pub(super) fn collect(registry: &Registry, view: &View, directory: &str) -> Known<Vec<LostFilter>> {
    let mut lost = Vec::new();
    for class in CLASSES {
        let path = format!(r"Control\Class\{class}");
        for value in ["UpperFilters", "LowerFilters"] {
            for name in registry.control_texts(&path, value)? {
                let file = match services::service(registry, view, directory, &name)? {
                    Some(service) if service.present => continue,
                    Some(service) => Some(service.file),
                    None => None,
                };
                lost.push(LostFilter {
                    key: format!(r"{CONTROL}\{path}\{value}"),
                    name,
                    file,
                });
            }
        }
    }
    Ok(lost)
}

pub(crate) const RULES: &[Rule] = &[Rule {
    id: "windows-storage-filter",
    severity: Severity::WillNotBoot,
    source: Source::Peer,
    cite: "Azure/repair-script-library#156",
    text: "A filter for disks or volumes is named in the registry and is not installed. Windows \
           then finds no disk. Remove its name from the value.",
    remedy: Remedy::NONE,
    check: filters,
}];

fn filters(facts: &Facts, judgement: &mut Judgement) {
    let lost = facts.windows.as_ref();
    let lost = lost.and_then(|it| judgement.known(&it.lost_filters));
    for filter in lost.into_iter().flatten() {
        let text = match &filter.file {
            Some(file) => format!("{}: {file} is missing", filter.name),
            None => format!("{}: there is no such service", filter.name),
        };
        judgement.found(Severity::WillNotBoot, Seen::at(&filter.key).with(text));
    }
}

#[cfg(test)]
mod tests;
