//! How a run of a migration ends: what it came to is noted, and older generations are removed.

use std::collections::BTreeMap;
use std::time::Duration;

use cloud::{Session, from_journal, from_obs};
use journal::{History, StateDir, Target};
use obs::{Manifest, blocks_key};

use super::names::There;
use super::{Migration, millis};
use crate::ledger;
use crate::observe::Context;
use crate::outcome::{Completion, Outcome};
use crate::spec::ImportSpec;

impl Migration {
    /// Ends a run that was successful. What goes wrong from here on is a warning: the object is
    /// there.
    pub(crate) async fn end(self, spec: &ImportSpec, cx: Context<'_>, outcome: &mut Outcome) {
        let mut warnings = Vec::new();
        if let Some(made) = &mut outcome.warm {
            let sent = outcome.uploaded.as_ref();
            let of = |bytes: fn(&obs::Uploaded) -> u64| sent.map_or(0, bytes);
            let generation = journal::Generation {
                number: made.number,
                base: made.base,
                started: self.started,
                milliseconds: millis(Duration::from_secs_f64(made.seconds)),
                changed_bytes: made.changed_bytes,
                sent_bytes: of(|sent| sent.sent_bytes),
                copied_bytes: of(|sent| sent.copied_bytes),
                size: of(|sent| sent.size),
            };
            match self.note(spec, cx.session, outcome.source.clone(), generation) {
                Ok(cutover) => made.cutover_seconds = cutover.map(seconds),
                Err(why) => warnings.push(why),
            }
        }
        // An image that is still being made may need another try, and so may a generation that
        // nothing can be based on.
        let is_described = outcome.warm.as_ref().is_some_and(|made| made.is_described);
        let may_need_another = matches!(outcome.result, Completion::Started | Completion::Skipped)
            || self.number.is_some() && !is_described;
        if !may_need_another {
            let removed = self.tidy(&mut warnings).await;
            if let Some(made) = &mut outcome.warm {
                made.removed = removed;
            }
        }
        for warning in &warnings {
            cx.observer.warn(format_args!("{warning}"));
        }
        outcome.warnings.append(&mut warnings);
    }

    /// Adds to the history, and says how long the cutover may take.
    fn note(
        &self,
        spec: &ImportSpec,
        session: &Session,
        source: String,
        generation: journal::Generation,
    ) -> Result<Option<u64>, String> {
        let noting = || {
            let Some(dir) = ledger::state_dir(spec)? else {
                return Ok(None);
            };
            let endpoint = session.endpoint();
            let target = Target {
                endpoint: &endpoint,
                bucket: &self.bucket,
                key: &self.key,
            };
            let mut history = self.history(&dir, &target);
            history.name.clone_from(&spec.name);
            history.source = source;
            history.directory = ledger::directory();
            if let Some(journal) = &spec.journal {
                history.command.clone_from(&journal.command);
            }
            history.add(generation);
            let written = dir.put_history(&target, &history);
            written.map_err(|error| from_journal(&error))?;
            Ok(history.cutover())
        };
        noting().map_err(|failure: cloud::Failure| {
            format!(
                "the history of the migration could not be written: {}",
                failure.line()
            )
        })
    }

    fn history(&self, dir: &StateDir, target: &Target<'_>) -> History {
        dir.history(target).unwrap_or_else(|| History {
            endpoint: target.endpoint.to_owned(),
            bucket: self.bucket.clone(),
            key: self.key.clone(),
            name: String::new(),
            source: String::new(),
            command: Vec::new(),
            directory: String::new(),
            generations: Vec::new(),
        })
    }

    /// Removes the generations that are older than those which are kept; their keys.
    async fn tidy(&self, warnings: &mut Vec<String>) -> Vec<String> {
        let mut removed = Vec::new();
        for number in outdated(&self.found, self.number, self.keep) {
            let key = self.names.key(number);
            match self.remove(&key).await {
                Ok(None) => removed.push(key),
                Ok(Some(why)) => warnings.push(format!(
                    "{}/{key} looks like an old generation, but is not removed: {why}",
                    self.bucket
                )),
                Err(error) => warnings.push(format!(
                    "the old generation {}/{key} could not be removed: {}",
                    self.bucket,
                    from_obs(&error).line()
                )),
            }
        }
        removed
    }

    /// Removes one generation, if its manifest says that it is one. `Some` is why not.
    async fn remove(&self, key: &str) -> Result<Option<&'static str>, obs::Error> {
        let bucket = &self.bucket;
        let manifest = self.storage.manifest(bucket, key).await?;
        let ours = manifest.filter(|manifest| manifest.generation_of.as_ref() == Some(&self.key));
        let Some(manifest) = ours else {
            return Ok(Some("no manifest says that it is one of this migration"));
        };
        if let Some(object) = self.storage.object(bucket, key).await?
            && !manifest.describes(&object)
        {
            return Ok(Some("its manifest is of another object"));
        }
        // The manifest goes last: it is the proof for the rest.
        for key in [&blocks_key(key), key, &Manifest::key_of(key)] {
            self.storage.delete_object(bucket, key).await?;
        }
        Ok(None)
    }
}

/// The generations, of those that were `found`, that are older than the newest which are kept. The
/// one with the `number` that was made is the newest; after a cutover, the final object is.
fn outdated(found: &BTreeMap<u32, There>, number: Option<u32>, keep: u32) -> Vec<u32> {
    let earlier = found.iter().rev();
    let earlier = earlier.filter(|(earlier, _)| number.is_none_or(|own| **earlier < own));
    let mut left = keep.saturating_sub(1);
    let mut outdated = Vec::new();
    for (number, there) in earlier {
        match there.is_complete() && left > 0 {
            true => left -= 1,
            // Also one that nothing can be based on, and what an interrupted removal has left.
            false => outdated.push(*number),
        }
    }
    outdated
}

fn seconds(milliseconds: u64) -> f64 {
    Duration::from_millis(milliseconds).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers that go, of generations that are there `whole`, and of which something is left.
    fn outdated(number: Option<u32>, keep: u32, whole: &[u32], rest: &[u32]) -> Vec<u32> {
        let of = |object| There {
            object,
            manifest: true,
            table: object,
        };
        let whole = whole.iter().map(|number| (*number, of(true)));
        let rest = rest.iter().map(|number| (*number, of(false)));
        let found: BTreeMap<u32, There> = whole.chain(rest).collect();
        super::outdated(&found, number, keep)
    }

    #[test]
    fn the_newest_are_kept_and_what_is_left_of_others_goes() {
        assert_eq!(outdated(Some(3), 2, &[1, 2], &[]), [1]);
        assert_eq!(outdated(Some(3), 1, &[1, 2], &[]), [2, 1]);
        assert_eq!(outdated(Some(3), 9, &[1, 2], &[]), [0_u32; 0]);
        // That one is being made by another run, or is made again by this one.
        assert_eq!(outdated(Some(3), 1, &[1, 3, 4], &[]), [1]);
        assert_eq!(outdated(Some(5), 2, &[2, 4], &[1, 3]), [3, 2, 1]);
        assert_eq!(outdated(None, 2, &[1, 2, 3], &[]), [2, 1]);
        assert_eq!(outdated(None, 1, &[1, 2, 3], &[]), [3, 2, 1]);
    }

    #[test]
    fn a_generation_without_its_table_does_not_stand_in_for_one_that_can_be_a_base() {
        let whole = There {
            object: true,
            manifest: true,
            table: true,
        };
        let useless = There {
            table: false,
            ..whole
        };
        let found = BTreeMap::from([(1, whole), (2, useless)]);
        assert_eq!(super::outdated(&found, Some(3), 2), [2]);
    }
}
