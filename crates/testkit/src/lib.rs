//! Test helpers: image makers, reference content, scripted servers.

pub mod content;
pub mod http;
pub mod qemu;
pub mod vectors;
