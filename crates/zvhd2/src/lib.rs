//! The ZVHD2 disk image format: encoder, reader and checker. Reads ZVHD version 1 too.
//!
//! ```text
//! 0      4096                                                                    end of file
//! ┌──────┬─────────┬─────────┬───┬─────────┬────────┬─────────┬──────────┬────────┐
//! │first │ data    │ data    │   │ data    │ footer │ index   │ bitmap   │ last   │
//! │footer│ block   │ block   │ … │ block   │ copy   │ 512 KiB │ 4 KiB    │ footer │
//! │ 4096 │ n × 4096│ n × 4096│   │ n × 4096│ 4096   │ segments│ segments │ 4096   │
//! └──────┴─────────┴─────────┴───┴─────────┴────────┴─────────┴──────────┴────────┘
//!  head()  BlockEncoder::encode + push()     └──────────────── tail() ───────────┘
//! ```
//!
//! Nothing in the file is written from what comes after it, so [`Encoder`] says what stands where
//! and never does I/O: the caller sends its bytes to a file or an upload, strictly front to back.
//! [`BlockEncoder`] compresses; one per worker thread.

mod block;
mod check;
mod decode;
mod encoder;
mod finding;
mod footer;
mod footer_rules;
mod index;
mod layout;
mod reader;
mod rules;
mod scan;
mod structure;
mod tables;
mod zvhd1;

use std::sync::Arc;

use diskimg::{Driver, Format, check_by_extents};

pub use block::{BlockEncoder, MAX_ENCODED_BLOCK, encoder_memory, encoder_version};
pub use check::check;
pub use encoder::{Encoder, Tail, worst_case_len};
pub use footer::{Compression, Identity};
pub use layout::{BLOCK_SIZE, DEFAULT_LEVEL, MAX_LEVEL, MAX_STORED_BLOCKS, MIN_LEVEL};
pub use reader::Zvhd2Image;
pub use rules::RULES;
pub use zvhd1::Zvhd1Image;

/// [`layout::COOKIE_V1`] with the zero bytes that follow it.
const COOKIE_PADDED_V1: &[u8; 8] = b"stream\0\0";

/// Both versions of the format, for [`diskimg::open()`].
pub const DRIVERS: [Driver; 2] = [
    Driver {
        format: Format::Zvhd2,
        // Either end: a file whose beginning is damaged must not pass for a raw disk.
        claims: |probe| {
            probe.starts_with(0, layout::COOKIE_V2)
                || probe.ends_with(layout::PAGE_LEN, layout::COOKIE_V2)
        },
        begins_with_disk: |_| false,
        open: |source, _| Ok(Box::new(Zvhd2Image::open(source)?)),
        check: |source, report, cancelled| check::check_into(source.as_ref(), report, cancelled),
    },
    Driver {
        format: Format::Zvhd,
        // The word alone could begin a text; with its two zero bytes nothing else does. Either end,
        // and whatever the version: a damaged file must not pass for a raw disk.
        claims: |probe| {
            probe.starts_with(0, COOKIE_PADDED_V1)
                || probe.ends_with(layout::PAGE_LEN, COOKIE_PADDED_V1)
        },
        begins_with_disk: |_| false,
        open: |source, _| Ok(Box::new(Zvhd1Image::open(source)?)),
        check: |source, report, cancelled| {
            check_by_extents(Zvhd1Image::open(Arc::clone(source)), report, cancelled)
        },
    },
];
