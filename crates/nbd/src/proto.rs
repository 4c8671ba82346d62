//! Numbers of the NBD protocol, by their names in its specification, and bytes in network order.

use std::io::{self, Read};

pub(crate) const NBDMAGIC: u64 = 0x4e42_444d_4147_4943;
pub(crate) const IHAVEOPT: u64 = 0x4948_4156_454f_5054;
pub(crate) const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
pub(crate) const REQUEST_MAGIC: u32 = 0x2560_9513;
pub(crate) const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
pub(crate) const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;

pub(crate) const FLAG_FIXED_NEWSTYLE: u16 = 1;
pub(crate) const FLAG_NO_ZEROES: u16 = 2;

pub(crate) const OPT_EXPORT_NAME: u32 = 1;
pub(crate) const OPT_ABORT: u32 = 2;
pub(crate) const OPT_LIST: u32 = 3;
pub(crate) const OPT_STARTTLS: u32 = 5;
pub(crate) const OPT_INFO: u32 = 6;
pub(crate) const OPT_GO: u32 = 7;
pub(crate) const OPT_STRUCTURED_REPLY: u32 = 8;
pub(crate) const OPT_LIST_META_CONTEXT: u32 = 9;
pub(crate) const OPT_SET_META_CONTEXT: u32 = 10;

pub(crate) const REP_ACK: u32 = 1;
pub(crate) const REP_SERVER: u32 = 2;
pub(crate) const REP_INFO: u32 = 3;
pub(crate) const REP_META_CONTEXT: u32 = 4;
pub(crate) const REP_ERR: u32 = 1 << 31;
pub(crate) const REP_ERR_UNSUP: u32 = REP_ERR + 1;
pub(crate) const REP_ERR_POLICY: u32 = REP_ERR + 2;
pub(crate) const REP_ERR_INVALID: u32 = REP_ERR + 3;
pub(crate) const REP_ERR_TLS_REQD: u32 = REP_ERR + 5;
pub(crate) const REP_ERR_UNKNOWN: u32 = REP_ERR + 6;
pub(crate) const REP_ERR_SHUTDOWN: u32 = REP_ERR + 7;
pub(crate) const REP_ERR_TOO_BIG: u32 = REP_ERR + 9;

pub(crate) const INFO_EXPORT: u16 = 0;
pub(crate) const INFO_BLOCK_SIZE: u16 = 3;

pub(crate) const TRANSMIT_HAS_FLAGS: u16 = 1;
pub(crate) const TRANSMIT_READ_ONLY: u16 = 1 << 1;
pub(crate) const TRANSMIT_SEND_DF: u16 = 1 << 7;
pub(crate) const TRANSMIT_MULTI_CONN: u16 = 1 << 8;

pub(crate) const CMD_READ: u16 = 0;
pub(crate) const CMD_WRITE: u16 = 1;
pub(crate) const CMD_DISC: u16 = 2;
pub(crate) const CMD_TRIM: u16 = 4;
pub(crate) const CMD_WRITE_ZEROES: u16 = 6;
pub(crate) const CMD_BLOCK_STATUS: u16 = 7;
pub(crate) const CMD_FLAG_DF: u16 = 1 << 2;
pub(crate) const CMD_FLAG_REQ_ONE: u16 = 1 << 3;

pub(crate) const CHUNK_DONE: u16 = 1;
pub(crate) const CHUNK_NONE: u16 = 0;
pub(crate) const CHUNK_OFFSET_DATA: u16 = 1;
pub(crate) const CHUNK_OFFSET_HOLE: u16 = 2;
pub(crate) const CHUNK_BLOCK_STATUS: u16 = 5;
pub(crate) const CHUNK_ERROR_BIT: u16 = 1 << 15;
pub(crate) const CHUNK_ERROR: u16 = CHUNK_ERROR_BIT + 1;

pub(crate) const EPERM: u32 = 1;
pub(crate) const EIO: u32 = 5;
pub(crate) const ENOMEM: u32 = 12;
pub(crate) const EINVAL: u32 = 22;
pub(crate) const EOVERFLOW: u32 = 75;
pub(crate) const ENOTSUP: u32 = 95;
pub(crate) const ESHUTDOWN: u32 = 108;

/// The context that says what is allocated.
pub(crate) const ALLOCATION: &str = "base:allocation";
/// Its flags: nothing is stored here; zeros are read here.
pub(crate) const STATE_HOLE: u32 = 1;
pub(crate) const STATE_ZERO: u32 = 2;

/// Begins the names of contexts that say what has changed; the name of a bitmap follows.
pub(crate) const DIRTY_BITMAP: &str = "qemu:dirty-bitmap:";
/// Its flag: this has changed.
pub(crate) const STATE_DIRTY: u32 = 1;

/// What an error number means.
pub(crate) fn error_name(code: u32) -> String {
    let name = match code {
        EPERM => "EPERM (not permitted)",
        EIO => "EIO (input/output error)",
        ENOMEM => "ENOMEM (out of memory)",
        EINVAL => "EINVAL (invalid request)",
        28 => "ENOSPC (no space left)",
        EOVERFLOW => "EOVERFLOW (request too long)",
        ENOTSUP => "ENOTSUP (not supported)",
        ESHUTDOWN => "ESHUTDOWN (the server is shutting down)",
        other => return format!("error {other}"),
    };
    name.to_owned()
}

/// The next `N` bytes.
pub(crate) fn take<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn take_u16(stream: &mut impl Read) -> io::Result<u16> {
    take(stream).map(u16::from_be_bytes)
}

pub(crate) fn take_u32(stream: &mut impl Read) -> io::Result<u32> {
    take(stream).map(u32::from_be_bytes)
}

pub(crate) fn take_u64(stream: &mut impl Read) -> io::Result<u64> {
    take(stream).map(u64::from_be_bytes)
}

/// The next `len` bytes, which the caller has held against a cap.
pub(crate) fn take_vec(stream: &mut impl Read, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads and forgets `len` bytes.
pub(crate) fn skip(stream: &mut impl Read, mut len: u64) -> io::Result<()> {
    let mut scratch = [0; 4096];
    while len > 0 {
        let some = usize::try_from(len)
            .unwrap_or(usize::MAX)
            .min(scratch.len());
        stream.read_exact(scratch.get_mut(..some).unwrap_or_default())?;
        len -= some as u64;
    }
    Ok(())
}

/// A length as the protocol writes it. Lengths are held against caps before; what is longer than 32
/// bits never leaves.
pub(crate) fn wire_len(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Bytes of a message, in network order.
#[derive(Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn u16(mut self, number: u16) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(crate) fn u32(mut self, number: u32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(crate) fn u64(mut self, number: u64) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    /// A string with its length before it.
    pub(crate) fn string(self, text: &[u8]) -> Self {
        self.u32(wire_len(text.len())).bytes(text)
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}
