//! VMDKs made by hand: sparse extents of every form, and the descriptors that put them together.

#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "test helper: a wrong call fails the test"
)]

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

const SECTOR: usize = 512;
/// Sectors in front that hold the header and the descriptor.
const FRONT: usize = 4;

/// A sparse extent of hosted products, to be made of the bytes of a disk.
#[derive(Clone, Debug)]
pub struct Craft {
    /// The bytes, in whole sectors.
    pub disk: Vec<u8>,
    /// Sectors in a grain.
    pub grain: usize,
    /// Entries of a table.
    pub entries: usize,
    /// Whether grains are compressed and have markers.
    pub compressed: bool,
    /// Whether the directory is behind the grains, and a footer knows where.
    pub footer: bool,
    /// Whether there is a copy of the directory and its tables.
    pub copy: bool,
    /// Numbers of grains that an entry says to be zeros.
    pub zeros: Vec<usize>,
    /// Whether grains lie in the file in the opposite order.
    pub backwards: bool,
    /// The descriptor; empty: there is none.
    pub descriptor: String,
}

/// A file that was made, and where its structures are, in bytes.
#[derive(Clone, Debug, Default)]
pub struct Made {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its grain directory.
    pub directory: usize,
    /// Its first grain table.
    pub table: usize,
    /// The copy of that; 0: there is none.
    pub copied_table: usize,
    /// Each grain that is stored, or its marker.
    pub grains: Vec<usize>,
}

impl Craft {
    /// A monolithicSparse disk of `disk`, with a copy of its tables.
    #[must_use]
    pub fn sparse(disk: &[u8]) -> Self {
        Self {
            disk: disk.to_vec(),
            grain: 8,
            entries: 128,
            compressed: false,
            footer: false,
            copy: true,
            zeros: Vec::new(),
            backwards: false,
            descriptor: embedded("monolithicSparse", disk.len() / SECTOR),
        }
    }

    /// A streamOptimized disk of `disk`, whose directory is at its end.
    #[must_use]
    pub fn stream(disk: &[u8]) -> Self {
        Self {
            compressed: true,
            footer: true,
            copy: false,
            descriptor: embedded("streamOptimized", disk.len() / SECTOR),
            ..Self::sparse(disk)
        }
    }

    fn tables(&self) -> usize {
        (self.disk.len() / SECTOR)
            .div_ceil(self.grain)
            .div_ceil(self.entries)
    }

    /// Sectors of a directory and of a table.
    fn sectors(&self) -> (usize, usize) {
        (
            (self.tables() * 4).div_ceil(SECTOR),
            (self.entries * 4).div_ceil(SECTOR),
        )
    }

    fn header(&self, directory: u64, copy: usize, overhead: usize) -> Vec<u8> {
        let flags: u32 = 1
            | if self.copy { 2 } else { 0 }
            | if self.zeros.is_empty() { 0 } else { 4 }
            | if self.compressed { 0x3_0000 } else { 0 };
        let has_text = u64::from(!self.descriptor.is_empty());
        let mut header = b"KDMV".to_vec();
        header.extend(if self.zeros.is_empty() { 1_u32 } else { 2 }.to_le_bytes());
        header.extend(flags.to_le_bytes());
        header.extend(((self.disk.len() / SECTOR) as u64).to_le_bytes());
        header.extend((self.grain as u64).to_le_bytes());
        header.extend(has_text.to_le_bytes());
        header.extend((has_text * (FRONT as u64 - 1)).to_le_bytes());
        header.extend((self.entries as u32).to_le_bytes());
        header.extend((copy as u64).to_le_bytes());
        header.extend(directory.to_le_bytes());
        header.extend((overhead as u64).to_le_bytes());
        header.push(0);
        header.extend(b"\n \r\n");
        header.extend(u16::from(self.compressed).to_le_bytes());
        header.resize(SECTOR, 0);
        header
    }

    /// Makes the file.
    #[must_use]
    pub fn make(&self) -> Made {
        let (directory_len, table_len) = self.sectors();
        let tables = self.tables();
        let area = directory_len + tables * table_len;
        let mut file = vec![0; FRONT * SECTOR];
        file[SECTOR..SECTOR + self.descriptor.len()].copy_from_slice(self.descriptor.as_bytes());
        let copy = if self.copy { FRONT } else { 0 };
        let mut directory = FRONT + if self.copy { area } else { 0 };
        if self.copy {
            file.resize(file.len() + area * SECTOR, 0);
        }
        if !self.footer {
            file.resize(file.len() + area * SECTOR, 0);
        }
        let overhead = file.len() / SECTOR;
        let (entries, grains) = self.grains(&mut file);
        if self.footer {
            marker(&mut file, area as u64, 2);
            directory = file.len() / SECTOR;
            file.resize(file.len() + area * SECTOR, 0);
        }
        for start in [copy, directory].into_iter().filter(|start| *start != 0) {
            for index in 0..tables {
                let table = start + directory_len + index * table_len;
                let at = start * SECTOR + index * 4;
                file[at..at + 4].copy_from_slice(&(table as u32).to_le_bytes());
                for (number, entry) in entries.iter().skip(index * self.entries).enumerate() {
                    if number < self.entries {
                        let at = table * SECTOR + number * 4;
                        file[at..at + 4].copy_from_slice(&entry.to_le_bytes());
                    }
                }
            }
        }
        let known = if self.footer {
            u64::MAX
        } else {
            directory as u64
        };
        file[..SECTOR].copy_from_slice(&self.header(known, copy, overhead));
        if self.footer {
            marker(&mut file, 1, 3);
            file.extend(self.header(directory as u64, copy, overhead));
        }
        if self.compressed {
            marker(&mut file, 0, 0);
        }
        Made {
            bytes: file,
            directory: directory * SECTOR,
            table: (directory + directory_len) * SECTOR,
            copied_table: if self.copy {
                (copy + directory_len) * SECTOR
            } else {
                0
            },
            grains,
        }
    }

    /// Adds the grains to `file`; their entries, and where those are that are stored.
    fn grains(&self, file: &mut Vec<u8>) -> (Vec<u32>, Vec<usize>) {
        let size = self.grain * SECTOR;
        let count = self.disk.len().div_ceil(size);
        let mut entries = vec![0; count];
        let mut order: Vec<usize> = (0..count).collect();
        if self.backwards {
            order.reverse();
        }
        let mut places = Vec::new();
        for number in order {
            let content = &self.disk[number * size..((number + 1) * size).min(self.disk.len())];
            if self.zeros.contains(&number) {
                entries[number] = 1;
                continue;
            }
            if diskimg::zero::is_zero(content) {
                continue;
            }
            entries[number] = (file.len() / SECTOR) as u32;
            places.push(file.len());
            if self.compressed {
                let stream = deflated(content);
                file.extend(((number * self.grain) as u64).to_le_bytes());
                file.extend((stream.len() as u32).to_le_bytes());
                file.extend(stream);
            } else {
                file.extend(content);
                file.resize(file.len() + size - content.len(), 0);
            }
            file.resize(file.len().next_multiple_of(SECTOR), 0);
        }
        (entries, places)
    }
}

/// A sector that says that `value` sectors of `kind` follow.
fn marker(file: &mut Vec<u8>, value: u64, kind: u32) {
    let end = file.len() + SECTOR;
    file.extend(value.to_le_bytes());
    file.extend([0; 4]);
    file.extend(kind.to_le_bytes());
    file.resize(end, 0);
}

/// `content` as a zlib stream.
///
/// # Panics
/// Never: memory is written to.
#[must_use]
pub fn deflated(content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).expect("memory");
    encoder.finish().expect("memory")
}

/// The descriptor of a disk of `sectors` that is in one file.
#[must_use]
pub fn embedded(create_type: &str, sectors: usize) -> String {
    descriptor(
        create_type,
        &[&format!("RW {sectors} SPARSE \"disk.vmdk\"")],
        0x1234_5678,
        None,
    )
}

/// A descriptor with the extent lines `lines`, of a disk whose parent has the given CID and path.
#[must_use]
pub fn descriptor(
    create_type: &str,
    lines: &[&str],
    cid: u32,
    parent: Option<(u32, &str)>,
) -> String {
    let hint = parent.map_or(String::new(), |(_, hint)| {
        format!("parentFileNameHint=\"{hint}\"\n")
    });
    format!(
        "# Disk DescriptorFile\nversion=1\nCID={cid:08x}\nparentCID={:08x}\n\
         createType=\"{create_type}\"\n{hint}\n# Extent description\n{}\n\n# The Disk Data Base\n\
         #DDB\n\nddb.adapterType = \"lsilogic\"\n",
        parent.map_or(u32::MAX, |(cid, _)| cid),
        lines.join("\n")
    )
}

/// An ESX sparse extent (COWD) with the grains `numbers` of `disk`, of one sector each.
#[must_use]
pub fn cowd(disk: &[u8], numbers: &[usize]) -> Vec<u8> {
    const ENTRIES: usize = 4096;
    let tables = (disk.len() / SECTOR).div_ceil(ENTRIES);
    let directory_len = (tables * 4).div_ceil(SECTOR);
    let first = 4 + directory_len;
    let table_len = ENTRIES * 4 / SECTOR;
    let mut file = vec![0; (first + tables * table_len) * SECTOR];
    for index in 0..tables {
        let at = 4 * SECTOR + index * 4;
        let table = first + index * table_len;
        file[at..at + 4].copy_from_slice(&(table as u32).to_le_bytes());
    }
    for number in numbers {
        let at = (first + number / ENTRIES * table_len) * SECTOR + number % ENTRIES * 4;
        let place = (file.len() / SECTOR) as u32;
        file[at..at + 4].copy_from_slice(&place.to_le_bytes());
        file.extend(&disk[number * SECTOR..(number + 1) * SECTOR]);
    }
    let words = [
        1,
        3,
        (disk.len() / SECTOR) as u32,
        1,
        4,
        tables as u32,
        (file.len() / SECTOR) as u32,
    ];
    file[..4].copy_from_slice(b"COWD");
    for (index, word) in words.iter().enumerate() {
        file[4 + index * 4..8 + index * 4].copy_from_slice(&word.to_le_bytes());
    }
    file
}

/// A seSparse extent with the grains `numbers` of `disk`, of 4 KiB each, and grains of zeros
/// `zeros`.
#[must_use]
pub fn sesparse(disk: &[u8], numbers: &[usize], zeros: &[usize]) -> Vec<u8> {
    const ENTRIES: usize = 4096;
    const GRAIN: usize = 4096;
    let tables = disk.len().div_ceil(GRAIN).div_ceil(ENTRIES);
    let directory_len = (tables * 8).div_ceil(SECTOR);
    let (directory, table) = (8, 8 + directory_len);
    let grains = (table + tables * 64).next_multiple_of(8);
    let mut file = vec![0; grains * SECTOR];
    let put = |file: &mut Vec<u8>, at: usize, value: u64| {
        file[at..at + 8].copy_from_slice(&value.to_le_bytes());
    };
    let mut header = [0; 26];
    header[0] = 0xcafe_babe;
    header[1] = 0x2_0000_0001;
    header[2] = (disk.len() / SECTOR) as u64;
    header[3] = 8;
    header[4] = 64;
    (header[10], header[11]) = (1, 1);
    (header[16], header[17]) = (directory as u64, directory_len as u64);
    (header[18], header[19]) = (table as u64, (tables * 64) as u64);
    (header[24], header[25]) = (grains as u64, (numbers.len() * 8) as u64);
    for (index, word) in header.into_iter().enumerate() {
        put(&mut file, index * 8, word);
    }
    put(&mut file, SECTOR, 0xcafe_cafe);
    for index in 0..tables {
        put(
            &mut file,
            directory * SECTOR + index * 8,
            1 << 60 | index as u64,
        );
    }
    for (place, number) in numbers.iter().enumerate() {
        let entry = 3 << 60 | (place as u64 & 0xfff) << 48 | place as u64 >> 12;
        put(&mut file, table * SECTOR + number * 8, entry);
        let content = &disk[number * GRAIN..((number + 1) * GRAIN).min(disk.len())];
        file.extend(content);
        file.resize(file.len().next_multiple_of(GRAIN), 0);
    }
    for number in zeros {
        put(&mut file, table * SECTOR + number * 8, 2 << 60);
    }
    file
}
