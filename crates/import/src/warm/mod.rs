//! The migration of a running server: runs that upload generations of its disk, each made of the one
//! before, and one in the end that makes the image.
//!
//! ```text
//!  --warm      disk ─▶ KEY.g0001   ─▶ KEY.g0002 ─▶ … ─▶ KEY.g0007      nothing is registered
//!                        (whole)        (delta)                │ copies
//!  --cutover   disk ───────────────────────────────────────────┴──▶ KEY ─▶ image
//! ```
//!
//! The bucket says which generations there are: a run lists them, and takes the newest whose table,
//! manifest and object agree. The cutover is the import of any disk, with that as its base. What a
//! generation holds need not be one state of the disk, but its table says what it holds.

mod begin;
mod end;
mod names;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloud::{Class, Failure, ImportHint, Result};
use obs::Client as Storage;

pub(super) use self::begin::check;
use self::names::{Names, There};
use super::observe::Context;
use super::outcome::{Generation, Stages};
use super::piece::Pieces;
use super::send::{Base, Content, Sent};

/// Generations that are looked at, from the newest on, before the whole disk is sent.
const TRIES: usize = 5;

/// The migration that a run belongs to.
pub(crate) struct Migration {
    storage: Storage,
    names: Names,
    bucket: String,
    /// Key of the object that the image is made of.
    key: String,
    /// What there was when the run began.
    found: BTreeMap<u32, There>,
    /// The generation that this run makes; `None` for the cutover.
    number: Option<u32>,
    keep: u32,
    /// Least bytes of a part that is copied.
    min_part: u64,
    begun: Instant,
    /// Seconds since 1970.
    started: u64,
}

impl Migration {
    /// The newest generation that can be the base of the disk, and its number. `None` when the whole
    /// disk is sent.
    pub(super) async fn base(
        &self,
        pieces: &Pieces,
        cx: Context<'_>,
    ) -> Result<Option<(u32, Arc<Base>)>> {
        let Some(disk) = pieces.system.form.disk() else {
            return Ok(None);
        };
        let earlier = self.found.iter().rev();
        let earlier = earlier
            .filter(|(number, there)| there.object && self.number.is_none_or(|own| **number < own));
        let mut refused = false;
        for (number, _) in earlier.take(TRIES) {
            let key = self.names.key(*number);
            let place = (self.bucket.as_str(), key.as_str());
            let finding = Base::find(&self.storage, place, self.min_part, &disk.plan, cx.stop);
            match cx.stop.unless_asked(finding).await? {
                Ok(base) => return Ok(Some((*number, Arc::new(base)))),
                Err(failure) if matches!(failure.class(), Class::Refused | Class::Mismatch) => {
                    cx.observer.warn(format_args!("{}", failure.line()));
                    refused = true;
                }
                Err(failure) => return Err(failure),
            }
        }
        if refused {
            cx.observer.warn(format_args!(
                "no generation of {}/{} can be the base; the whole disk is sent",
                self.bucket, self.key
            ));
        }
        Ok(None)
    }

    /// Key of the final object, for the manifest of a generation.
    pub(super) fn generation_of(&self) -> Option<&str> {
        self.number.map(|_| self.key.as_str())
    }

    /// What this run has made, of the generation `base` if that was found.
    pub(super) fn made(&self, base: Option<u32>, sent: &Sent) -> Generation {
        let held = |content: &Content| content.read_bytes.saturating_sub(content.zero_bytes);
        let all = sent.content.as_ref().map_or(0, held);
        let block = zvhd2::BLOCK_SIZE as u64;
        Generation {
            number: self.number,
            // Where nothing was worth copying, there was no base.
            base: base.filter(|_| sent.changed_blocks.is_some()),
            changed_bytes: sent
                .changed_blocks
                .map_or(all, |blocks| blocks.saturating_mul(block)),
            seconds: Stages::seconds(self.begun.elapsed()),
            is_described: sent.is_described,
            ..Generation::default()
        }
    }
}

/// Why a disk cannot be migrated so.
fn refused(why: impl Into<String>, hint: ImportHint) -> Failure {
    Failure::new(Class::Refused, why).hint(hint)
}

/// Milliseconds as they are noted.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
