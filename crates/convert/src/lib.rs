//! The conversion pipeline: plan, parallel encoding, sinks, content digest.

pub mod cancel;
pub mod monitor;
pub mod sink;

pub use cancel::CancelToken;
pub use monitor::{Counter, Monitor, VoidMonitor};
pub use sink::{Sink, SinkError};
