//! A disk in memory that knows what was read from it and goes wrong on demand, and helpers.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "a part of each test binary, which uses a part of it"
)]

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use convert::{CancelToken, ContentDigest, Plan, PlanOptions, Target, VoidMonitor};
use diskimg::{
    Details, DiskImage, Error, ErrorKind, Extent, ExtentKind, Format, GuestOffset, Result,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

pub const MIB: u64 = 1 << 20;
pub const BLOCK: u64 = 2 << 20;

pub const IDENTITY: zvhd2::Identity = zvhd2::Identity {
    uuid: *b"0123456789abcdef",
    timestamp: 800_000_000,
};

/// What a stretch of a [`TestDisk`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Stored bytes that do not compress, other ones for each seed.
    Random(u8),
    /// Stored bytes that compress.
    Text,
    /// Stored bytes that are all zero.
    Zeros,
    /// The metadata says zero.
    Zero,
    /// Not stored.
    Hole,
}

impl Fill {
    fn kind(self) -> ExtentKind {
        match self {
            Self::Random(_) | Self::Text | Self::Zeros => ExtentKind::Data,
            Self::Zero => ExtentKind::Zero,
            Self::Hole => ExtentKind::Hole,
        }
    }

    pub fn byte(self, at: u64) -> u8 {
        match self {
            Self::Random(seed) => {
                let mut x =
                    (at / 8 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(seed) << 56;
                x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                (x ^ (x >> 31)).to_le_bytes()[(at % 8) as usize]
            }
            Self::Text => b"a line of text that a disk could hold\n"[(at % 38) as usize],
            Self::Zeros | Self::Zero | Self::Hole => 0,
        }
    }
}

type Hook = Box<dyn Fn(u64) -> Result<()> + Send + Sync>;

/// A disk made of stretches; reading what is not stored is an error, because it must not happen.
pub struct TestDisk {
    size: u64,
    /// Start of each stretch and what it holds; ascending, the first at 0.
    parts: Vec<(u64, Fill)>,
    /// Asked before each read, with the guest offset.
    pub before_read: Hook,
    pub bytes_read: AtomicU64,
    pub reads: Mutex<Vec<(u64, u64)>>,
    /// What [`DiskImage::memory_bound`] answers.
    pub memory: u64,
}

impl TestDisk {
    /// A disk of the given stretches, one after the other; its size is rounded up to 512.
    pub fn new(parts: &[(u64, Fill)]) -> Self {
        let mut at = 0;
        let mut starts = Vec::new();
        for (len, fill) in parts {
            if *len > 0 {
                starts.push((at, *fill));
                at += len;
            }
        }
        let size = at.next_multiple_of(512);
        if size > at {
            starts.push((at, Fill::Hole));
        }
        Self {
            size,
            parts: starts,
            before_read: Box::new(|_| Ok(())),
            bytes_read: AtomicU64::new(0),
            reads: Mutex::default(),
            memory: 0,
        }
    }

    /// `blocks` blocks of data that does not compress.
    pub fn random(blocks: u64) -> Self {
        Self::new(&[(blocks * BLOCK, Fill::Random(1))])
    }

    #[must_use]
    pub fn with_hook(mut self, hook: impl Fn(u64) -> Result<()> + Send + Sync + 'static) -> Self {
        self.before_read = Box::new(hook);
        self
    }

    /// A disk whose block `number` cannot be read.
    #[must_use]
    pub fn failing_at_block(self, number: u64) -> Self {
        self.with_hook(move |at| match at / BLOCK == number {
            true => Err(Error::corrupt("cluster", 0x1234, "it is broken on purpose")),
            false => Ok(()),
        })
    }

    fn part_at(&self, at: u64) -> (Range<u64>, Fill) {
        let next = self.parts.partition_point(|(start, _)| *start <= at);
        let (start, fill) = self.parts[next - 1];
        let end = self.parts.get(next).map_or(self.size, |part| part.0);
        (start..end, fill)
    }

    /// The disk's bytes, by its description.
    pub fn content(&self, range: Range<u64>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        let mut at = range.start;
        while at < range.end {
            let (part, fill) = self.part_at(at);
            let end = part.end.min(range.end);
            match fill.kind() {
                ExtentKind::Data => bytes.extend((at..end).map(|at| fill.byte(at))),
                _ => bytes.resize(bytes.len() + (end - at) as usize, 0),
            }
            at = end;
        }
        bytes
    }

    pub fn all(&self) -> Vec<u8> {
        self.content(0..self.size)
    }

    /// Bytes that the metadata calls data.
    pub fn stored(&self) -> u64 {
        let starts = self.parts.iter().map(|part| part.0);
        starts
            .map(|start| self.part_at(start))
            .filter(|(_, fill)| fill.kind() == ExtentKind::Data)
            .map(|(part, _)| part.end - part.start)
            .sum()
    }
}

impl DiskImage for TestDisk {
    fn virtual_size(&self) -> u64 {
        self.size
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> Result<Extent> {
        let limit = diskimg::clip_extent(at, limit, self.size)?;
        let (part, fill) = self.part_at(at.0);
        // In pieces, as real images answer.
        let len = (part.end - at.0).min(limit).min(3 * MIB + 512);
        Ok(Extent {
            start: at,
            len,
            kind: fill.kind(),
        })
    }

    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> Result<()> {
        let len = buf.len() as u64;
        diskimg::check_range(at, len, self.size)?;
        (self.before_read)(at.0)?;
        self.bytes_read.fetch_add(len, Ordering::Relaxed);
        self.reads.lock().unwrap().push((at.0, len));
        let mut next = at.0;
        while next < at.0 + len {
            let (part, fill) = self.part_at(next);
            if fill.kind() != ExtentKind::Data {
                return Err(Error::new(ErrorKind::OutOfRange, "a hole was read"));
            }
            next = part.end;
        }
        buf.copy_from_slice(&self.content(at.0..at.0 + len));
        Ok(())
    }

    fn details(&self) -> Details {
        Details::new(Format::Raw)
    }

    fn memory_bound(&self, _: usize) -> u64 {
        self.memory
    }
}

/// So many random cases; a failing one is printed, not saved.
pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Disks of a few MiB with stretches of all kinds, whose borders lie anywhere.
pub fn any_disk() -> impl Strategy<Value = Vec<(u64, Fill)>> {
    let fill = prop_oneof![
        any::<u8>().prop_map(Fill::Random),
        Just(Fill::Text),
        Just(Fill::Zeros),
        Just(Fill::Zero),
        Just(Fill::Hole),
    ];
    let len = prop_oneof![
        1..5000_u64,
        (1..600_u64).prop_map(|sectors| sectors * 4096),
        Just(BLOCK),
        (1..4_u64).prop_map(|blocks| blocks * BLOCK - 1),
    ];
    prop::collection::vec((len, fill), 1..10)
}

/// The content digest by its definition, in the most obvious way.
pub fn digest_by_definition(content: &[u8]) -> String {
    let mut sum = Sha256::new();
    sum.update(b"imgferry-content-v1\n");
    sum.update((content.len() as u64).to_le_bytes());
    for (number, block) in content.chunks(BLOCK as usize).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            let mut whole = block.to_vec();
            whole.resize(BLOCK as usize, 0);
            sum.update((number as u64).to_le_bytes());
            sum.update(Sha256::digest(&whole));
        }
    }
    format!("v1:{}", hex::encode(sum.finalize()))
}

pub fn digest(image: &dyn DiskImage) -> ContentDigest {
    convert::digest(image, 2, &VoidMonitor, &CancelToken::new()).unwrap()
}

pub fn plan(image: &dyn DiskImage, target: Target, threads: usize) -> Plan {
    let options = PlanOptions {
        threads: Some(threads),
        ..PlanOptions::default()
    };
    convert::plan(image, target, &options).unwrap()
}

/// Converts into memory.
pub fn zvhd2(image: &dyn DiskImage, plan: &Plan) -> (Vec<u8>, convert::Report) {
    let mut file = Vec::new();
    let report = convert::to_zvhd2(
        image,
        plan,
        IDENTITY,
        &mut file,
        &VoidMonitor,
        &CancelToken::new(),
    )
    .unwrap();
    (file, report)
}

/// Names in `directory`, sorted.
pub fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Most memory that this process has had, in bytes.
pub fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() << 10
}

/// Threads of this process.
pub fn thread_count() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// Set in the environment of child processes.
const CHILD: &str = "IMGFERRY_TEST_CHILD";

/// Whether this process was made by [`child`].
pub fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// This test binary's test `name`, to be run as a child process; `values` become its environment.
/// Such tests are ignored and look at [`is_child`], so that they run only this way.
pub fn child(name: &str, values: &[(&str, &std::ffi::OsStr)]) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            name,
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, "1")
        .envs(values.iter().copied());
    command
}

/// Size of the disk in bytes.
pub fn size(disk: &TestDisk) -> u64 {
    disk.virtual_size()
}
