//! Compressed disks: streams that are decoded front to back.
//!
//! ```text
//!  bytes ──▶ Unpacked: members one behind the other ──▶ a disk        ──▶ Decoded: ReadAt, for files
//!                                                   └─▶ DiskTar: the      └▶ PipeImage, for pipes
//!                                                       disk.raw of a tar archive
//! ```
//!
//! Several members are one disk. What follows the last one must be zeros; what ends early is an
//! error, and never a shorter disk. Windows and dictionaries have caps, see [`crate::limits`].

mod archive;
mod container;
mod decoded;
mod errors;
mod inside;
mod kept;
mod lz4;
mod member;
mod members;
mod stream;
mod tar;

use std::io::{self, Read};
use std::sync::Arc;

use zstd::zstd_safe::get_frame_content_size;

pub use self::container::Container;
pub(crate) use self::container::HEAD_BYTES;
pub use self::decoded::Decoded;
pub(crate) use self::decoded::{Counted, unpacked};
pub(crate) use self::errors::{Undecodable, ended, longer};
pub(crate) use self::inside::{agreed_size, refuse_other_than_raw};
use self::member::{BLOCK, header};
use self::members::Unpacked;
use self::tar::{DiskTar, Stretch};

/// A disk as it comes out of a compressed stream.
pub(crate) struct Packed {
    pub(crate) bytes: Box<dyn Read + Send>,
    /// Number of bytes of the disk, when the stream or the archive in it says so.
    pub(crate) size: Option<u64>,
    /// Whether it is exact: a stream speaks of its first frame only.
    pub(crate) exact: bool,
    /// What of it is stored, when an archive says so; everything else is zero.
    stretches: Option<Arc<[Stretch]>>,
}

impl Packed {
    /// Begins to decode `bytes`, a stream of `packing` that begins with `head`, which is in front
    /// of it.
    ///
    /// # Errors
    /// Those of reading and decoding; `InvalidData` for an archive without a disk.
    pub(crate) fn begin(
        packing: Container,
        head: &[u8],
        bytes: Box<dyn Read + Send>,
    ) -> io::Result<Self> {
        let mut unpacked = Unpacked::new(packing, bytes);
        let mut first = Vec::new();
        (&mut unpacked).take(BLOCK as u64).read_to_end(&mut first)?;
        if let Some(header) = header(&first) {
            let disk = DiskTar::begin(header, Box::new(unpacked))?;
            return Ok(Self {
                size: Some(disk.size()),
                exact: true,
                stretches: Some(Arc::clone(disk.stretches())),
                bytes: Box::new(disk),
            });
        }
        let size = match packing {
            Container::Zstd => get_frame_content_size(head).ok().flatten(),
            _ => None,
        };
        Ok(Self {
            bytes: Box::new(io::Cursor::new(first).chain(unpacked)),
            size: size.filter(|size| *size > 0),
            exact: false,
            stretches: None,
        })
    }
}
