//! What is noted while an import runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::convert::{BlockRecord, Recorder, SinkError};
use journal::{Block, Journal, Part};
use obs::{PartLog, PartRecord};

/// The journal, for the threads that note blocks and the tasks that note parts.
#[derive(Clone)]
pub(crate) struct Notes(pub(crate) Arc<Mutex<Journal>>);

impl Notes {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Journal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recorder for Notes {
    fn block(&mut self, block: &BlockRecord) -> Result<(), SinkError> {
        self.lock().block(Block {
            number: block.number,
            offset: block.offset,
            len: block.len,
            crc: block.crc,
            hash: block.hash,
            // Every level is one of a few small numbers.
            level: block.level.and_then(|level| i8::try_from(level).ok()),
        })?;
        Ok(())
    }
}

impl PartLog for Notes {
    fn confirmed(&self, part: &PartRecord) -> Result<(), SinkError> {
        self.lock().part(Part {
            number: part.number,
            size: part.size,
            md5: part.md5,
            etag: part.etag.clone(),
        })?;
        Ok(())
    }
}
