//! What a small file may cost: files of a few MiB that describe disks of many tebibytes, held
//! against numbers of steps and reads. No clock is asked, so that the machine does not matter.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use diskimg::check_source;
use diskimg::open_source;
use diskimg::{
    BackingPolicy, CheckReport, DiskImage, DiskImageExt, Error, ErrorKind, ExtentKind, FileOffset,
    Format, OpenOptions, ReadAt, Result, SourceExtent, Tally,
};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Eight bytes, by the distance of the first one from the beginning of their stretch.
type Word = Box<dyn Fn(u64) -> [u8; 8] + Send + Sync>;

/// A file that is a hole but for some stretches, and how often it was read and asked for holes.
#[derive(Default)]
struct Holey {
    len: u64,
    /// In order and apart from each other.
    stretches: Vec<(Range<u64>, Word)>,
    uses: AtomicU64,
    /// Bytes that were read.
    bytes_read: AtomicU64,
}

impl Holey {
    fn new(len: u64) -> Self {
        Self {
            len,
            ..Self::default()
        }
    }

    fn words(
        mut self,
        at: u64,
        len: u64,
        word: impl Fn(u64) -> [u8; 8] + Send + Sync + 'static,
    ) -> Self {
        self.stretches.push((at..at + len, Box::new(word)));
        self
    }

    fn bytes(self, at: u64, mut bytes: Vec<u8>) -> Self {
        bytes.resize(bytes.len().next_multiple_of(4096), 0);
        self.words(at, bytes.len() as u64, move |at| {
            bytes[at as usize..at as usize + 8].try_into().unwrap()
        })
    }

    fn next(&self, at: u64) -> usize {
        self.stretches.partition_point(|(range, _)| range.end <= at)
    }
}

impl ReadAt for Holey {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        self.uses.fetch_add(1, Ordering::Relaxed);
        self.bytes_read
            .fetch_add(buf.len() as u64, Ordering::Relaxed);
        let end = at.0 + buf.len() as u64;
        if end > self.len {
            return Err(Error::new(ErrorKind::Truncated, "it ends before"));
        }
        buf.fill(0);
        for (range, word) in &self.stretches[self.next(at.0)..] {
            for place in range.start.max(at.0)..range.end.min(end) {
                let within = place - range.start;
                buf[(place - at.0) as usize] = word(within / 8 * 8)[(within % 8) as usize];
            }
        }
        Ok(())
    }

    fn extent_at(&self, at: FileOffset, limit: u64) -> Result<SourceExtent> {
        self.uses.fetch_add(1, Ordering::Relaxed);
        Ok(match self.stretches.get(self.next(at.0)) {
            Some((range, _)) if range.start <= at.0 => {
                SourceExtent::Data((range.end - at.0).min(limit))
            }
            Some((range, _)) => SourceExtent::Hole((range.start - at.0).min(limit)),
            None => SourceExtent::Hole(limit),
        })
    }

    fn stored_len(&self) -> u64 {
        self.stretches
            .iter()
            .map(|(range, _)| range.end - range.start)
            .sum()
    }
}

fn open(source: &Arc<Holey>) -> Box<dyn DiskImage> {
    let options = OpenOptions {
        backing: BackingPolicy::Describe,
        ..OpenOptions::default()
    };
    let source: Arc<dyn ReadAt> = Arc::<Holey>::clone(source);
    open_source(source, &options, &[]).unwrap().image
}

/// The sum of the whole disk, which takes at most `steps` steps.
#[track_caller]
fn sum(image: &dyn DiskImage, steps: u64) -> Tally {
    let mut sum = Tally::new(diskimg::GuestOffset(0));
    for tally in image.tallies(2 * MIB) {
        let tally = tally.unwrap();
        sum.add(ExtentKind::Data, tally.data);
        sum.add(ExtentKind::Zero, tally.zero);
        sum.add(ExtentKind::Hole, tally.hole);
        sum.add(ExtentKind::Elsewhere, tally.elsewhere);
    }
    let done = image.work().done;
    assert!(done < steps, "{done} steps");
    assert_eq!(sum.len(), image.virtual_size());
    sum
}

/// Listing the extents of the disk ends with an error that says why.
#[track_caller]
fn assert_too_complex(image: &dyn DiskImage) {
    let before = image.work().done;
    let error = image.all_extents().find_map(Result::err);
    let error = error.unwrap_or_else(|| panic!("the walk came to its end"));
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert!(error.to_string().contains("too complex"), "{error}");
    assert!(
        error
            .hint()
            .unwrap()
            .to_string()
            .contains("qemu-img convert")
    );
    let work = image.work();
    // What one question may take comes on top.
    assert!(work.done - before < work.allowed + 8192, "{work:?}");
    assert!(work.allowed < 48 << 20, "{work:?}");
}

/// The check of a file reads it, and asks it for holes, at most `uses` times.
#[track_caller]
fn check(source: &Arc<Holey>, uses: u64) {
    let before = source.uses.load(Ordering::Relaxed);
    let file: Arc<dyn ReadAt> = Arc::<Holey>::clone(source);
    check_source(&file, &OpenOptions::default(), &[], &|| false).unwrap();
    let used = source.uses.load(Ordering::Relaxed) - before;
    assert!(used <= uses, "{used} reads");
}

/// The check of a file reads at most `bytes` bytes of it.
#[track_caller]
fn check_reading(source: Holey, bytes: u64) -> CheckReport {
    let source = Arc::new(source);
    let file: Arc<dyn ReadAt> = Arc::<Holey>::clone(&source);
    let options = OpenOptions::of(Some(Format::Qcow2));
    let report = check_source(&file, &options, &[], &|| false).unwrap();
    let read = source.bytes_read.load(Ordering::Relaxed);
    assert!(read <= bytes, "{read} bytes");
    report
}

/// The header of a qcow2 whose L1 table is its third cluster.
fn qcow2_header(cluster_bits: u32, size: u64, tables: u64, subclusters: bool) -> Vec<u8> {
    let mut header = vec![0; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb\0\0\0\x03");
    put(20, &cluster_bits.to_be_bytes());
    put(24, &size.to_be_bytes());
    put(36, &(tables as u32).to_be_bytes());
    put(40, &(2_u64 << cluster_bits).to_be_bytes());
    put(79, &[if subclusters { 16 } else { 0 }]);
    put(96, &4_u32.to_be_bytes());
    put(100, &104_u32.to_be_bytes());
    header
}

#[test]
fn a_cluster_named_in_every_entry_is_asked_for_holes_once() {
    const CLUSTER: u64 = 2 * MIB;
    let entries = CLUSTER / 8;
    let data = 4 * CLUSTER;
    let mut file = Holey::new(data + CLUSTER)
        .bytes(0, qcow2_header(21, entries * CLUSTER, 1, false))
        .bytes(
            2 * CLUSTER,
            ((3 * CLUSTER) | (1 << 63)).to_be_bytes().to_vec(),
        )
        .words(3 * CLUSTER, CLUSTER, move |_| {
            (data | 1 << 63).to_be_bytes()
        });
    for piece in 0..256 {
        file = file.words(data + piece * 8 * KIB, 4 * KIB, |_| [0xab; 8]);
    }
    let file = Arc::new(file);
    let image = open(&file);
    let found = sum(image.as_ref(), MIB);
    assert_eq!((found.data, found.hole), (256 * GIB, 256 * GIB));
    let uses = file.uses.load(Ordering::Relaxed);
    assert!(uses < 2000, "{uses} reads");
    // One by one they are 134 million extents.
    assert_too_complex(image.as_ref());
    check(&file, 2000);
}

#[test]
fn tables_in_holes_cost_no_reads() {
    // All 64 TiB of the disk have L2 tables, none of which is stored.
    for (cluster_bits, subclusters) in [(16, false), (14, true)] {
        let cluster = 1_u64 << cluster_bits;
        let entry = if subclusters { 16 } else { 8 };
        let tables = 64 * TIB / (cluster * cluster / entry);
        let l1 = 2 * cluster;
        let first = l1 + tables * 8;
        let file = Holey::new(first + tables * cluster)
            .bytes(0, qcow2_header(cluster_bits, 64 * TIB, tables, subclusters))
            .words(l1, tables * 8, move |at| {
                ((first + at / 8 * cluster) | 1 << 63).to_be_bytes()
            });
        let file = Arc::new(file);
        let image = open(&file);
        assert_eq!(sum(image.as_ref(), MIB).hole, 64 * TIB);
        assert_eq!(image.all_extents().count(), 1);
        let uses = file.uses.load(Ordering::Relaxed);
        assert!(uses < 100, "{uses} reads");
        check(&file, 100);
    }
}

#[test]
fn a_table_that_is_stored_in_part_maps_what_is_stored() {
    const CLUSTER: u64 = 64 * KIB;
    let data = 5 * CLUSTER;
    // Of the table's 8192 entries the last 512 are stored, and each of these has a cluster of its
    // own.
    let stored = 3 * CLUSTER + 60 * KIB;
    let file = Holey::new(data + 512 * CLUSTER)
        .bytes(0, qcow2_header(16, GIB, 2, false))
        .bytes(
            2 * CLUSTER,
            ((3 * CLUSTER) | (1 << 63)).to_be_bytes().to_vec(),
        )
        .words(stored, 4 * KIB, move |at| {
            ((data + at / 8 * CLUSTER) | 1 << 63).to_be_bytes()
        })
        .words(data, 512 * CLUSTER, |_| [7; 8]);
    let image = open(&Arc::new(file));
    let extents: Vec<_> = image
        .all_extents()
        .map(|extent| extent.map(|extent| (extent.kind, extent.len)).unwrap())
        .collect();
    let expected = [
        (ExtentKind::Hole, 7680 * CLUSTER),
        (ExtentKind::Data, 512 * CLUSTER),
        (ExtentKind::Hole, GIB / 2),
    ];
    assert_eq!(extents, expected);
    let mut bytes = [0; 4];
    let at = diskimg::GuestOffset(7680 * CLUSTER - 2);
    image.read_at(at, &mut bytes).unwrap();
    assert_eq!(bytes, [0, 0, 7, 7]);
}

#[test]
fn subclusters_by_turns_are_summed_up_and_not_listed() {
    const CLUSTER: u64 = 16 * KIB;
    let tables = 1024;
    let l1 = 2 * CLUSTER;
    let first = l1 + CLUSTER;
    let data = first + tables * CLUSTER;
    let size = tables * 1024 * CLUSTER;
    let file = |bitmap: u64| {
        let file = Holey::new(data + CLUSTER)
            .bytes(0, qcow2_header(14, size, tables, true))
            .words(l1, tables * 8, move |at| {
                ((first + at / 8 * CLUSTER) | 1 << 63).to_be_bytes()
            })
            .words(first, tables * CLUSTER, move |at| match at % 16 {
                0 => (data | 1 << 63).to_be_bytes(),
                _ => bitmap.to_be_bytes(),
            })
            .words(data, CLUSTER, |_| [1; 8]);
        Arc::new(file)
    };
    let source = file(0x5555_5555);
    let image = open(&source);
    let found = sum(image.as_ref(), 3 << 20);
    assert_eq!((found.data, found.hole), (size / 2, size / 2));
    // 2^25 of them.
    assert_too_complex(image.as_ref());
    check(&source, 10_000);
    // A quarter each is stored and zero.
    let found = sum(open(&file(0x8888_8888_1111_1111)).as_ref(), 3 << 20);
    let expected = (size / 4, size / 4, size / 2);
    assert_eq!((found.data, found.zero, found.hole), expected);
}

/// A dynamic VHD of 4 Mi blocks of 4 KiB; `bitmaps` are the first eight bytes of the sector bitmap
/// of each, or all of them are in a hole.
fn vhd(bitmaps: bool) -> Arc<Holey> {
    const BLOCK: u64 = 4 * KIB;
    let blocks = if bitmaps { 64 << 10 } else { 4 << 20 };
    let size = blocks * BLOCK;
    let seal = |structure: &mut [u8], at: usize| {
        let sum: u32 = structure.iter().map(|byte| u32::from(*byte)).sum();
        structure[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
    };
    let put = |bytes: &mut [u8], at: usize, value: &[u8]| {
        bytes[at..at + value.len()].copy_from_slice(value);
    };
    let mut footer = vec![0; 512];
    put(&mut footer, 0, b"conectix\0\0\0\x02\0\x01\0\0");
    put(&mut footer, 16, &512_u64.to_be_bytes());
    put(&mut footer, 28, b"win \0\x0a\0\0Wi2k");
    put(&mut footer, 40, &size.to_be_bytes());
    put(&mut footer, 48, &size.to_be_bytes());
    put(&mut footer, 56, &[0xff, 0xff, 16, 255, 0, 0, 0, 3]);
    seal(&mut footer, 64);
    let mut header = vec![0; 1024];
    put(&mut header, 0, b"cxsparse");
    put(&mut header, 8, &u64::MAX.to_be_bytes());
    put(&mut header, 16, &4096_u64.to_be_bytes());
    put(&mut header, 24, &[0, 1, 0, 0]);
    put(&mut header, 28, &(blocks as u32).to_be_bytes());
    put(&mut header, 32, &(BLOCK as u32).to_be_bytes());
    seal(&mut header, 36);
    let first = 4096 + blocks * 4;
    let end = first + blocks * (512 + BLOCK);
    let mut file = Holey::new(end + 512)
        .bytes(0, [footer.clone(), header].concat())
        .words(4096, blocks * 4, move |at| {
            let sector = |block: u64| ((first + block * (512 + BLOCK)) / 512) as u32;
            let words = [at / 4, at / 4 + 1].map(|block| sector(block).to_be_bytes());
            words.concat().try_into().unwrap()
        });
    if bitmaps {
        // Sectors by turns.
        file = file.words(first, end - first, |at| match at % (512 + BLOCK) {
            0 => [0x55, 0, 0, 0, 0, 0, 0, 0],
            _ => [9; 8],
        });
    }
    let footer = move |at: u64| footer[at as usize..at as usize + 8].try_into().unwrap();
    Arc::new(file.words(end, 512, footer))
}

#[test]
fn sector_bitmaps_in_holes_are_not_read_and_others_are_summed_up() {
    let file = vhd(false);
    let image = open(&file);
    let found = sum(image.as_ref(), 5 << 20);
    // A bitmap that marks nothing is not believed, but the blocks themselves are a hole.
    assert_eq!(found.hole, 16 * GIB);
    image.audit(&|| false).unwrap();
    let uses = file.uses.load(Ordering::Relaxed);
    assert!(uses < 100, "{uses} reads");
    check(&file, 100);

    let image = open(&vhd(true));
    let found = sum(image.as_ref(), 4 << 20);
    assert_eq!((found.data, found.zero), (128 * MIB, 128 * MIB));
    let listed = image.all_extents().map(Result::unwrap);
    let data = listed.filter(|extent| extent.kind == ExtentKind::Data);
    assert_eq!(data.map(|extent| extent.len).sum::<u64>(), 128 * MIB);
}

/// Writes a qcow2 of 64 TiB that stores nothing at `path`, above `backing`.
fn write_empty(path: &Path, backing: Option<&str>) {
    let cluster = 64 * KIB;
    let tables = 131_072;
    let mut header = qcow2_header(16, 64 * TIB, tables, false);
    header.truncate(104);
    if let Some(backing) = backing {
        header.extend(b"\xe2\x79\x2a\xca\0\0\0\x05qcow2\0\0\0");
        header.extend([0; 8]);
        let at = header.len() as u64;
        header.extend(backing.as_bytes());
        header[8..16].copy_from_slice(&at.to_be_bytes());
        header[16..20].copy_from_slice(&(backing.len() as u32).to_be_bytes());
    }
    std::fs::write(path, header).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(2 * cluster + tables * 8).unwrap();
}

#[test]
fn a_chain_of_32_files_costs_what_they_hold() {
    let dir = tempfile::tempdir().unwrap();
    let name = |number: usize| format!("{number}.qcow2");
    for number in 0..32 {
        let backing = (number < 31).then(|| name(number + 1));
        write_empty(&dir.path().join(name(number)), backing.as_deref());
    }
    let options = OpenOptions {
        backing: BackingPolicy::Inside(dir.path().to_owned()),
        ..OpenOptions::default()
    };
    let opened = diskimg::open(&dir.path().join(name(0)), &options, &[]).unwrap();
    let image = opened.image.as_ref();
    assert_eq!(sum(image, 2 << 20).hole, 64 * TIB);
    assert_eq!(image.all_extents().count(), 1);
    let work = image.work();
    assert!(work.done < 4 << 20, "{work:?}");
}

/// `header` with big-endian `value` at `at`.
fn with(mut header: Vec<u8>, at: usize, value: &[u8]) -> Vec<u8> {
    header[at..at + value.len()].copy_from_slice(value);
    header
}

#[test]
fn a_check_reads_of_refcount_blocks_what_is_stored() {
    const CLUSTER: u64 = 2 * MIB;
    const BLOCKS: u64 = 1000;
    let header = qcow2_header(21, MIB, 0, false);
    let header = with(header, 48, &CLUSTER.to_be_bytes());
    let header = with(header, 56, &1_u32.to_be_bytes());
    let header = with(header, 96, &0_u32.to_be_bytes());
    let table = (0..BLOCKS).flat_map(|index| ((8 + index) * CLUSTER).to_be_bytes());
    let mut file = Holey::new((8 + BLOCKS) * CLUSTER)
        .bytes(0, header)
        .bytes(CLUSTER, table.collect());
    for index in 0..BLOCKS {
        // In the second half of the block, and past the clusters that the file has; first the count
        // of cluster 1 as well.
        let at = (8 + index) * CLUSTER;
        if index == 0 {
            file = file.bytes(at, vec![2, 0, 0, 0, 0, 0, 0, 0]);
        }
        file = file.bytes(at + CLUSTER / 2, vec![3, 0, 0, 0, 0, 0, 0, 1]);
    }
    let report = check_reading(file, 8 * MIB);
    let beyond = report
        .findings
        .iter()
        .filter(|finding| finding.structure == "refcount block");
    let beyond: Vec<_> = beyond.map(|finding| finding.message.as_str()).collect();
    assert!(!beyond.is_empty());
    let expected = "3 clusters past the end of the file are marked as in use";
    assert!(
        beyond.iter().all(|message| *message == expected),
        "{beyond:?}"
    );
    let too_low: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.rule == "refcount-too-low")
        .filter_map(|finding| finding.offset)
        .collect();
    // Cluster 1 is counted, 0 and those of the blocks are not.
    assert_eq!(too_low, [0, 8 * CLUSTER], "{:?}", report.findings);
}

/// Entries of a table of 32 MiB.
const LONG_TABLE: u64 = 32 * MIB;

#[test]
fn a_check_reads_of_the_l1_tables_of_snapshots_what_is_stored() {
    const CLUSTER: u64 = 2 * MIB;
    const SNAPSHOTS: u64 = 255;
    let table = |index: u64| 8 * CLUSTER + index * LONG_TABLE;
    let header = qcow2_header(21, MIB, 0, false);
    let header = with(header, 60, &(SNAPSHOTS as u32).to_be_bytes());
    let header = with(header, 64, &(3 * CLUSTER).to_be_bytes());
    let snapshots = (0..SNAPSHOTS).flat_map(|index| {
        let head = with(vec![0; 64], 0, &table(index).to_be_bytes());
        let head = with(head, 8, &((LONG_TABLE / 8) as u32).to_be_bytes());
        let head = with(head, 12, &[0, 1, 0, 1]);
        let head = with(head, 36, &16_u32.to_be_bytes());
        with(head, 56, b"ab")
    });
    let mut file = Holey::new(table(SNAPSHOTS))
        .bytes(0, header)
        .bytes(3 * CLUSTER, snapshots.collect());
    // One entry in the middle of each, which names no cluster.
    for index in 0..SNAPSHOTS {
        let entry = 512_u64.to_be_bytes().to_vec();
        file = file.bytes(table(index) + LONG_TABLE / 2, entry);
    }
    let report = check_reading(file, 4 * MIB);
    assert!(report.skipped.is_empty(), "{:?}", report.skipped);
    let misplaced = report
        .findings
        .iter()
        .filter(|finding| finding.structure == "L1 entry");
    assert!(misplaced.count() > 10, "{:?}", report.findings);
}

#[test]
fn a_check_reads_of_bitmap_tables_what_is_stored() {
    const CLUSTER: u64 = 2 * MIB;
    const BITMAPS: u64 = 200;
    let table = |index: u64| 8 * CLUSTER + index * LONG_TABLE;
    let heads = (0..BITMAPS).flat_map(|index| {
        let head = with(vec![0; 32], 0, &table(index).to_be_bytes());
        let head = with(head, 8, &((LONG_TABLE / 8) as u32).to_be_bytes());
        let head = with(head, 16, &[1, 16, 0, 1]);
        with(head, 24, b"b")
    });
    let heads: Vec<u8> = heads.collect();
    let header = qcow2_header(21, MIB, 0, false);
    let header = with(header, 88, &1_u64.to_be_bytes());
    let header = with(header, 104, &0x2385_2875_u32.to_be_bytes());
    let header = with(header, 108, &24_u32.to_be_bytes());
    let header = with(header, 112, &(BITMAPS as u32).to_be_bytes());
    let header = with(header, 120, &(heads.len() as u64).to_be_bytes());
    let header = with(header, 128, &(3 * CLUSTER).to_be_bytes());
    let mut file = Holey::new(table(BITMAPS))
        .bytes(0, header)
        .bytes(3 * CLUSTER, heads);
    for index in 0..BITMAPS {
        let entry = 512_u64.to_be_bytes().to_vec();
        file = file.bytes(table(index) + LONG_TABLE / 2, entry);
    }
    let report = check_reading(file, 4 * MIB);
    assert!(report.skipped.is_empty(), "{:?}", report.skipped);
    let misplaced = report
        .findings
        .iter()
        .filter(|finding| finding.structure == "bitmap table");
    assert!(misplaced.count() > 10, "{:?}", report.findings);
}

#[test]
fn a_check_reads_of_l2_tables_what_is_stored() {
    const CLUSTER: u64 = 2 * MIB;
    const TABLES: u64 = 1000;
    for (subclusters, structure, rule) in [
        (false, "L2 entry", "alignment"),
        (true, "L2 entry", "subclusters"),
    ] {
        let table = |index: u64| (8 + index) * CLUSTER;
        let l1 = (0..TABLES).flat_map(|index| table(index).to_be_bytes());
        let mut file = Holey::new(table(TABLES))
            .bytes(0, qcow2_header(21, MIB, TABLES, subclusters))
            .bytes(2 * CLUSTER, l1.collect());
        // An offset that is not a multiple of the cluster size, and with subclusters that are both.
        let entry = [512_u64.to_be_bytes(), (1 << 32 | 1_u64).to_be_bytes()].concat();
        for index in 0..TABLES {
            let entry = if subclusters { &entry } else { &entry[..8] };
            file = file.bytes(table(index) + CLUSTER / 2, entry.to_vec());
        }
        let report = check_reading(file, 8 * MIB);
        assert!(report.skipped.is_empty(), "{:?}", report.skipped);
        let found =
            |finding: &&diskimg::Finding| finding.structure == structure && finding.rule == rule;
        assert!(report.findings.iter().filter(found).count() > 10);
    }
}
