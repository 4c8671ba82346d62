//! Test helpers: image makers, reference content, scripted servers.

pub mod http;
pub mod vectors;
