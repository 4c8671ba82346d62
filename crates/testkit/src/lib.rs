//! Test helpers: image makers, reference content, scripted servers, a proxy that goes wrong on order.

pub mod content;
pub mod faults;
pub mod http;
pub mod qemu;
pub mod vectors;
