//! Named caps on what the other side may make us hold or wait for. Each says whose limit it is.

use std::time::Duration;

use diskimg::units::{KIB, MIB};

/// Longest string: names of exports, messages of errors. The protocol's limit.
pub const MAX_STRING: usize = 4096;

/// Most replies to one option before the one that ends it. Ours: a server has a dozen kinds of
/// information.
pub const MAX_OPTION_REPLIES: usize = 64;

/// Longest reply to an option, in bytes. Ours: a string and what is before it.
pub const MAX_OPTION_REPLY: usize = MAX_STRING + 64;

/// Largest smallest block, in bytes. The protocol's limit.
pub const MAX_MIN_BLOCK: u64 = 64 * KIB;

/// Longest read that is sent in one request, in bytes. Ours: what `nbdcopy` sends; servers work on
/// several at a time.
pub const REQUEST_BYTES: u64 = 256 * KIB;

/// Requests in flight on a connection. Ours: 4 MiB of data.
pub const IN_FLIGHT: usize = 16;

/// Most chunks of the reply to one request. Ours: a chunk for each sector of the longest request,
/// and again as many.
pub const MAX_CHUNKS: usize = 1024;

/// Bytes of the disk whose allocation is asked for at first; more when answers are short.
pub const FIRST_STATUS_BYTES: u64 = 128 * MIB;

/// Most bytes of the disk whose allocation is asked for at a time. The field has 32 bits.
pub const MAX_STATUS_BYTES: u64 = 2 << 30;

/// Most answers about what has changed on a disk. Ours: a million changes, told one by one; servers
/// tell many in an answer.
pub const MAX_QUESTIONS: u32 = 1 << 20;

/// Most descriptors in one reply about allocation. Ours: nbdkit sends up to 2^20.
pub const MAX_DESCRIPTORS: u64 = 1 << 20;

/// Most extents of one reply that are kept; the rest is asked for again. Ours: 1 MiB of memory.
pub const KEPT_EXTENTS: usize = 1 << 16;

/// Bytes that a connection holds: buffers of TLS, and what is known of the requests in flight.
pub const CONNECTION_BYTES: u64 = 128 * KIB;

/// How long an extra connection may take: a server that takes one client leaves others waiting.
pub const EXTRA_CONNECT: Duration = Duration::from_secs(3);

/// How often a waiting thread looks whether it should stop.
pub const TICK: Duration = Duration::from_millis(100);

/// Longest request that clients may send, in bytes. The protocol's default.
pub const MAX_SERVED_REQUEST: u32 = 32 << 20;

/// Longest piece of a disk that the server holds for a client, in bytes.
pub const SERVED_PIECE: usize = 1 << 20;

/// Most options of a client before it reads. Ours: clients send less than ten.
pub const MAX_OPTIONS: usize = 64;

/// Longest option of a client, in bytes. Ours: a name of an export and a few contexts.
pub const MAX_OPTION: usize = 16 << 10;

/// Most stretches in one reply about allocation.
pub const SERVED_EXTENTS: usize = 4096;

/// How long answers that are being sent may take once the server is to stop.
pub const STOP_GRACE: Duration = Duration::from_secs(5);
