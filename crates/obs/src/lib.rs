//! Uploads to OBS and other S3-compatible object storage, streaming and verified.
//!
//! ```text
//!  plain thread                        │            tokio
//!                                      │
//!  convert ──▶ MultipartSink ── part ──┼─▶ MD5 ──▶ UploadPart ──▶ ETag compared ──▶ confirmed
//!                  ▲                   │             │  ▲ retry
//!                  └──── Budget ◀──────┼─────────────┘ memory comes back
//!                                      │
//!              Upload::complete: CompleteMultipartUpload, HEAD, length and ETag compared
//! ```
//!
//! A raw disk comes in another layout ([`Layout::Unordered`]): [`UnorderedSink`] takes its parts in
//! any order, and those that are all zero are copied by the server from one object of zeros.
//!
//! [`Client`] checks buckets and starts uploads; [`MultipartSink`] takes the bytes; [`Upload`]
//! completes, pauses or aborts; [`Client::resume_upload`] resumes an upload of another run. This is
//! the only place where threads and async meet.

mod blocks;
mod bridge;
mod budget;
mod buffers;
mod calls;
mod classify;
mod client;
mod config;
mod confirmed;
mod copy;
mod document;
mod download;
mod error;
mod etag;
mod foreign;
mod hashing;
mod headers;
mod hint;
mod info;
mod joining;
mod listing;
mod manifest;
mod moving;
mod multipart;
mod names;
mod options;
mod pace;
mod part;
mod part_log;
pub mod parts;
mod rate;
mod reading;
mod resume;
mod sending;
mod signing;
mod sink;
mod small;
mod start;
#[cfg(test)]
mod tests;
mod text;
mod trial;
mod unordered;
mod upload;
mod wire;
mod zeros;

pub use blocks::blocks_key;
pub use client::Client;
pub use config::{Config, Limits};
pub use error::{Error, ErrorKind};
pub use hashing::{MD5_AT_ONCE, md5_all};
pub use hint::Hint;
pub use info::{BucketInfo, ObjectInfo};
pub use joining::{JoiningSink, LARGEST_COPY};
pub use listing::OpenUpload;
pub use manifest::Manifest;
pub use options::{Layout, UploadOptions, raw_memory, raw_part_size};
pub use pace::MOST_IN_FLIGHT;
pub use part::CopySource;
pub use part_log::{ListedPart, PartLog, PartRecord, VoidPartLog, etag_of};
pub use parts::{MAX_PARTS, MIN_PART_SIZE, OBS_MIN_PART_SIZE};
pub use reading::{Chunking, ObjectSource};
pub use resume::{EarlierUpload, Resumed, Resumption};
pub use sink::MultipartSink;
pub use small::{ListedObject, Stored};
pub use trial::{Found, Step, Trial};
pub use unordered::UnorderedSink;
pub use upload::{Upload, Uploaded};
pub use zeros::ServerCopies;
