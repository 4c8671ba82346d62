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
mod encoder;
mod footer;
mod layout;

pub use block::{BlockEncoder, MAX_ENCODED_BLOCK, encoder_memory};
pub use encoder::{Encoder, Tail, worst_case_len};
pub use footer::{Compression, Identity};
pub use layout::{BLOCK_SIZE, DEFAULT_LEVEL, MAX_LEVEL, MAX_STORED_BLOCKS, MIN_LEVEL};
