//! What the entries of L1 and L2 tables say.

use super::layout::{ENTRY_SIZE, EXTENDED_ENTRY_SIZE, SUBCLUSTERS_BITS, l1, l2};
use crate::error::{Error, Result};
use crate::hint::CHECK_QCOW2;
use crate::report::Report;
use crate::units::{FileOffset, SECTOR, fits};
use crate::unpack::Compressed;

pub(super) const L1_ENTRY: &str = "L1 entry";
pub(super) const L2_ENTRY: &str = "L2 entry";

/// Where a cluster, or a part of one, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cluster {
    /// Nothing is stored.
    Unallocated,
    /// It reads as zeros.
    Zero,
    /// It is stored as it is, from this offset; a multiple of the cluster size.
    Plain(FileOffset),
    /// It is stored compressed.
    Compressed(Compressed),
}

/// What an L2 entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// The same for the whole cluster.
    Whole(Cluster),
    /// The cluster's subclusters differ.
    Mixed(Subclusters),
}

/// The subclusters of a cluster, none of which is both allocated and zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subclusters {
    /// Where the cluster is; 0 when none is allocated.
    host: FileOffset,
    /// Bit x: subcluster x is stored.
    stored: u64,
    /// Bit x: subcluster x reads as zeros.
    zero: u64,
    /// log2 of the size of a subcluster in bytes.
    bits: u32,
}

impl Subclusters {
    /// Where the cluster is, and how many bytes of it are stored there and are zeros.
    pub(super) fn sum(self) -> (FileOffset, u64, u64) {
        let bytes = |bits: u64| u64::from(bits.count_ones()) << self.bits;
        (self.host, bytes(self.stored), bytes(self.zero))
    }

    /// What lies `skip` bytes into the cluster, as if the whole cluster were that; and how many
    /// bytes of it there are from there on, at least 1. `skip` is less than the cluster size.
    pub(super) fn part(self, skip: u64) -> (Cluster, u64) {
        let first = skip >> self.bits;
        let (stored, zero) = (self.stored >> first, self.zero >> first);
        let (what, run) = if stored & 1 != 0 {
            (Cluster::Plain(self.host), stored.trailing_ones())
        } else if zero & 1 != 0 {
            (Cluster::Zero, zero.trailing_ones())
        } else {
            (Cluster::Unallocated, (stored | zero).trailing_zeros())
        };
        let last = (first + u64::from(run)).min(1 << SUBCLUSTERS_BITS);
        (what, (last << self.bits) - skip)
    }
}

/// How the entries of an image are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entries {
    pub(super) cluster_bits: u32,
    /// Whether L2 entries are extended.
    pub(super) extended: bool,
    /// Whether bit 0 of an L2 entry is the zero flag; it is reserved in version 2, and where
    /// subclusters have a flag each.
    zero_flag: bool,
    /// Whether clusters are in another file, each where the guest sees it.
    pub(super) external: bool,
}

impl Entries {
    pub(super) fn new(version: u32, cluster_bits: u32, extended: bool, external: bool) -> Self {
        Self {
            cluster_bits,
            extended,
            zero_flag: version >= 3 && !extended,
            external,
        }
    }

    pub(super) fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// Size of an L2 entry in bytes.
    #[inline]
    pub(super) fn size(&self) -> u64 {
        if self.extended {
            EXTENDED_ENTRY_SIZE
        } else {
            ENTRY_SIZE
        }
    }

    /// Guest bytes that one L1 entry maps.
    #[inline]
    pub(super) fn l2_coverage(&self) -> u64 {
        // A table fills a cluster; at most 2^39.
        1 << (2 * self.cluster_bits - self.size().trailing_zeros())
    }

    /// Number of L1 entries that a disk of `size` bytes needs.
    pub(super) fn needed(&self, size: u64) -> u64 {
        size.div_ceil(self.l2_coverage())
    }

    /// The file offset of the L2 table that the L1 entry at file offset `at` names, 0 for none;
    /// `None` when it cannot be there. The file has `file_len` bytes.
    ///
    /// # Errors
    /// Those of `report`.
    pub(super) fn l1(
        &self,
        at: u64,
        entry: u64,
        file_len: u64,
        report: &mut impl Report,
    ) -> Result<Option<u64>> {
        let (offset, cluster_size) = (entry & l1::OFFSET, self.cluster_size());
        let reserved = entry & l1::RESERVED;
        if reserved != 0 {
            report.broken("reserved", &|| {
                broken(
                    L1_ENTRY,
                    at,
                    entry,
                    &format!("reserved bits {reserved:#x} are set"),
                )
            })?;
        }
        if !offset.is_multiple_of(cluster_size) {
            report.broken("alignment", &|| {
                broken(L1_ENTRY, at, entry, &unaligned(offset, cluster_size))
            })?;
            return Ok(None);
        }
        if offset == 0 && entry & l1::COPIED != 0 {
            report.broken("copied-flag", &|| broken(L1_ENTRY, at, entry, NO_OFFSET))?;
        }
        if offset != 0 && !fits(offset, cluster_size, file_len) {
            report.broken("past-end", &|| {
                Error::truncated(
                    "L2 table",
                    offset,
                    format!("expected {cluster_size} bytes here, the file ends at {file_len:#x}"),
                )
            })?;
            return Ok(None);
        }
        Ok(Some(offset))
    }

    /// What most L2 entries say: nothing is stored, or a cluster as it is.
    #[inline]
    pub(super) fn usual(&self, entry: u64) -> Option<Cluster> {
        let offset = entry & l2::OFFSET;
        let aligned = offset & ((1 << self.cluster_bits) - 1) == 0;
        match entry {
            0 => Some(Cluster::Unallocated),
            _ if offset != 0 && aligned && entry & !(l2::OFFSET | l2::COPIED) == 0 => {
                Some(Cluster::Plain(FileOffset(offset)))
            }
            _ => None,
        }
    }

    /// What the L2 entry at file offset `at` says; `None` when nothing can be read by it. An
    /// extended one has the `bitmap` of its subclusters.
    ///
    /// # Errors
    /// Those of `report`.
    pub(super) fn l2(
        &self,
        at: u64,
        entry: u64,
        bitmap: Option<u64>,
        report: &mut impl Report,
    ) -> Result<Option<Entry>> {
        if let Some(bitmap) = bitmap {
            let broken = self.broken_subclusters(entry, bitmap);
            if let Some(broken) = &broken {
                report.broken("subclusters", &|| {
                    Error::corrupt(
                        L2_ENTRY,
                        at,
                        format!("found {entry:#018x} and {bitmap:#018x}: {broken}"),
                    )
                    .with_hint(CHECK_QCOW2)
                })?;
            }
        }
        let cluster = self.cluster(at, entry, report)?;
        Ok(cluster.map(|cluster| match bitmap {
            Some(bitmap) => self.with_subclusters(cluster, bitmap),
            None => Entry::Whole(cluster),
        }))
    }

    /// What is wrong with the bitmap of the subclusters of a cluster.
    fn broken_subclusters(&self, entry: u64, bitmap: u64) -> Option<String> {
        let (stored, zero) = (bitmap & l2::SUBCLUSTERS, bitmap >> 32);
        // The first cluster of an external data file lies at its beginning.
        let at_the_beginning = self.external && entry & l2::COPIED != 0;
        if entry & l2::COMPRESSED != 0 {
            (bitmap != 0).then(|| {
                format!(
                    "the cluster is compressed, but its subclusters are {bitmap:#018x}, expected 0"
                )
            })
        } else if stored & zero != 0 {
            Some(format!(
                "subclusters {:#010x} are both allocated and zero",
                stored & zero
            ))
        } else if stored != 0 && entry & l2::OFFSET == 0 && !at_the_beginning {
            Some(format!(
                "subclusters {stored:#010x} are allocated, but the cluster has no offset"
            ))
        } else {
            None
        }
    }

    /// What the first half of an extended entry says, `cluster`, with the second half.
    fn with_subclusters(&self, cluster: Cluster, bitmap: u64) -> Entry {
        let (stored, zero) = (bitmap & l2::SUBCLUSTERS, bitmap >> 32);
        let host = match cluster {
            Cluster::Plain(host) => host,
            Cluster::Unallocated => FileOffset(0),
            whole => return Entry::Whole(whole),
        };
        match (stored, zero) {
            (l2::SUBCLUSTERS, _) => Entry::Whole(Cluster::Plain(host)),
            (_, l2::SUBCLUSTERS) => Entry::Whole(Cluster::Zero),
            (0, 0) => Entry::Whole(Cluster::Unallocated),
            _ => Entry::Mixed(Subclusters {
                host,
                stored,
                zero,
                bits: self.cluster_bits - SUBCLUSTERS_BITS,
            }),
        }
    }

    /// What a standard entry, or the first half of an extended one, says.
    fn cluster(&self, at: u64, entry: u64, report: &mut impl Report) -> Result<Option<Cluster>> {
        if entry & l2::COMPRESSED != 0 {
            if self.external {
                report.broken("compressed", &|| {
                    let broken_rule = "it is compressed, \
                         which clusters in an external data file are not";
                    broken(L2_ENTRY, at, entry, broken_rule)
                })?;
            }
            return Ok(Some(Cluster::Compressed(self.compressed(entry))));
        }
        let zero = entry & l2::ZERO;
        let reserved = entry & l2::RESERVED | if self.zero_flag { 0 } else { zero };
        if reserved != 0 {
            report.broken("reserved", &|| {
                broken(
                    L2_ENTRY,
                    at,
                    entry,
                    &format!("reserved bits {reserved:#x} are set"),
                )
            })?;
        }
        let offset = entry & l2::OFFSET;
        if !offset.is_multiple_of(self.cluster_size()) {
            report.broken("alignment", &|| {
                broken(L2_ENTRY, at, entry, &unaligned(offset, self.cluster_size()))
            })?;
            return Ok(None);
        }
        let copied = entry & l2::COPIED != 0;
        Ok(Some(match offset {
            _ if zero != 0 => Cluster::Zero,
            0 if copied && self.external => Cluster::Plain(FileOffset(0)),
            0 => {
                if copied {
                    report.broken("copied-flag", &|| broken(L2_ENTRY, at, entry, NO_OFFSET))?;
                }
                Cluster::Unallocated
            }
            offset => Cluster::Plain(FileOffset(offset)),
        }))
    }

    /// A compressed cluster's entry: bits 0 to x-1 the offset, bits x to 61 the number of sectors
    /// beyond the one in which it begins, where x = 62 - (`cluster_bits` - 8).
    fn compressed(&self, entry: u64) -> Compressed {
        let offset_bits = 70 - self.cluster_bits;
        let offset = entry & ((1 << offset_bits) - 1);
        let sectors = (entry & !(l2::COPIED | l2::COMPRESSED)) >> offset_bits;
        Compressed {
            at: FileOffset(offset),
            // At most twice the cluster size.
            len: (sectors + 1) * SECTOR - offset % SECTOR,
        }
    }
}

const NO_OFFSET: &str = "it is marked as in use, but has no offset";

fn unaligned(offset: u64, cluster_size: u64) -> String {
    format!("offset {offset:#x} is not a multiple of the cluster size {cluster_size:#x}")
}

/// A broken rule of an entry.
pub(super) fn broken(structure: &'static str, at: u64, entry: u64, broken: &str) -> Error {
    Error::corrupt(structure, at, format!("found {entry:#018x}: {broken}")).with_hint(CHECK_QCOW2)
}
