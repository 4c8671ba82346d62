//! Windows: which one it is, and whether it starts on the cloud's machine.

pub(crate) mod hive;
