//! What of an earlier run is used.

use std::path::Path;

use diskimg::text::{printable, shown};
use journal::{Begun, Ending, Found, Journal, Sameness, State};

use super::begin::command_line;
use super::entry::{Entry, level};
use crate::observe::Observer;

impl Entry {
    /// Decides what of an earlier run is used.
    pub(crate) fn take_up(
        &mut self,
        restart: bool,
        found: Found,
        path: &Path,
        observer: &dyn Observer,
    ) {
        let (state, ending) = match found {
            Found::Nothing => {
                if !restart && self.done_counts {
                    self.take_up_end(path);
                }
                return;
            }
            Found::Unreadable { at } => {
                observer.warn(format_args!(
                    "the journal {} is damaged at byte {at} and unusable; starting over. Parts of an \
                     earlier upload may still be stored",
                    shown(&path)
                ));
                return;
            }
            Found::Import(state, _) if state.active.is_some() && !self.done_counts => return,
            Found::Import(state, ending) => (state, ending),
        };
        match ending {
            Ending::Clean => {}
            Ending::Torn { at } => observer.notice(format_args!(
                "the journal {} ends inside a record at byte {at}; everything before it is used",
                shown(&path)
            )),
            Ending::Damaged { at } => observer.warn(format_args!(
                "the journal {} is damaged at byte {at}; everything before it is used",
                shown(&path)
            )),
        }
        let anew = if restart {
            Some("a restart was requested".to_owned())
        } else {
            self.why_anew(&state)
        };
        match anew {
            None => self.state = Some(state),
            Some(why) => {
                observer.notice(format_args!(
                    "not resuming the interrupted import to {}/{}: {why}",
                    self.begun.bucket, self.begun.key
                ));
                self.stale = state.upload.filter(|_| state.completed.is_none());
            }
        }
    }

    /// Uses what was kept of a finished import, if the very same command is run again: a scheduler
    /// that missed its end repeats it until it succeeds.
    fn take_up_end(&mut self, path: &Path) {
        let Some(state) = Journal::kept(path) else {
            return;
        };
        let before = &state.begun;
        let source = self.source.as_ref();
        let same = source.is_some_and(|now| before.source.difference(now).is_none())
            && self.another_import(before).is_none()
            && self.has_same_others(before)
            && before.name == self.begun.name
            && before.command.get(1..) == self.begun.command.get(1..);
        match state.active {
            Some(Some(_)) if same => {
                self.state = Some(state);
                self.ended = true;
            }
            Some(None) if same => self.kept = Some(state),
            _ => {}
        }
    }

    /// Why the work of an earlier run cannot be used, if so.
    pub(crate) fn why_anew(&self, state: &State) -> Option<String> {
        let before = &state.begun;
        if let Some(now) = &self.source
            && let Sameness::Changed(difference) = before.source.compare(now)
        {
            return Some(format!("the source has changed: {difference}"));
        }
        // An upload has no image to be registered, and ends without one.
        if before.name.is_empty() != self.begun.name.is_empty() {
            let command = command_line(&before.command);
            return Some(format!("it was started by another command: {command}"));
        }
        if let Some(why) = self.another_import(before) {
            return Some(why);
        }
        let completed = state.completed.is_some();
        // What is stored of a part of the disk is proven by its first file only.
        if self.layered && !(completed && self.has_same_others(before)) {
            return Some("the disk is based on other files, which may have changed".to_owned());
        }
        // An object that is complete does not depend on how another one would be made.
        if completed {
            return None;
        }
        if before.plan != self.begun.plan {
            return Some(format!(
                "its plan was different: {} of {} bytes as {}{}, now {}{}",
                before.plan.source_format,
                before.plan.virtual_size,
                before.plan.target,
                level(&before.plan),
                self.begun.plan.target,
                level(&self.begun.plan),
            ));
        }
        if before.encoder != self.begun.encoder {
            return Some(format!(
                "imgferry {} encoded it differently ({}) than this version does ({})",
                before.tool, before.encoder, self.begun.encoder
            ));
        }
        None
    }

    /// Whether the files of the disk besides its first are as they were.
    fn has_same_others(&self, before: &Begun) -> bool {
        let now = &self.begun.other_files;
        !self.layered || (now.is_some() && *now == before.other_files)
    }

    /// How an import of the same file differs from this one, so that its object is not this one's
    /// either, if it does.
    fn another_import(&self, before: &Begun) -> Option<String> {
        let of = |begun: &Begun| (begun.plan.member.clone(), begun.plan.snapshot.clone());
        let (then, now) = (of(before), of(&self.begun));
        if then != now {
            let (then, now) = (part(then), part(now));
            return Some(format!(
                "it was of another disk of the same file: {then}, now {now}"
            ));
        }
        if before.plan.discarded != self.begun.plan.discarded {
            return Some("it left out other free space than this one, or none".to_owned());
        }
        // One call registers all of them, and the answer to another call is of no use.
        let (then, now) = (before.data_disks, self.begun.data_disks);
        if then != now {
            let plural = if then == 1 { "" } else { "s" };
            return Some(format!("it had {then} data disk{plural}, and has {now}"));
        }
        (self.begun.verified && !before.verified)
            .then(|| "it did not check the manifest of the package".to_owned())
    }
}

/// What of a file is read, in words.
fn part((member, snapshot): (Option<String>, Option<String>)) -> String {
    let quoted = |name: String| format!("\"{}\"", printable(&name));
    match (member.map(quoted), snapshot.map(quoted)) {
        (None, None) => "the active disk".to_owned(),
        (Some(member), None) => member,
        (None, Some(snapshot)) => snapshot,
        (Some(member), Some(snapshot)) => format!("{snapshot} of {member}"),
    }
}
