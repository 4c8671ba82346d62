//! Makes small qcow2 images by hand, so that tests need no QEMU and know where every byte is.

use libdeflater::{CompressionLvl, Compressor};

/// What a guest cluster is stored as.
#[derive(Clone, Debug)]
pub(crate) enum Cluster {
    Hole,
    Zero,
    /// Zero flag on a cluster that has an offset, where other bytes are.
    ZeroAllocated,
    /// Stored as it is, behind the cluster before.
    Plain(Vec<u8>),
    /// Stored compressed, directly behind the compressed cluster before.
    Packed(Vec<u8>),
    /// These stored bytes, said to be a compressed cluster; the content is what they unpack to.
    Stored {
        stored: Vec<u8>,
        content: Vec<u8>,
    },
}

/// Description of an image.
#[derive(Clone, Debug)]
pub(crate) struct Craft {
    pub(crate) version: u32,
    pub(crate) cluster_bits: u32,
    pub(crate) zstd: bool,
    pub(crate) clusters: Vec<Cluster>,
    /// Virtual size; the clusters' total if `None`.
    pub(crate) size: Option<u64>,
}

/// An image, and where things are in it.
#[derive(Clone, Debug)]
pub(crate) struct Crafted {
    pub(crate) bytes: Vec<u8>,
    /// What the guest reads.
    pub(crate) guest: Vec<u8>,
    pub(crate) l1: usize,
    pub(crate) l1_entries: usize,
    /// File offset of each cluster's L2 entry; `None` without L2 table.
    pub(crate) l2_entries: Vec<Option<usize>>,
    /// File offset of each stored cluster.
    pub(crate) stored: Vec<Option<usize>>,
}

const COPIED: u64 = 1 << 63;

impl Craft {
    pub(crate) fn new(version: u32, cluster_bits: u32, clusters: Vec<Cluster>) -> Self {
        Self {
            version,
            cluster_bits,
            zstd: false,
            clusters,
            size: None,
        }
    }

    pub(crate) fn build(&self) -> Crafted {
        let cluster = 1_usize << self.cluster_bits;
        let per_table = cluster / 8;
        let size = self.size.unwrap_or((self.clusters.len() * cluster) as u64);
        let l1_entries = (size as usize).div_ceil(cluster * per_table);
        let l1 = cluster;
        let mut bytes = vec![0; l1 + (l1_entries * 8).next_multiple_of(cluster)];
        let mut l2_entries = Vec::new();
        for (index, table) in self.clusters.chunks(per_table).enumerate() {
            if table.iter().all(|c| matches!(c, Cluster::Hole)) {
                l2_entries.extend(table.iter().map(|_| None));
                continue;
            }
            let at = bytes.len();
            bytes.resize(at + cluster, 0);
            put(
                &mut bytes,
                l1 + index * 8,
                &(at as u64 | COPIED).to_be_bytes(),
            );
            l2_entries.extend((0..table.len()).map(|entry| Some(at + entry * 8)));
        }
        let mut stored = vec![None; self.clusters.len()];
        let mut guest = Vec::new();
        for (index, what) in self.clusters.iter().enumerate() {
            let content = match what {
                Cluster::Plain(content) => content.clone(),
                Cluster::Packed(content) | Cluster::Stored { content, .. } => content.clone(),
                _ => vec![0; cluster],
            };
            assert_eq!(content.len(), cluster);
            guest.extend(content);
            let entry = match what {
                Cluster::Zero => 1,
                Cluster::Plain(_) | Cluster::ZeroAllocated => {
                    let at = bytes.len();
                    bytes.extend(match what {
                        Cluster::Plain(content) => content.clone(),
                        _ => vec![0xee; cluster],
                    });
                    stored[index] = Some(at);
                    at as u64 | COPIED | u64::from(matches!(what, Cluster::ZeroAllocated))
                }
                _ => continue,
            };
            put(&mut bytes, l2_entries[index].unwrap(), &entry.to_be_bytes());
        }
        // Behind everything else, because they end where they end.
        for (index, what) in self.clusters.iter().enumerate() {
            let packed = match what {
                Cluster::Packed(content) if self.zstd => zstd::bulk::compress(content, 3).unwrap(),
                Cluster::Packed(content) => deflate(content),
                Cluster::Stored { stored, .. } => stored.clone(),
                _ => continue,
            };
            let at = bytes.len();
            stored[index] = Some(at);
            let sectors = (at % 512 + packed.len()).div_ceil(512) - 1;
            let entry = 1 << 62 | (sectors as u64) << (70 - self.cluster_bits) | at as u64;
            put(&mut bytes, l2_entries[index].unwrap(), &entry.to_be_bytes());
            bytes.extend(packed);
        }
        guest.resize(size as usize, 0);
        put(&mut bytes, 0, &self.header(size, l1_entries));
        Crafted {
            bytes,
            guest,
            l1,
            l1_entries,
            l2_entries,
            stored,
        }
    }

    fn header(&self, size: u64, l1_entries: usize) -> Vec<u8> {
        let mut header = Vec::new();
        header.extend(b"QFI\xfb");
        header.extend(self.version.to_be_bytes());
        header.extend([0; 12]); // backing file
        header.extend(self.cluster_bits.to_be_bytes());
        header.extend(size.to_be_bytes());
        header.extend([0; 4]); // encryption
        header.extend((l1_entries as u32).to_be_bytes());
        header.extend((1_u64 << self.cluster_bits).to_be_bytes());
        header.extend([0; 24]); // reference counts and snapshots
        if self.version >= 3 {
            header.extend((u64::from(self.zstd) << 3).to_be_bytes());
            header.extend([0; 16]); // compatible and autoclear features
            header.extend(4_u32.to_be_bytes());
            header.extend(112_u32.to_be_bytes());
            header.extend([u8::from(self.zstd), 0, 0, 0, 0, 0, 0, 0]);
        }
        header
    }
}

impl Crafted {
    /// The image with `value` at `at`.
    pub(crate) fn with(&self, at: usize, value: &[u8]) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        put(&mut bytes, at, value);
        bytes
    }
}

/// `image`, of version 3, over the qcow2 image that it calls `name`.
#[allow(dead_code, reason = "of the tests of chains")]
pub(crate) fn over(mut image: Vec<u8>, name: &str) -> Vec<u8> {
    const NAME_AT: usize = 256;
    put(&mut image, 8, &(NAME_AT as u64).to_be_bytes());
    put(&mut image, 16, &(name.len() as u32).to_be_bytes());
    put(&mut image, NAME_AT, name.as_bytes());
    // Behind the header, the extension with the format.
    put(&mut image, 112, &0xe279_2aca_u32.to_be_bytes());
    put(&mut image, 116, &5_u32.to_be_bytes());
    put(&mut image, 120, b"qcow2");
    image
}

pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

pub(crate) fn deflate(content: &[u8]) -> Vec<u8> {
    let mut compressor = Compressor::new(CompressionLvl::default());
    let mut packed = vec![0; compressor.deflate_compress_bound(content.len())];
    let len = compressor.deflate_compress(content, &mut packed).unwrap();
    packed.truncate(len);
    packed
}

/// A cluster of bytes that nothing else has and that compress well.
pub(crate) fn text(cluster_bits: u32, seed: usize) -> Vec<u8> {
    format!("cluster {seed:4} ")
        .bytes()
        .cycle()
        .take(1 << cluster_bits)
        .collect()
}

/// A cluster of bytes that do not compress.
pub(crate) fn noise(cluster_bits: u32, seed: usize) -> Vec<u8> {
    let mut bytes = vec![0; 1 << cluster_bits];
    fastrand::Rng::with_seed(seed as u64).fill(&mut bytes);
    bytes
}

/// An image of two L2 tables (if clusters are 512 bytes) with every kind of cluster.
pub(crate) fn mixed(version: u32, cluster_bits: u32, zstd: bool) -> Crafted {
    let mut clusters = Vec::new();
    for index in 0..70 {
        clusters.push(match index % 10 {
            0 | 1 | 6 => Cluster::Plain(noise(cluster_bits, index)),
            2 | 3 | 8 => Cluster::Packed(text(cluster_bits, index)),
            4 if version >= 3 => Cluster::Zero,
            5 if version >= 3 => Cluster::ZeroAllocated,
            _ => Cluster::Hole,
        });
    }
    Craft {
        zstd,
        ..Craft::new(version, cluster_bits, clusters)
    }
    .build()
}
