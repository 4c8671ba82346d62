//! The content of a file, wherever its pieces are.

use std::rc::Rc;

use ntfs_core::attribute::{Attribute, AttributeBody};
use ntfs_core::boot::BootSector;
use ntfs_core::data::attribute_runlist;
use ntfs_core::error::NtfsError;

use crate::media::Slice;

/// Stretches of one file.
const MAX_STRETCHES: usize = 1 << 20;

/// Consecutive bytes of a stream.
struct Stretch {
    /// First byte in the stream.
    start: u64,
    length: u64,
    /// First byte on the volume; none for zeros.
    place: Option<u64>,
}

/// The content of an attribute.
#[derive(Default)]
pub(super) struct Stream {
    /// Content that stands in the record itself.
    resident: Vec<u8>,
    stretches: Vec<Stretch>,
    size: u64,
    /// Bytes that were ever written; the rest are zeros.
    written: u64,
    /// Why it cannot be read.
    refused: Option<&'static str>,
}

impl Stream {
    /// The stream that `pieces` make up; none when there are none.
    pub(super) fn of(
        boot: &BootSector,
        pieces: &[(Rc<[u8]>, Attribute)],
    ) -> Result<Option<Self>, String> {
        let resident = pieces
            .iter()
            .find_map(|(record, attribute)| attribute.resident_content(record).map(<[u8]>::to_vec));
        if let Some(resident) = resident {
            let size = resident.len() as u64;
            return Ok(Some(Self {
                resident,
                size,
                ..Self::default()
            }));
        }
        let mut sorted: Vec<_> = pieces
            .iter()
            .filter_map(|(record, attribute)| match attribute.body {
                AttributeBody::NonResident {
                    start_vcn,
                    real_size,
                    initialized_size,
                    ..
                } => Some((start_vcn, (real_size, initialized_size), record, attribute)),
                AttributeBody::Resident { .. } => None,
            })
            .collect();
        sorted.sort_by_key(|(first, ..)| *first);
        let Some((0, (size, written), _, attribute)) = sorted.first() else {
            return match sorted.is_empty() {
                true => Ok(None),
                false => Err("the beginning of a file is missing".into()),
            };
        };
        let mut stream = Self {
            size: *size,
            written: *written,
            refused: if attribute.is_encrypted() {
                Some("its content is encrypted")
            } else if attribute.is_compressed() {
                Some("its content is compressed")
            } else {
                None
            },
            ..Self::default()
        };
        for (first, _, record, attribute) in &sorted {
            stream.add(boot, *first, record, attribute)?;
        }
        Ok(Some(stream))
    }

    fn add(
        &mut self,
        boot: &BootSector,
        first: u64,
        record: &[u8],
        attribute: &Attribute,
    ) -> Result<(), String> {
        let too_large = || "the places of a file are too large".to_owned();
        let cluster = boot.cluster_size();
        let mut start = first.checked_mul(cluster).ok_or_else(too_large)?;
        let before = self
            .stretches
            .last()
            .map_or(0, |last| last.start + last.length);
        if start != before {
            return Err("pieces of a file do not follow each other".into());
        }
        for run in attribute_runlist(record, attribute).map_err(shown)? {
            let length = run.length.checked_mul(cluster).ok_or_else(too_large)?;
            let place = match run.lcn {
                Some(place) => Some(place.checked_mul(cluster).ok_or_else(too_large)?),
                None => None,
            };
            if self.stretches.len() >= MAX_STRETCHES {
                return Err("a file is in too many pieces".into());
            }
            self.stretches.push(Stretch {
                start,
                length,
                place,
            });
            start = start.checked_add(length).ok_or_else(too_large)?;
        }
        Ok(())
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Reads at most `buf.len()` bytes from `at`; fewer only at the stream's end.
    pub(super) fn read_at(&self, slice: &Slice, at: u64, buf: &mut [u8]) -> Result<usize, String> {
        if let Some(reason) = self.refused {
            return Err(reason.into());
        }
        let left = usize::try_from(self.size.saturating_sub(at)).unwrap_or(usize::MAX);
        let (buf, _) = buf.split_at_mut(left.min(buf.len()));
        if !self.resident.is_empty() {
            let from = usize::try_from(at).unwrap_or(usize::MAX);
            let found = self.resident.get(from..).unwrap_or_default();
            buf.copy_from_slice(found.get(..buf.len()).unwrap_or_default());
            return Ok(buf.len());
        }
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let place = at + done as u64;
            let after = self.stretches.partition_point(|known| known.start <= place);
            let stretch = after
                .checked_sub(1)
                .and_then(|index| self.stretches.get(index))
                .filter(|stretch| place - stretch.start < stretch.length)
                .ok_or("a file ends before its size")?;
            let within = place - stretch.start;
            let written = self.written.saturating_sub(place);
            let (end, stored) = match stretch.place {
                Some(stored) if written > 0 => {
                    let end = (stretch.length - within).min(written);
                    (end, Some(stored.saturating_add(within)))
                }
                _ => (stretch.length - within, None),
            };
            let length = usize::try_from(end).unwrap_or(usize::MAX).min(rest.len());
            let (piece, _) = rest.split_at_mut(length);
            match stored {
                Some(stored) => slice.read_at(stored, piece)?,
                None => piece.fill(0),
            }
            done += length;
        }
        Ok(done)
    }

    /// All of it.
    ///
    /// # Errors
    /// It has more than `cap` bytes, or cannot be read.
    pub(super) fn whole(&self, slice: &Slice, cap: u64) -> Result<Vec<u8>, String> {
        if self.size > cap {
            return Err(format!(
                "a structure of the NTFS has {} bytes; at most {cap} are read",
                self.size
            ));
        }
        let mut bytes = vec![0; usize::try_from(self.size).unwrap_or_default()];
        let read = self.read_at(slice, 0, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// What the crate says of a structure.
pub(super) fn shown(error: NtfsError) -> String {
    format!("the NTFS cannot be read: {error}")
}
