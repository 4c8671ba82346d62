//! What the records add up to.

use std::collections::BTreeMap;

use crate::record::{Begun, Block, Completed, Part, Record};
use crate::registration::Known;

/// How far an import has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nothing was sent.
    Begun,
    /// Parts are being sent.
    Uploading,
    /// Every part is stored; whether they are joined is not known.
    Sent,
    /// The object is there.
    Uploaded,
    /// The registration may have been sent.
    Registering,
    /// The service works on it.
    Registered,
    /// The image is there.
    Done,
}

impl Stage {
    /// The name used in listings and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Uploading => "uploading",
            Self::Sent => "sent",
            Self::Uploaded => "uploaded",
            Self::Registering => "registering",
            Self::Registered => "registered",
            Self::Done => "done",
        }
    }
}

/// What a journal says, without its blocks: those are read when they are needed.
#[derive(Clone, Debug)]
pub struct State {
    /// What the import is.
    pub begun: Begun,
    /// The server's id of the upload.
    pub upload: Option<String>,
    /// Parts that were confirmed, by number.
    pub parts: BTreeMap<u32, Part>,
    /// Blocks that the journal holds.
    pub blocks: u64,
    /// The last of them.
    pub last_block: Option<Block>,
    /// Bytes of the stream, and the content digest, once all parts are stored.
    pub sent: Option<(u64, String)>,
    /// The object, once it is there.
    pub completed: Option<Completed>,
    /// Images that had the name and were about to be renamed, by id, with their new names.
    pub renamed: BTreeMap<String, String>,
    /// Address of the service and name of the image, once a registration was about to be sent. No
    /// answer takes it back.
    pub registering: Option<(String, String)>,
    /// When the first of them was about to be sent, in seconds since 1970 by the service's clock.
    pub asked_at: Option<u64>,
    /// Whether the service said no to the last of them, or its job failed.
    pub declined: bool,
    /// The job, once it is known.
    pub job: Option<String>,
    /// The image, once it is there; `Some(None)` where nobody waited for it.
    pub active: Option<Option<String>>,
}

impl State {
    pub(crate) fn new(begun: Begun) -> Self {
        Self {
            begun,
            upload: None,
            parts: BTreeMap::new(),
            blocks: 0,
            last_block: None,
            sent: None,
            completed: None,
            renamed: BTreeMap::new(),
            registering: None,
            asked_at: None,
            declined: false,
            job: None,
            active: None,
        }
    }

    /// How far the import has come.
    #[must_use]
    pub fn stage(&self) -> Stage {
        if self.active.is_some() {
            Stage::Done
        } else if self.job.is_some() {
            Stage::Registered
        } else if self.registering.is_some() && !self.declined {
            Stage::Registering
        } else if self.completed.is_some() {
            Stage::Uploaded
        } else if self.sent.is_some() {
            Stage::Sent
        } else if self.upload.is_some() {
            Stage::Uploading
        } else {
            Stage::Begun
        }
    }

    /// What is known of the registration of the image `name` at `service`.
    #[must_use]
    pub fn registration(&self, service: &str, name: &str) -> Known {
        let asked = self.registering.as_ref();
        let same = asked.is_some_and(|(s, n)| s == service && n == name);
        let adopted = asked.is_none() && self.begun.name == name;
        if matches!(self.active, Some(Some(_))) && (same || adopted) {
            return Known::Done;
        }
        match (same, &self.job, self.declined) {
            (true, Some(_), _) => Known::Job,
            (true, None, false) => Known::Sent,
            (true, None, true) => Known::Perhaps,
            // The note of a request may be lost, but not that of the object before it.
            (false, ..) if asked.is_none() && self.sent.is_some() => Known::Perhaps,
            (false, ..) => Known::Nothing,
        }
    }

    /// Forgets that the image was there: it is gone. The object is as good as before.
    pub fn image_is_gone(&mut self) {
        self.active = None;
        self.registering = None;
        self.asked_at = None;
        self.declined = false;
        self.job = None;
    }

    /// Bytes of the parts that were confirmed.
    #[must_use]
    pub fn confirmed_bytes(&self) -> u64 {
        self.parts
            .values()
            .fold(0, |sum: u64, part| sum.saturating_add(part.size))
    }

    /// Adds a record. `false` when it cannot follow what was there: the journal is damaged.
    #[must_use]
    pub(crate) fn apply(&mut self, record: &Record) -> bool {
        match record {
            Record::Begun(_) => return false,
            Record::Upload { id } => self.upload = Some(id.clone()),
            Record::Blocks(blocks) => {
                let mut last = self.last_block;
                for block in blocks {
                    let follows = last.is_none_or(|last| {
                        last.number < block.number
                            && last.offset.checked_add(u64::from(last.len)) == Some(block.offset)
                    });
                    if !follows {
                        return false;
                    }
                    last = Some(*block);
                }
                self.last_block = last;
                self.blocks = self.blocks.saturating_add(blocks.len() as u64);
            }
            Record::Part(part) => {
                self.parts.insert(part.number, part.clone());
            }
            Record::Sent { size, digest } => self.sent = Some((*size, digest.clone())),
            Record::Completed(completed) => self.completed = Some(completed.clone()),
            Record::Renamed { image, name } => {
                self.renamed.insert(image.clone(), name.clone());
            }
            Record::Registering { service, name, at } => {
                let asked = Some((service.clone(), name.clone()));
                // What is asked for again may have been made by the first request.
                if self.active.take().is_some() || self.registering != asked {
                    self.asked_at = *at;
                }
                self.registering = asked;
                self.declined = false;
                self.job = None;
            }
            Record::Job { id } => self.job = Some(id.clone()),
            Record::Declined => {
                self.declined = true;
                self.job = None;
            }
            Record::Active { image } => self.active = Some(image.clone()),
        }
        true
    }
}
