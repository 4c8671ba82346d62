//! Records of the file table, and their attributes.

use std::ops::Range;

use guest::field::{le16, le32, le64};

use crate::volume::Volume;

const END: u32 = u32::MAX;
const ATTRIBUTE_LIST: u32 = 0x20;
/// Longest record, and longest cluster.
const MOST_RECORD: u64 = 64 << 10;
const MOST_CLUSTER: u64 = 2 << 20;
/// Bytes that are protected by one mark.
const PROTECTED: usize = 512;
/// Most runs of one stream.
const MOST_RUNS: usize = 1 << 16;
/// Flags of attributes: compressed, encrypted.
const PACKED: u16 = 0x40ff;

/// What of the first sector matters here.
pub(super) struct Boot {
    pub(super) cluster: u64,
    pub(super) clusters: u64,
    /// First byte of the file table, and bytes of a record.
    table: u64,
    record: u64,
}

impl Boot {
    pub(super) fn read(volume: Volume<'_>) -> Result<Self, String> {
        let head = volume.read(0, 512)?;
        let sector = u64::from(le16(&head, 11));
        let power = |value: u8| 1_u64.checked_shl(u32::from(value.wrapping_neg()));
        let per_cluster = match head.get(13).copied().unwrap_or_default() {
            many @ 0x81.. => power(many),
            few => Some(few.into()),
        };
        let cluster = per_cluster.and_then(|count| count.checked_mul(sector));
        let cluster =
            cluster.filter(|it| it.is_power_of_two() && (512..=MOST_CLUSTER).contains(it));
        let (Some(cluster), true) = (cluster, head.get(3..11) == Some(b"NTFS    ")) else {
            return Err("its geometry makes no sense".into());
        };
        let record = match head.get(64).copied().unwrap_or_default() {
            clusters @ 0..0x80 => u64::from(clusters).checked_mul(cluster),
            negative => power(negative),
        };
        let record = record.filter(|it| it.is_power_of_two() && (512..=MOST_RECORD).contains(it));
        let record = record.ok_or("its records have no sensible size")?;
        let bytes = le64(&head, 40).checked_mul(sector);
        let bytes = bytes.filter(|bytes| *bytes <= volume.size());
        let bytes = bytes.ok_or("it is longer than its volume")?;
        let table = le64(&head, 48).checked_mul(cluster);
        Ok(Self {
            cluster,
            clusters: bytes / cluster,
            table: table.ok_or("its file table is nowhere")?,
            record,
        })
    }

    /// One of the system's records, which lie in the first run of the file table.
    pub(super) fn record(&self, volume: Volume<'_>, number: u64) -> Result<Record, String> {
        let at = self.table.checked_add(number * self.record);
        let bytes = volume.read(at.ok_or("a record is nowhere")?, self.record)?;
        Record::of(bytes, number)
    }

    /// Any record, found by the runs of the table's own one.
    pub(super) fn any_record(&self, volume: Volume<'_>, number: u64) -> Result<Record, String> {
        let table = self.record(volume, 0)?;
        let stream = table.stream(0x80, &[])?;
        let at = number
            .checked_mul(self.record)
            .ok_or("a record is nowhere")?;
        Record::of(stream.read(volume, self, at, self.record)?, number)
    }
}

/// A record whose sectors were put back together.
pub(super) struct Record {
    bytes: Vec<u8>,
    number: u64,
}

/// Clusters of a stream: its runs, and its length in bytes. A run without a place is a hole.
pub(super) struct Stream {
    pub(super) length: u64,
    /// Bytes from the beginning that were ever written.
    pub(super) written: u64,
    runs: Vec<(u64, Option<u64>)>,
}

/// An attribute: its type, its name in UTF-16 as stored, and all of its bytes.
type Attribute<'a> = (u32, &'a [u8], &'a [u8]);

impl Record {
    fn of(bytes: Vec<u8>, number: u64) -> Result<Self, String> {
        let bytes = mended(bytes, b"FILE");
        let bytes = bytes.filter(|bytes| le16(bytes, 22) & 1 == 1);
        let bytes = bytes.ok_or_else(|| format!("record {number} of its file table is damaged"))?;
        Ok(Self { bytes, number })
    }

    fn damaged(&self, how: &str) -> String {
        format!("record {} of its file table {how}", self.number)
    }

    /// All attributes.
    fn attributes(&self) -> Result<Vec<Attribute<'_>>, String> {
        let mut found = Vec::new();
        let mut at = usize::from(le16(&self.bytes, 20));
        loop {
            let rest = self.bytes.get(at..).unwrap_or_default();
            let (kind, length) = (le32(rest, 0), le32(rest, 4));
            if rest.len() >= 4 && kind == END {
                return Ok(found);
            }
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let attribute = rest.get(..length).filter(|_| length >= 24);
            let attribute = attribute.ok_or_else(|| self.damaged("has no end"))?;
            let name = usize::from(le16(attribute, 10));
            let units = usize::from(attribute.get(9).copied().unwrap_or_default());
            let name = match units {
                0 => &[],
                _ => attribute.get(name..name + units * 2).unwrap_or_default(),
            };
            found.push((kind, name, attribute));
            at += length;
        }
    }

    /// The one attribute of this type and name.
    fn attribute(&self, kind: u32, name: &[u8]) -> Result<&[u8], String> {
        let all = self.attributes()?;
        if all.iter().any(|(kind, ..)| *kind == ATTRIBUTE_LIST) {
            return Err(self.damaged("continues in others"));
        }
        let mut these = all.into_iter().filter(|it| it.0 == kind && it.1 == name);
        match (these.next(), these.next()) {
            (Some((_, _, bytes)), None) => Ok(bytes),
            _ => Err(self.damaged("lacks an attribute")),
        }
    }

    /// Whether it has an attribute of this type and name.
    pub(super) fn has(&self, kind: u32, name: &[u8]) -> Result<bool, String> {
        let all = self.attributes()?;
        Ok(all.into_iter().any(|it| it.0 == kind && it.1 == name))
    }

    /// The value of an attribute that is in the record itself.
    pub(super) fn value(&self, kind: u32, name: &[u8]) -> Result<&[u8], String> {
        let attribute = self.attribute(kind, name)?;
        let from = usize::from(le16(attribute, 20));
        let length = usize::try_from(le32(attribute, 16)).unwrap_or(usize::MAX);
        let value = attribute.get(from..).and_then(|rest| rest.get(..length));
        value
            .filter(|_| attribute.get(8) == Some(&0))
            .ok_or_else(|| self.damaged("has an attribute that is elsewhere"))
    }

    /// A stream that is outside of the record.
    pub(super) fn stream(&self, kind: u32, name: &[u8]) -> Result<Stream, String> {
        let attribute = self.attribute(kind, name)?;
        if attribute.get(8) != Some(&1) || le16(attribute, 12) & PACKED != 0 {
            return Err(self.damaged("has a stream that is inside, or packed"));
        }
        if le64(attribute, 16) != 0 {
            return Err(self.damaged("begins in another one"));
        }
        Ok(Stream {
            length: le64(attribute, 48),
            written: le64(attribute, 56),
            runs: self.mapping(attribute)?,
        })
    }

    /// The clusters of everything that is outside of the record. What continues in other records is
    /// left out; what is sparse has none.
    pub(super) fn runs(&self) -> Result<Vec<Range<u64>>, String> {
        let mut found = Vec::new();
        for (_, _, attribute) in self.attributes()? {
            if attribute.get(8) == Some(&1) {
                let runs = self.mapping(attribute)?;
                let placed = runs.into_iter().filter_map(|(count, place)| {
                    let place = place?;
                    Some(place..place.saturating_add(count))
                });
                found.extend(placed);
            }
        }
        Ok(found)
    }

    /// The runs of an attribute: lengths in clusters, and places.
    fn mapping(&self, attribute: &[u8]) -> Result<Vec<(u64, Option<u64>)>, String> {
        let wrong = || self.damaged("has runs that make no sense");
        let at = usize::from(le16(attribute, 32));
        let mut rest = attribute.get(at..).unwrap_or_default();
        let mut runs = Vec::new();
        let mut place = 0_i64;
        while let Some((&sizes, after)) = rest.split_first() {
            if sizes == 0 {
                return Ok(runs);
            }
            let (length, offset) = (usize::from(sizes & 15), usize::from(sizes >> 4));
            let fields = after
                .split_at_checked(length)
                .filter(|_| length <= 8 && offset <= 8);
            let (count, after) = fields.ok_or_else(wrong)?;
            let (moved, after) = after.split_at_checked(offset).ok_or_else(wrong)?;
            let count = u64::try_from(signed(count)).ok().filter(|count| *count > 0);
            let count = count.ok_or_else(wrong)?;
            let here = match offset {
                0 => None,
                _ => {
                    place = place.checked_add(signed(moved)).ok_or_else(wrong)?;
                    Some(u64::try_from(place).map_err(|_| wrong())?)
                }
            };
            runs.push((count, here));
            if runs.len() > MOST_RUNS {
                return Err(self.damaged("is too scattered"));
            }
            rest = after;
        }
        Err(wrong())
    }
}

impl Stream {
    /// The `length` bytes from `at`.
    pub(super) fn read(
        &self,
        volume: Volume<'_>,
        boot: &Boot,
        at: u64,
        length: u64,
    ) -> Result<Vec<u8>, String> {
        let end = at.checked_add(length).filter(|end| *end <= self.length);
        let end = end.ok_or("a stream of its metadata is too short")?;
        let mut bytes = Vec::new();
        let mut begins = 0_u64;
        for (count, place) in &self.runs {
            let ends = count
                .checked_mul(boot.cluster)
                .and_then(|length| begins.checked_add(length))
                .ok_or("a stream of its metadata has no end")?;
            let (from, to) = (at.max(begins), end.min(ends));
            if from < to {
                let place = place.ok_or("a stream of its metadata has a hole")?;
                let place = place
                    .checked_mul(boot.cluster)
                    .and_then(|place| place.checked_add(from - begins));
                let place = place.ok_or("a stream of its metadata is nowhere")?;
                bytes.extend(volume.read(place, to - from)?);
            }
            begins = ends;
        }
        match bytes.len() as u64 == length {
            true => Ok(bytes),
            false => Err("a stream of its metadata is too short".into()),
        }
    }
}

/// A little-endian number of up to 8 bytes with a sign.
fn signed(bytes: &[u8]) -> i64 {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut whole = [if negative { 0xff } else { 0 }; 8];
    for (to, from) in whole.iter_mut().zip(bytes) {
        *to = *from;
    }
    i64::from_le_bytes(whole)
}

/// A record with this magic with the last bytes of its sectors put back, or none when they do not
/// fit.
pub(super) fn mended(mut record: Vec<u8>, magic: &[u8; 4]) -> Option<Vec<u8>> {
    if !record.starts_with(magic) {
        return None;
    }
    let (at, count) = (usize::from(le16(&record, 4)), usize::from(le16(&record, 6)));
    if count != record.len() / PROTECTED + 1 {
        return None;
    }
    let list = record.get(at..at.checked_add(count * 2)?)?.to_vec();
    let (mark, kept) = list.split_first_chunk::<2>()?;
    for (sector, kept) in record.chunks_mut(PROTECTED).zip(kept.chunks_exact(2)) {
        let end = sector.get_mut(PROTECTED - 2..)?;
        if end != mark {
            return None;
        }
        end.copy_from_slice(kept);
    }
    Some(record)
}
