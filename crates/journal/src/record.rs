//! Records: what a journal says, and how it stands in a frame.
//!
//! What there is much of (blocks, parts) is binary; what there is one of is JSON.

use serde::{Deserialize, Serialize};

use crate::source::SourceIdentity;

/// Most parts of an upload: a limit of the S3 protocol.
const MAX_PARTS: u32 = 10_000;

/// Bytes of a block in a frame.
const BLOCK_LEN: usize = 52;
/// The same with its level behind.
const LEVELED_LEN: usize = BLOCK_LEN + 1;
/// Says that a block has no level of its own.
const NO_LEVEL: i8 = i8::MIN;
/// Blocks of one frame, at most.
pub const MAX_BLOCKS: usize = 512;
const _: () = assert!(LEVELED_LEN * MAX_BLOCKS <= crate::frame::MAX_PAYLOAD as usize);

/// Longest ETag that is kept, in bytes.
const MAX_ETAG: usize = 256;

/// What an import is, written when it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Version of the program.
    pub tool: String,
    /// What decides the bytes of the stream besides plan and source: another one makes other bytes.
    pub encoder: String,
    /// Where the bucket is.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// Name of the image.
    pub name: String,
    /// The disk as it was.
    pub source: SourceIdentity,
    /// What was planned.
    pub plan: PlanRecord,
    /// UUID of the stream, as 32 hexadecimal digits.
    pub uuid: String,
    /// Time in the stream, in the format's own epoch.
    pub timestamp: u32,
    /// When the import began, in seconds since 1970.
    pub started: u64,
    /// The command line.
    pub command: Vec<String>,
    /// The directory that it was given in.
    pub directory: String,
    /// What the other files of the disk were, as one digest; `None` where it has none, or looking
    /// at them proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_files: Option<String>,
    /// Whether the disk is held against the manifest of its package.
    #[serde(default, skip_serializing_if = "is_not")]
    pub verified: bool,
    /// How many data disks are registered together with this one.
    #[serde(default, skip_serializing_if = "is_none")]
    pub data_disks: u64,
}

/// What of a plan decides the bytes that are sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanRecord {
    /// Format of the source.
    pub source_format: String,
    /// What of the source is read, if not its active disk: the name of a snapshot.
    pub snapshot: Option<String>,
    /// The disk of a package: its file as the package calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Hash of the map of the free space that is left out; none when everything is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discarded: Option<String>,
    /// Format that is sent.
    pub target: String,
    /// Size the guest sees, in bytes.
    pub virtual_size: u64,
    /// Upper bound of the stream, in bytes.
    pub worst_case_bytes: u64,
    /// Compression level; none when nothing is compressed, or each block has its own.
    pub level: Option<i32>,
    /// Whether each block has its own (`--level auto`).
    #[serde(default, skip_serializing_if = "is_not")]
    pub auto_level: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "what serde calls it with"
)]
const fn is_not(value: &bool) -> bool {
    !*value
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "what serde calls it with"
)]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

/// A part that the server has confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// 1 to 10,000.
    pub number: u32,
    /// Bytes.
    pub size: u64,
    /// MD5 of what was sent.
    pub md5: [u8; 16],
    /// The ETag, where it is not that MD5 (the server encrypts).
    pub etag: Option<String>,
}

/// A block of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Number of the guest block.
    pub number: u32,
    /// Where it stands in the stream.
    pub offset: u64,
    /// Its encoded length in bytes.
    pub len: u32,
    /// CRC-32 of its encoded bytes.
    pub crc: u32,
    /// SHA-256 of its guest bytes, for the content digest.
    pub hash: [u8; 32],
    /// The level that it was compressed at, where the plan has none for all.
    pub level: Option<i8>,
}

/// An object that is complete and verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completed {
    /// Length in bytes.
    pub size: u64,
    /// Its ETag.
    pub etag: String,
    /// Whether that was held against the parts.
    pub etag_verified: bool,
    /// Number of parts.
    pub parts: u32,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// The import has begun; the first record, and the only one of its kind.
    Begun(Box<Begun>),
    /// The server has given the upload this id.
    Upload {
        /// The id.
        id: String,
    },
    /// Blocks of the stream, in its order.
    Blocks(Vec<Block>),
    /// A part is stored.
    Part(Part),
    /// The whole stream was made and every part is stored; joining them is asked for next.
    Sent {
        /// Bytes of the stream.
        size: u64,
        /// Content digest of the disk.
        digest: String,
    },
    /// The object is there.
    Completed(Completed),
    /// The image that has the name is renamed next, and kept.
    Renamed {
        /// Its id.
        image: String,
        /// Its new name.
        name: String,
    },
    /// The registration is sent next.
    Registering {
        /// Address of the image service.
        service: String,
        /// Name of the image.
        name: String,
        /// When, in seconds since 1970 by the service's clock.
        at: Option<u64>,
    },
    /// The service has started this job.
    Job {
        /// Its id.
        id: String,
    },
    /// The service said no: it refused the registration, or the job failed. The next run looks
    /// whether there is an image all the same, and sends another one if not.
    Declined,
    /// The image is there.
    Active {
        /// Its id; none where the job was not waited for.
        image: Option<String>,
    },
}

#[derive(Serialize, Deserialize)]
struct IdJson {
    id: String,
}

#[derive(Serialize, Deserialize)]
struct SentJson {
    size: u64,
    digest: String,
}

#[derive(Serialize, Deserialize)]
struct RegisteringJson {
    service: String,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct RenamedJson {
    image: String,
    name: String,
}

#[derive(Serialize, Deserialize)]
struct ActiveJson {
    image: Option<String>,
}

impl Record {
    /// Kind and payload of its frame; `None` when it has no form, which none of ours has.
    #[must_use]
    pub fn encode(&self) -> Option<(u8, Vec<u8>)> {
        let json = |kind, value: serde_json::Result<Vec<u8>>| Some((kind, value.ok()?));
        match self {
            Self::Begun(begun) => json(1, serde_json::to_vec(begun)),
            Self::Upload { id } => json(2, serde_json::to_vec(&IdJson { id: id.clone() })),
            Self::Blocks(blocks) => {
                let leveled = blocks.iter().any(|block| block.level.is_some());
                let mut payload = Vec::with_capacity(blocks.len().saturating_mul(LEVELED_LEN));
                for block in blocks {
                    payload.extend(block.number.to_le_bytes());
                    payload.extend(block.len.to_le_bytes());
                    payload.extend(block.offset.to_le_bytes());
                    payload.extend(block.crc.to_le_bytes());
                    payload.extend(block.hash);
                    if leveled {
                        payload.extend(block.level.unwrap_or(NO_LEVEL).to_le_bytes());
                    }
                }
                Some((if leveled { 11 } else { 3 }, payload))
            }
            Self::Part(part) => {
                let mut payload = Vec::with_capacity(28);
                payload.extend(part.number.to_le_bytes());
                payload.extend(part.size.to_le_bytes());
                payload.extend(part.md5);
                payload.extend(part.etag.iter().flat_map(|etag| etag.bytes()));
                Some((4, payload))
            }
            Self::Sent { size, digest } => json(
                5,
                serde_json::to_vec(&SentJson {
                    size: *size,
                    digest: digest.clone(),
                }),
            ),
            Self::Completed(completed) => json(6, serde_json::to_vec(completed)),
            Self::Renamed { image, name } => json(
                12,
                serde_json::to_vec(&RenamedJson {
                    image: image.clone(),
                    name: name.clone(),
                }),
            ),
            Self::Registering { service, name, at } => json(
                7,
                serde_json::to_vec(&RegisteringJson {
                    service: service.clone(),
                    name: name.clone(),
                    at: *at,
                }),
            ),
            Self::Job { id } => json(8, serde_json::to_vec(&IdJson { id: id.clone() })),
            Self::Declined => Some((9, Vec::new())),
            Self::Active { image } => json(
                10,
                serde_json::to_vec(&ActiveJson {
                    image: image.clone(),
                }),
            ),
        }
    }

    /// What a frame says; `None` when it says nothing that this version knows.
    #[must_use]
    pub fn decode(kind: u8, payload: &[u8]) -> Option<Self> {
        Some(match kind {
            1 => Self::Begun(serde_json::from_slice(payload).ok()?),
            2 => Self::Upload {
                id: serde_json::from_slice::<IdJson>(payload).ok()?.id,
            },
            3 => Self::Blocks(blocks::<BLOCK_LEN>(payload)?),
            4 => Self::Part(part(payload)?),
            5 => {
                let SentJson { size, digest } = serde_json::from_slice(payload).ok()?;
                Self::Sent { size, digest }
            }
            6 => Self::Completed(serde_json::from_slice(payload).ok()?),
            7 => {
                let RegisteringJson { service, name, at } = serde_json::from_slice(payload).ok()?;
                Self::Registering { service, name, at }
            }
            8 => Self::Job {
                id: serde_json::from_slice::<IdJson>(payload).ok()?.id,
            },
            9 if payload.is_empty() => Self::Declined,
            10 => Self::Active {
                image: serde_json::from_slice::<ActiveJson>(payload).ok()?.image,
            },
            11 => Self::Blocks(blocks::<LEVELED_LEN>(payload)?),
            12 => {
                let RenamedJson { image, name } = serde_json::from_slice(payload).ok()?;
                Self::Renamed { image, name }
            }
            _ => return None,
        })
    }
}

/// Blocks of `LEN` bytes each, which has a level behind if it is [`LEVELED_LEN`].
fn blocks<const LEN: usize>(payload: &[u8]) -> Option<Vec<Block>> {
    let (blocks, rest) = payload.as_chunks::<LEN>();
    if blocks.is_empty() || blocks.len() > MAX_BLOCKS || !rest.is_empty() {
        return None;
    }
    blocks
        .iter()
        .map(|bytes| {
            let mut rest = bytes.as_slice();
            Some(Block {
                number: u32::from_le_bytes(take(&mut rest)?),
                len: u32::from_le_bytes(take(&mut rest)?),
                offset: u64::from_le_bytes(take(&mut rest)?),
                crc: u32::from_le_bytes(take(&mut rest)?),
                hash: take(&mut rest)?,
                level: match LEN {
                    LEVELED_LEN => {
                        let level = i8::from_le_bytes(take(&mut rest)?);
                        (level != NO_LEVEL).then_some(level)
                    }
                    _ => None,
                },
            })
        })
        .collect()
}

fn part(mut payload: &[u8]) -> Option<Part> {
    let number = u32::from_le_bytes(take(&mut payload)?);
    let size = u64::from_le_bytes(take(&mut payload)?);
    let md5 = take(&mut payload)?;
    let etag = match std::str::from_utf8(payload).ok()? {
        "" => None,
        etag if etag.len() <= MAX_ETAG => Some(etag.to_owned()),
        _ => return None,
    };
    (1..=MAX_PARTS).contains(&number).then_some(Part {
        number,
        size,
        md5,
        etag,
    })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}
