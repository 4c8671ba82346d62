//! A cloud on one machine: OBS, IAM and IMS stand-ins that check what they are given.
//!
//! [`Sandbox::start`] serves two addresses out of one directory: an S3 server that behaves like OBS
//! (signatures, multipart rules, storage classes), and an API with the IAM and IMS calls that an
//! import makes. Nothing is faked: an object is stored before it is confirmed, and an import job
//! opens the stored object, checks it as ZVHD2, or as raw against its bitmap, and reads all of its
//! guest content before the image becomes active.
//!
//! The state outlives the process: a restart with the same directory has the same keys, objects,
//! unfinished uploads and images. It survives a stop, but not a power failure: objects appear by
//! rename, without fsync.

mod api;
mod credentials;
mod error;
mod examine;
pub mod faults;
mod images;
mod inventory;
mod keys;
mod layout;
mod memory;
mod s3;
mod sandbox;
mod server;
mod sparse;
mod tls;

pub use error::Error;
pub use images::{ImageRecord, ImageStatus, ImageType, More, Tag};
pub use memory::{memory_bound, most_memory};
pub use sandbox::{Options, Sandbox};
