//! An export as a source of bytes, so that it opens like a file.

use std::path::{Path, PathBuf};

use diskimg::limits::MAX_VIRTUAL_SIZE;
use diskimg::units::{fits, human};
use diskimg::{Changes, Error, ErrorKind, FileOffset, ReadAt, Result, SourceExtent};
use parking_lot::Mutex;

use super::options::ClientOptions;
use super::pool::Pool;
use super::session::Piece;
use super::status::Known;
use super::trouble::{Trouble, violation};
use crate::limits::{
    CONNECTION_BYTES, KEPT_EXTENTS, MAX_MIN_BLOCK, MAX_QUESTIONS, MAX_STATUS_BYTES, REQUEST_BYTES,
};
use crate::uri::NbdUri;

/// The bytes of an export. Holes and zeros are known when the server tells them.
pub struct NbdSource {
    pool: Pool,
    name: PathBuf,
    known: Mutex<Known>,
}

impl NbdSource {
    /// Connects to the server of `uri`.
    ///
    /// # Errors
    /// `Io` when it does not answer, `Corrupt` when it breaks the protocol, `Unsupported` when it
    /// refuses, `Limit` when the export is too large. All name the URI.
    pub fn open(uri: NbdUri, options: ClientOptions) -> Result<Self> {
        let name = PathBuf::from(uri.to_string());
        let pool = Pool::open(uri, options).map_err(|error| error.in_file(&name))?;
        let size = pool.export().size;
        if size > MAX_VIRTUAL_SIZE {
            let error = Error::new(
                ErrorKind::Limit,
                format!(
                    "the export has {size} bytes ({}), at most {} are read",
                    human(size),
                    human(MAX_VIRTUAL_SIZE)
                ),
            );
            return Err(error.in_file(&name));
        }
        Ok(Self {
            pool,
            name,
            known: Mutex::default(),
        })
    }

    /// Whether the server says where nothing is stored.
    #[must_use]
    pub fn tells_holes(&self) -> bool {
        self.pool.export().allocation
    }

    /// Connections that are used at most.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.pool.connections()
    }

    /// Fills `buf` from `at`. Blocks of which only a part is wanted are read into buffers of their
    /// own.
    fn read(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let export = self.pool.export();
        let len = buf.len() as u64;
        if !fits(at, len, export.size) {
            return Err(Error::truncated(
                "export",
                at,
                format!(
                    "{len} bytes are needed, the export has {} in all",
                    export.size
                ),
            ));
        }
        let block = usize::try_from(export.min_block).unwrap_or(usize::MAX);
        let skip = usize::try_from(at % export.min_block).unwrap_or_default();
        let head = if skip == 0 {
            0
        } else {
            (block - skip).min(buf.len())
        };
        let tail = (buf.len() - head) % block;
        let mut first = vec![0; if head > 0 { block } else { 0 }];
        let mut last = vec![0; if tail > 0 { block } else { 0 }];
        let (head, rest) = buf.split_at_mut(head);
        let (middle, tail) = rest.split_at_mut(rest.len() - tail);
        let mut pieces = Pieces {
            next: at - skip as u64,
            longest: REQUEST_BYTES.min(export.max_block),
            pieces: Vec::new(),
        };
        for part in [first.as_mut_slice(), middle, last.as_mut_slice()] {
            pieces.add(part);
        }
        self.read_pieces(&mut pieces.pieces)?;
        let wanted = first.get(skip..).and_then(|rest| rest.get(..head.len()));
        head.copy_from_slice(wanted.unwrap_or_default());
        tail.copy_from_slice(last.get(..tail.len()).unwrap_or_default());
        Ok(())
    }

    fn read_pieces(&self, pieces: &mut [Piece<'_>]) -> Result<()> {
        self.pool.with(|connection| {
            connection.read(pieces).map_err(|trouble| {
                let done = pieces.iter().filter(|piece| piece.done).count();
                (done, trouble)
            })
        })
    }

    /// What the bitmap that was asked for says.
    fn changed(&self, bitmap: &str, unit: u64) -> Result<Changes> {
        let export = self.pool.export();
        if !export.changes {
            let others = match export.other_bitmaps.as_slice() {
                [] => "nor any other".to_owned(),
                names => format!("but {names:?}"),
            };
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("the server does not export the bitmap {bitmap:?}, {others}"),
            )
            .with_hint("let the server export it, as qemu-nbd does with -B NAME"));
        }
        let mut changes = Changes::none(unit);
        let (mut at, mut asked) = (0, 0);
        while at < export.size {
            asked += 1;
            if asked > MAX_QUESTIONS {
                return Err(Error::new(
                    ErrorKind::Limit,
                    format!("the changes are not told in {MAX_QUESTIONS} answers"),
                ));
            }
            let len = (MAX_STATUS_BYTES - MAX_MIN_BLOCK).min(export.size - at);
            let status = self.pool.with(|connection| {
                let told = connection.changes(at, len);
                told.map_err(|trouble| (0, trouble))
            })?;
            status.affirmed().for_each(|range| changes.add(range));
            at = match status.end() {
                end if end.is_multiple_of(export.min_block) => end,
                end => {
                    return Err(violation(format!(
                        "a block ends at {end:#x}, blocks have {} bytes",
                        export.min_block
                    ))
                    .into_error());
                }
            };
        }
        Ok(changes)
    }

    fn extent(&self, at: u64, limit: u64) -> Result<SourceExtent> {
        let export = self.pool.export();
        if !export.allocation {
            return Ok(SourceExtent::Data(limit));
        }
        let mut known = self.known.lock();
        if let Some(extent) = known.status.extent_at(at, limit) {
            return Ok(extent);
        }
        let (start, len) = known.question(at, export.size, export.min_block);
        let status = self.pool.with(|connection| {
            connection
                .status(start, len)
                .map_err(|trouble: Trouble| (0, trouble))
        })?;
        known.keep(status, len);
        // An answer begins at `start` and holds a whole block at least, or all counts as data.
        let extent = known.status.extent_at(at, limit);
        Ok(extent.unwrap_or(SourceExtent::Data(limit.min(export.min_block))))
    }
}

/// Stretches of a disk that follow one another, in requests.
struct Pieces<'a> {
    next: u64,
    longest: u64,
    pieces: Vec<Piece<'a>>,
}

impl<'a> Pieces<'a> {
    fn add(&mut self, buf: &'a mut [u8]) {
        let longest = usize::try_from(self.longest).unwrap_or(usize::MAX).max(1);
        for buf in buf.chunks_mut(longest) {
            let at = self.next;
            self.next = at.saturating_add(buf.len() as u64);
            self.pieces.push(Piece {
                at,
                buf,
                done: false,
            });
        }
    }
}

impl ReadAt for NbdSource {
    fn len(&self) -> u64 {
        self.pool.export().size
    }

    fn read_exact_at(&self, at: FileOffset, buf: &mut [u8]) -> Result<()> {
        self.read(at.0, buf)
            .map_err(|error| error.in_file(&self.name))
    }

    fn extent_at(&self, at: FileOffset, limit: u64) -> Result<SourceExtent> {
        self.extent(at.0, limit)
            .map_err(|error| error.in_file(&self.name))
    }

    fn changes(&self, bitmap: &str, unit: u64) -> Result<Changes> {
        self.changed(bitmap, unit)
            .map_err(|error| error.in_file(&self.name))
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.name)
    }

    /// Two answers about allocation, and what each connection holds.
    fn memory(&self) -> u64 {
        let extents = KEPT_EXTENTS as u64 * size_of::<(u64, bool)>() as u64;
        let connections = self.pool.connections() as u64;
        let each = CONNECTION_BYTES + 2 * self.pool.export().min_block;
        (2 * extents).saturating_add(connections.saturating_mul(each))
    }
}
