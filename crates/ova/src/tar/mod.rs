//! The index of a tar archive: where each member's bytes are. Nothing is unpacked, and of contents
//! only extended headers are read.

mod header;
mod pax;

use diskimg::text::printable;
use diskimg::units::{FileOffset, fits, round_up};
use diskimg::{Error, ErrorKind, ReadAt, Result};

pub(crate) use self::header::Kind;
use self::header::{BLOCK, Header, has_magic};
use self::pax::Extended;
use crate::limits::{
    MAX_HEADERS, MAX_LONG_NAME_BYTES, MAX_MEMBERS, MAX_NAME_BYTES, MAX_PAX_BYTES, MAX_SPARSE_BLOCKS,
};

/// One member.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its name without a leading `./`.
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    /// Where its bytes are.
    pub(crate) at: FileOffset,
    pub(crate) len: u64,
}

/// The members of an archive.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) entries: Vec<Entry>,
    pub(crate) warnings: Vec<String>,
}

/// Whether `source` begins like a tar archive, and not like a disk that boots: a guest writes its
/// own first sector.
///
/// # Errors
/// Those of reading.
pub(crate) fn is_tar(source: &dyn ReadAt) -> Result<bool> {
    if source.len() < BLOCK {
        return Ok(false);
    }
    let mut head = [0; 512];
    source.read_exact_at(FileOffset(0), &mut head)?;
    Ok(has_magic(&head) && !head.ends_with(&[0x55, 0xaa]))
}

impl Index {
    /// Reads all headers. What was found before an error stays in the index.
    ///
    /// # Errors
    /// `Corrupt`, `Truncated` and `Limit` when it is no archive that can be trusted; those of
    /// reading.
    pub(crate) fn fill(&mut self, source: &dyn ReadAt) -> Result<()> {
        let mut walk = Walk {
            source,
            at: 0,
            headers: 0,
            long_name: None,
            extended: Extended::default(),
        };
        let mut names = 0_usize;
        while let Some(entry) = walk.next(&mut self.warnings)? {
            names = names.saturating_add(entry.name.len());
            if names > MAX_NAME_BYTES {
                return Err(Error::new(
                    ErrorKind::Limit,
                    format!(
                        "the names of the archive's members have more than {MAX_NAME_BYTES} bytes"
                    ),
                )
                .at("tar header", walk.at));
            }
            if self.entries.len() >= MAX_MEMBERS {
                return Err(Error::new(
                    ErrorKind::Limit,
                    format!("the archive has more than {MAX_MEMBERS} members"),
                )
                .at("tar header", walk.at));
            }
            self.entries.push(entry);
        }
        Ok(())
    }
}

/// A walk over the headers.
struct Walk<'a> {
    source: &'a dyn ReadAt,
    at: u64,
    headers: u32,
    long_name: Option<Vec<u8>>,
    extended: Extended,
}

impl Walk<'_> {
    /// The next member.
    fn next(&mut self, warnings: &mut Vec<String>) -> Result<Option<Entry>> {
        loop {
            let at = self.at;
            let Some(block) = self.block(warnings)? else {
                return Ok(None);
            };
            self.headers = self.headers.saturating_add(1);
            if self.headers > MAX_HEADERS {
                return Err(Error::new(
                    ErrorKind::Limit,
                    format!("the archive has more than {MAX_HEADERS} headers"),
                )
                .at("tar header", at));
            }
            let header = Header::read(&block, at)?;
            match header.type_byte() {
                b'x' => {
                    let bytes = self.content(header.size()?, MAX_PAX_BYTES)?;
                    self.extended.add(&bytes, at)?;
                }
                b'g' => {
                    let bytes = self.content(header.size()?, MAX_PAX_BYTES)?;
                    let mut global = Extended::default();
                    global.add(&bytes, at)?;
                    global.refuse_global(at)?;
                }
                b'L' => {
                    let bytes = self.content(header.size()?, MAX_LONG_NAME_BYTES)?;
                    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                    self.long_name = Some(name.to_vec());
                }
                b'K' => {
                    self.content(header.size()?, MAX_LONG_NAME_BYTES)?;
                }
                _ => return self.member(&header, at).map(Some),
            }
        }
    }

    /// The block at the current place, unless the archive ends here.
    fn block(&mut self, warnings: &mut Vec<String>) -> Result<Option<[u8; 512]>> {
        let mut block = [0; 512];
        if self.at == self.source.len() {
            warnings.push("the archive has no end mark; it may have been cut off".to_owned());
            return Ok(None);
        }
        if !fits(self.at, BLOCK, self.source.len()) {
            return Err(self.cut(self.at, "a header"));
        }
        self.source.read_exact_at(FileOffset(self.at), &mut block)?;
        if block != [0; 512] {
            self.at = self.at.saturating_add(BLOCK);
            return Ok(Some(block));
        }
        let next = self.at.saturating_add(BLOCK);
        let second = fits(next, BLOCK, self.source.len());
        if second {
            self.source.read_exact_at(FileOffset(next), &mut block)?;
        }
        if !second || block != [0; 512] {
            warnings.push(
                "the archive's end mark is one block of zeros, and two were expected; what follows \
                 it is ignored"
                    .to_owned(),
            );
        }
        Ok(None)
    }

    fn cut(&self, at: u64, what: &str) -> Error {
        Error::truncated(
            "tar header",
            at,
            format!(
                "{what} goes on beyond the end of the file, at {:#x}",
                self.source.len()
            ),
        )
        .with_hint("the file is incomplete: copy or download it again")
    }

    /// The content of an extended header, of at most `most` bytes.
    fn content(&mut self, size: u64, most: u64) -> Result<Vec<u8>> {
        if size > most {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("an extended header has {size} bytes, at most {most} are read"),
            )
            .at("tar header", self.at));
        }
        let at = self.at;
        self.skip(size)?;
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        self.source.read_exact_at(FileOffset(at), &mut bytes)?;
        Ok(bytes)
    }

    /// Goes behind a content of `size` bytes and its padding.
    fn skip(&mut self, size: u64) -> Result<()> {
        if !fits(self.at, size, self.source.len()) {
            return Err(self.cut(self.at, &format!("a content of {size} bytes")));
        }
        // The padding of the last member may be missing: the next header is missing too then.
        let padded = round_up(size, BLOCK).unwrap_or(size);
        self.at = self.at.saturating_add(padded).min(self.source.len());
        Ok(())
    }

    fn member(&mut self, header: &Header<'_>, at: u64) -> Result<Entry> {
        let extended = std::mem::take(&mut self.extended);
        let long = self.long_name.take();
        let name = extended.sparse_name.or(extended.path).or(long);
        let name = name.unwrap_or_else(|| header.name());
        let mut kind = header.kind();
        if kind == Kind::Sparse && header.sparse_map_goes_on() {
            self.skip_sparse_map()?;
        }
        if extended.sparse && kind == Kind::File {
            kind = Kind::Sparse;
        }
        let len = match kind.has_content() {
            true => match extended.size {
                Some(size) => size,
                None => header.size()?,
            },
            false => 0,
        };
        let content = self.at;
        if !fits(content, len, self.source.len()) {
            let what = format!("member {} of {len} bytes", shown_name(&name));
            return Err(self.cut(at, &what));
        }
        self.skip(len)?;
        Ok(Entry {
            name: without_dot(name),
            kind,
            at: FileOffset(content),
            len,
        })
    }

    /// Goes behind the blocks of a GNU sparse map, each of which says whether another follows.
    fn skip_sparse_map(&mut self) -> Result<()> {
        for _ in 0..MAX_SPARSE_BLOCKS {
            let mut block = [0; 512];
            if !fits(self.at, BLOCK, self.source.len()) {
                return Err(self.cut(self.at, "a sparse map"));
            }
            self.source.read_exact_at(FileOffset(self.at), &mut block)?;
            self.at = self.at.saturating_add(BLOCK);
            if block.get(504).is_none_or(|more| *more == 0) {
                return Ok(());
            }
        }
        Err(Error::new(
            ErrorKind::Limit,
            format!("a sparse map has more than {MAX_SPARSE_BLOCKS} blocks"),
        )
        .at("tar header", self.at))
    }
}

fn without_dot(name: Vec<u8>) -> Vec<u8> {
    match name.strip_prefix(b"./") {
        Some(rest) => rest.to_vec(),
        None => name,
    }
}

/// A member's name in messages, in quotes.
pub(crate) fn shown_name(name: &[u8]) -> String {
    format!("\"{}\"", printable(&String::from_utf8_lossy(name)))
}
