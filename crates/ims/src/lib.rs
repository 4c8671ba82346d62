//! Client of the Image Management Service of Huawei Cloud, Open Telekom Cloud, Flexible Engine and
//! private stacks: sign in, register images, follow jobs, manage what is there. It knows no
//! command line and prints nothing; hints are data ([`Hint`]).
//!
//! ```text
//! QuickImport::violations ─▶ Client::quick_import ─▶ JobId ─▶ Client::wait ─▶ ImageId ─▶ Client::image
//!   nothing is sent             POST, never twice              GET, patient             GET
//!                                     │
//!            each attempt: token (cached, renewed) or a fresh SDK-HMAC-SHA256 signature
//! ```
//!
//! Answers are parsed leniently: unknown fields, unknown states, numbers as text and missing fields
//! never break a call. Server text is truncated, stripped of control characters and of our secrets
//! before it gets into an error.
//!
//! ```no_run
//! use std::future::pending;
//!
//! use ims::{
//!     AccessKey, Client, ClientOptions, Cloud, Credentials, Endpoints, ImageUrl, QuickImport,
//!     WaitOptions,
//! };
//!
//! async fn register() -> Result<(), Box<dyn std::error::Error>> {
//!     let key = AccessKey {
//!         id: std::env::var("HW_ACCESS_KEY")?,
//!         secret: std::env::var("HW_SECRET_KEY")?.into(),
//!         session_token: None,
//!     };
//!     let endpoints = Endpoints::of(Cloud::Otc, "eu-de")?;
//!     let credentials = Credentials::AccessKey(key);
//!     let client = Client::new(ClientOptions::new(endpoints, "eu-de", credentials))?;
//!
//!     // 8 GiB of guest disk in an object that is uploaded already.
//!     let object = ImageUrl {
//!         bucket: "my-images".into(),
//!         key: "web01.zvhd2".into(),
//!     };
//!     let min_disk = u32::try_from(ims::min_disk_gib(8 << 30))?;
//!     let mut import = QuickImport::new("web01", object, min_disk);
//!     import.os_version = Some("Debian GNU/Linux 12.0.0 64bit".into());
//!     for broken in import.violations_on(8 << 30, Some(Cloud::Otc)) {
//!         eprintln!("{}: {}; {}", broken.rule.id, broken.message, broken.hint);
//!     }
//!
//!     let job = client.quick_import(&import).await?;
//!     let progress = |job: &ims::Job| println!("{} {:?}", job.status.as_str(), job.progress());
//!     let image = client
//!         .wait(&job, &WaitOptions::default(), progress, pending())
//!         .await?;
//!     println!("{:?}", client.image(&image).await?);
//!     Ok(())
//! }
//! ```
//!
//! Which calls are made, and which document each rule comes from: `docs/ims.md`.

mod answer;
mod auth;
mod call;
mod client;
pub mod clouds;
pub mod create;
mod endpoint;
mod error;
mod foreign;
mod hints;
mod id;
mod images;
mod import;
mod jobs;
mod manage;
pub mod metadata;
mod native;
mod project;
pub mod rules;
pub mod sharing;
mod tag;
mod tagging;
mod token;
mod value;
mod versions;
mod wire;

pub use auth::Credentials;
pub use client::{ApiVersion, Client, ClientOptions};
pub use clouds::{Cloud, CloudService, UnknownCloud};
pub use create::{
    DataFile, DataFileImport, DataVolume, FileImport, OsFamily, ServerImage, SystemKind,
    VolumeImage, WholeImage, WholeSource,
};
pub use endpoint::Endpoints;
pub use error::{Error, ErrorKind, Result};
pub use hints::Hint;
pub use id::{BadId, ImageId, JobId};
pub use images::{ImageDetail, ImageStatus};
pub use import::{
    Architecture, Firmware, ImageKind, ImageUrl, LicenseType, OsType, QuickForm, QuickImport,
};
pub use jobs::{Job, JobEntities, JobResult, JobStatus, WaitOptions};
pub use manage::{Change, ExportFormat, ImageQuery, OsVersion, Quota};
pub use metadata::ImageMetadata;
pub use native::{MAX_UPLOAD, MAX_WORD_TAG, PatchForm};
pub use net::credentials::Keys;
pub use net::http::Bytes;
pub use net::secret::{AccessKey, SecretString};
pub use rules::{Violation, Warning, min_disk_gib};
pub use sharing::{Member, Reply};
pub use tag::{Tag, Tags};
pub use tagging::{Match, TagQuery, TagValues, TaggedImage};
pub use url::Url;
pub use versions::{Link, Property, Schema, SchemaOf, Version};
