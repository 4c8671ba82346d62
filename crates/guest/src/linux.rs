//! Linux: the system, how it starts, and how it is configured.

pub(crate) mod boot;
pub(crate) mod command_line;
pub(crate) mod config;
pub(crate) mod fstab;
pub(crate) mod identify;
pub(crate) mod initramfs;
pub(crate) mod kernel;
pub(crate) mod leftovers;
pub(crate) mod login;
pub(crate) mod network;
mod pe;
mod program;
mod release;
pub(crate) mod rules;
mod source;
pub(crate) mod storage;
#[cfg(test)]
pub(crate) mod testing;
mod units;
mod version;
mod yaml;

pub(crate) use version::numbers;
