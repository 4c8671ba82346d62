//! Test helpers: image makers, reference content, scripted servers, a proxy that goes wrong on
//! order.

pub mod conformance;
pub mod content;
pub mod damage;
pub mod exports;
pub mod faults;
pub mod guest;
pub mod hostile;
pub mod http;
pub mod measure;
pub mod ova;
mod programs;
pub mod qemu;
pub mod vectors;
pub mod vmdk;

pub use conformance::conformance;
pub use programs::{missing, skipped};
