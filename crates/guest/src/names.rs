//! The cloud's names of operating systems: which of them means the system that was found.
//!
//! The same system is spelled differently by region and by edition of the documents, so names are
//! compared by what they mean. What a region offers decides; the documents are a guess.

mod meaning;
mod rules;

use serde::Serialize;

use self::meaning::Meaning;
pub(crate) use self::rules::RULES;
use crate::{Facts, Os};

/// How near a name is to the system that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It means this system.
    Exact,
    /// The same system in another minor version.
    Nearest,
    /// No name means it; this one is for all that have none.
    Other,
}

/// The name that was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// Verbatim, as the cloud wants it.
    pub value: String,
    /// How near it is.
    pub how: How,
}

/// Names to choose from.
#[derive(Debug)]
pub(crate) struct Offer<'a> {
    names: Vec<&'a str>,
    uefi: Vec<&'a str>,
    /// The region was asked; otherwise these are the documents' names.
    pub(crate) region: bool,
}

/// The name among `names` that means `os`, or the nearest one. Of several spellings the first that
/// is in `preferred` is taken, else the first.
pub fn choose<S: AsRef<str>>(os: &Os, names: &[S], preferred: &[S]) -> Option<Choice> {
    let guest = Meaning::of_os(os);
    let parsed: Vec<(&str, Meaning)> = names
        .iter()
        .filter_map(|name| Some((name.as_ref(), Meaning::of_name(name.as_ref())?)))
        .collect();
    // Few lists mark what is for ARM; where none of the system's names is marked, all are for it.
    let arm = guest.as_ref().is_some_and(|guest| {
        let marked = |name: &Meaning| name.arm && guest.near(name).is_some();
        guest.arm && parsed.iter().any(|(_, name)| marked(name))
    });
    let liked = |name: &str| preferred.iter().any(|one| one.as_ref() == name);
    let best = parsed
        .iter()
        .filter(|(_, name)| name.arm == arm)
        .filter_map(|(text, name)| Some((guest.as_ref()?.near(name)?, !liked(text), *text)))
        .min_by_key(|&(near, unliked, _)| (near, unliked));
    if let Some((near, _, text)) = best {
        let how = if near.is_exact() {
            How::Exact
        } else {
            How::Nearest
        };
        return Some(Choice {
            value: text.to_owned(),
            how,
        });
    }
    let (text, _) = parsed
        .iter()
        .filter(|(_, name)| name.takes_in(os))
        .min_by_key(|(text, _)| !liked(text))?;
    Some(Choice {
        value: (*text).to_owned(),
        how: How::Other,
    })
}

/// The names in the public documents of the cloud and its partners, and whether one of them lists
/// the name for UEFI.
pub fn documented() -> impl Iterator<Item = (&'static str, bool)> {
    include_str!("names/documented.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| match line.split_once(" | ") {
            Some((name, _)) => (name, true),
            None => (line, false),
        })
}

impl<'a> Offer<'a> {
    /// What the region offers, or the documents' names when it was not asked.
    pub(crate) fn of(facts: &'a Facts) -> Self {
        let wanted = &facts.wanted;
        let uefi = |names: Vec<&'a str>| match facts.firmware() {
            Some("uefi") => names,
            _ => Vec::new(),
        };
        if wanted.os_versions.is_empty() {
            return Self {
                names: documented().map(|(name, _)| name).collect(),
                uefi: uefi(
                    documented()
                        .filter(|(_, uefi)| *uefi)
                        .map(|(name, _)| name)
                        .collect(),
                ),
                region: false,
            };
        }
        Self {
            names: wanted.os_versions.iter().map(String::as_str).collect(),
            uefi: uefi(wanted.uefi_os_versions.iter().map(String::as_str).collect()),
            region: true,
        }
    }

    /// The name for `os`.
    pub(crate) fn choose(&self, os: &Os) -> Option<Choice> {
        choose(os, &self.names, &self.uefi)
    }
}

#[cfg(test)]
mod tests;
