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
//! [`Upload`] completes, pauses or aborts; [`Client::resume_upload`] goes on with one of another run. This is the only place where threads and async meet.

mod budget;
mod calls;
mod classify;
mod client;
mod download;
mod error;
mod headers;
mod listing;
mod manifest;
mod moving;
mod multipart;
mod names;
mod pace;
pub mod parts;
mod rate;
mod reading;
mod resume;
mod sending;
mod signing;
mod sink;
#[cfg(test)]
mod tests;
mod upload;

pub use client::{BucketInfo, Client, Config, Limits, ObjectInfo};
pub use error::{Error, ErrorKind};
pub use listing::OpenUpload;
pub use manifest::Manifest;
pub use pace::MOST_IN_FLIGHT;
pub use reading::ObjectSource;
pub use resume::{ListedPart, PartLog, PartRecord, Resumed, Resumption, VoidPartLog, etag_of};
pub use sink::MultipartSink;
pub use upload::{Upload, UploadOptions, Uploaded};
