//! qcow2 images that are made by hand, in memory.
#![allow(dead_code, reason = "each bench uses a part of it")]

use std::io::Write;
use std::sync::Arc;

use diskimg::{DiskImage, FileOffset, ReadAt, Result, SourceExtent};

const CLUSTER_BITS: u32 = 16;
const CLUSTER: usize = 1 << CLUSTER_BITS;
/// Entries of an L2 table.
const ENTRIES: u64 = CLUSTER as u64 / 8;

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// A header of version 3 whose L1 table of `tables` entries is in the second cluster.
fn header(size: u64, tables: u64, zstd: bool) -> Vec<u8> {
    let mut header = vec![0; CLUSTER];
    put(&mut header, 0, b"QFI\xfb\0\0\0\x03");
    put(&mut header, 20, &CLUSTER_BITS.to_be_bytes());
    put(&mut header, 24, &size.to_be_bytes());
    put(&mut header, 36, &(tables as u32).to_be_bytes());
    put(&mut header, 40, &(CLUSTER as u64).to_be_bytes());
    put(&mut header, 72, &(u64::from(zstd) << 3).to_be_bytes());
    put(&mut header, 96, &4_u32.to_be_bytes());
    put(&mut header, 100, &112_u32.to_be_bytes());
    header[104] = u8::from(zstd);
    header
}

fn open(source: impl ReadAt + 'static) -> Box<dyn DiskImage> {
    convert::open_source(Arc::new(source), None).unwrap().image
}

/// An image with the clusters of `content`, compressed.
pub(crate) fn compressed(content: &[u8], zstd: bool) -> Box<dyn DiskImage> {
    let mut bytes = header(content.len() as u64, 1, zstd);
    let table = 2 * CLUSTER;
    bytes.resize(3 * CLUSTER, 0);
    put(&mut bytes, CLUSTER, &(table as u64 | 1 << 63).to_be_bytes());
    for (index, cluster) in content.chunks(CLUSTER).enumerate() {
        let packed = match zstd {
            true => zstd::bulk::compress(cluster, 3).unwrap(),
            false => {
                let level = flate2::Compression::default();
                let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), level);
                packer.write_all(cluster).unwrap();
                packer.finish().unwrap()
            }
        };
        let at = bytes.len();
        let sectors = ((at % 512 + packed.len()).div_ceil(512) - 1) as u64;
        let entry = 1 << 62 | sectors << (70 - CLUSTER_BITS) | at as u64;
        put(&mut bytes, table + index * 8, &entry.to_be_bytes());
        bytes.extend(packed);
    }
    open(diskimg::MemorySource(bytes))
}

/// Tables that are real over clusters that hold zeros.
struct Tables {
    metadata: Vec<u8>,
    len: u64,
}

impl ReadAt for Tables {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        let stored = self.metadata.get(at.0 as usize..).unwrap_or_default();
        let len = stored.len().min(buf.len());
        put(buf, 0, &stored[..len]);
        buf[len..].fill(0);
        Ok(())
    }

    fn extent_at(&self, _: FileOffset, limit: u64) -> Result<SourceExtent> {
        Ok(SourceExtent::Data(limit))
    }
}

/// An image with `tables` L2 tables, of half a GiB of the disk each. Of four clusters two hold
/// data, one is zero, and one is a hole.
pub(crate) fn fragmented(tables: u64) -> Box<dyn DiskImage> {
    let size = tables * ENTRIES * CLUSTER as u64;
    let mut metadata = header(size, tables, false);
    let first_table = 1 + (tables * 8).div_ceil(CLUSTER as u64);
    let first_data = first_table + tables;
    metadata.resize(first_data as usize * CLUSTER, 0);
    for table in 0..tables {
        let at = (first_table + table) * CLUSTER as u64;
        let entry = (at | 1 << 63).to_be_bytes();
        put(&mut metadata, CLUSTER + table as usize * 8, &entry);
        for entry in 0..ENTRIES {
            let cluster = first_data + table * ENTRIES + entry;
            let mapped = match entry % 4 {
                0 | 1 => (cluster * CLUSTER as u64) | 1 << 63,
                2 => 1,
                _ => 0,
            };
            put(
                &mut metadata,
                (at + entry * 8) as usize,
                &mapped.to_be_bytes(),
            );
        }
    }
    open(Tables {
        len: (first_data + tables * ENTRIES) * CLUSTER as u64,
        metadata,
    })
}
