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
//! [`Client`] checks buckets and starts uploads; [`MultipartSink`] takes the bytes;
//! [`Upload`] completes or aborts. This is the only place where threads and async meet.

mod budget;
mod calls;
mod classify;
mod client;
mod download;
mod error;
mod headers;
mod moving;
mod multipart;
mod names;
pub mod parts;
mod rate;
mod sending;
mod signing;
mod sink;
#[cfg(test)]
mod tests;
mod upload;

pub use client::{BucketInfo, Client, Config, Limits, ObjectInfo};
pub use error::{Error, ErrorKind};
pub use sink::MultipartSink;
pub use upload::{Upload, UploadOptions, Uploaded};
