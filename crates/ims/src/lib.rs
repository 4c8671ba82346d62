//! Client of the Image Management Service: sign in, register an image, follow the job.
//!
//! ```text
//! QuickImport::violations ─▶ Client::quick_import ─▶ JobId ─▶ Client::wait ─▶ ImageId ─▶ Client::image
//!   nothing is sent             POST, never twice              GET, patient             GET
//!                                     │
//!            each attempt: token (cached, renewed) or a fresh SDK-HMAC-SHA256 signature
//! ```
//!
//! Answers are taken with tolerance: unknown fields, unknown states, numbers as text and missing fields
//! never break a call. Everything the server says is cut to a sane length, freed of control
//! characters and of our own secrets before it gets into an error.
//!
//! Which calls are made, and which document each rule comes from: `docs/ims.md`.

mod answer;
pub mod auth;
mod call;
pub mod client;
pub mod clouds;
pub mod create;
pub mod endpoint;
pub mod error;
mod hints;
pub mod id;
pub mod images;
pub mod import;
pub mod jobs;
pub mod manage;
pub mod metadata;
mod project;
pub mod rules;
pub mod sharing;
pub mod tag;
pub mod tagging;
mod token;
mod value;
mod wire;

pub use auth::Credentials;
pub use client::{ApiVersion, Client, ClientOptions};
pub use clouds::{Cloud, CloudService};
pub use endpoint::Endpoints;
pub use error::{Error, ErrorKind, Result};
pub use id::{ImageId, JobId};
pub use images::{ImageDetail, ImageStatus};
pub use import::{Architecture, Firmware, ImageKind, ImageUrl, LicenseType, OsType, QuickImport};
pub use jobs::{Job, JobStatus, WaitOptions};
pub use manage::{Change, ExportFormat, ImageQuery, OsVersion, Quota};
pub use rules::{Violation, Warning, min_disk_gib};
pub use tag::{Tag, Tags};
