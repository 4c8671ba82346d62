//! A new object from an old one: of a disk that was imported before only what has changed is
//! compressed and sent, and the server copies the rest from the earlier object.
//!
//! ```text
//!  disk ──find()──▶ hashes ─┐
//!                           ├─ DeltaPlan ──▶ to_zvhd2() ──▶ Sink: write, copy, write, …
//!  earlier object ─ table ──┘
//! ```
//!
//! The bytes of a ZVHD2 block depend on its content, number and level only, so the result is the
//! stream that a full run at the same levels makes.

mod find;
mod plan;
mod run;
mod table;

pub use self::find::{Blocks, find};
pub use self::plan::{DeltaPlan, PartRules, memory_of};
pub use self::run::{Delta, delta_zvhd2};
pub use self::table::{
    BlockTable, Described, ENTRY_BYTES, MAX_TABLE_BYTES, RAW, TableEntries, memory_of_raw,
};
