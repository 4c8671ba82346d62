//! Uploads against an S3 server in memory, with small parts and with everything that can go wrong.

mod around;
mod fake;
mod faults;
mod lifecycle;
mod promises;
mod proxied;
mod raw;
mod requests;
mod resume;
mod storages;
mod wild;
mod wire;
