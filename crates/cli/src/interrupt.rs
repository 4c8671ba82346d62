//! The token that asks a run to stop.

pub(crate) use cloud::{StopToken as Interrupt, stopped as interrupted};
