//! A compressed stream of one or several members.

use std::io::{self, BufRead, BufReader, Read};
use std::mem;

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use lz4_flex::frame::FrameDecoder;
use lzma_rust2::XzReader;

use super::container::Container;
use super::errors::{ended_early, invalid};
use super::lz4::Frame;
use crate::limits::{MAX_XZ_MEMORY_KIB, MAX_ZSTD_WINDOW_LOG};

type Input = BufReader<Box<dyn Read + Send>>;

/// What members one behind the other decode to.
pub(super) struct Unpacked {
    packing: Container,
    state: State,
}

enum State {
    /// Before a member, or behind the last one.
    Between(Input),
    Inside(Member),
    Ended,
    /// Once it has failed it gives nothing any more.
    Failed,
}

/// A member that is being decoded. None reads beyond its end.
enum Member {
    Gzip(Box<GzDecoder<Input>>),
    Xz(Box<XzReader<Input>>),
    Zstd(zstd::Decoder<'static, Input>),
    Bzip2(BzDecoder<Input>),
    Lz4(Box<FrameDecoder<Frame<Input>>>),
}

impl Unpacked {
    pub(super) fn new(packing: Container, bytes: Box<dyn Read + Send>) -> Self {
        Self {
            packing,
            state: State::Between(BufReader::with_capacity(128 << 10, bytes)),
        }
    }

    /// What follows: a member, or nothing but zeros up to the end.
    fn next(&self, mut input: Input) -> io::Result<State> {
        let mut zeros = 0_u64;
        loop {
            let bytes = input.fill_buf()?;
            let Some(first) = bytes.first() else {
                return Ok(State::Ended);
            };
            if *first != 0 {
                // Only the members of an xz file may stand apart.
                let apart = zeros > 0 && self.packing != Container::Xz;
                if apart || !self.packing.may_begin_with(*first) {
                    return Err(invalid("bytes follow its end that are not part of it"));
                }
                return Member::begin(self.packing, input).map(State::Inside);
            }
            let len = bytes.iter().take_while(|byte| **byte == 0).count();
            input.consume(len);
            zeros += len as u64;
        }
    }
}

impl Read for Unpacked {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            match mem::replace(&mut self.state, State::Failed) {
                State::Between(input) => self.state = self.next(input)?,
                State::Inside(mut member) => match member.read(buf)? {
                    0 => self.state = State::Between(member.end()?),
                    len => {
                        self.state = State::Inside(member);
                        return Ok(len);
                    }
                },
                State::Ended => {
                    self.state = State::Ended;
                    return Ok(0);
                }
                State::Failed => return Err(ended_early()),
            }
        }
    }
}

impl Member {
    fn begin(packing: Container, input: Input) -> io::Result<Self> {
        Ok(match packing {
            Container::Gzip => Self::Gzip(Box::new(GzDecoder::new(input))),
            Container::Xz => Self::Xz(Box::new(XzReader::new_mem_limit(
                input,
                false,
                MAX_XZ_MEMORY_KIB,
            ))),
            Container::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(input)?.single_frame();
                decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
                Self::Zstd(decoder)
            }
            Container::Bzip2 => Self::Bzip2(BzDecoder::new(input)),
            Container::Lz4 => Self::Lz4(Box::new(FrameDecoder::new(Frame::begin(input)?))),
        })
    }

    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(member) => member.read(buf),
            Self::Xz(member) => member.read(buf),
            Self::Zstd(member) => member.read(buf),
            Self::Bzip2(member) => member.read(buf),
            Self::Lz4(member) => member.read(buf),
        }
    }

    /// What follows the member, all of which was read.
    fn end(self) -> io::Result<Input> {
        Ok(match self {
            Self::Gzip(member) => member.into_inner(),
            Self::Xz(member) => member.into_inner(),
            Self::Zstd(member) => member.finish(),
            Self::Bzip2(member) => member.into_inner(),
            Self::Lz4(member) => member.into_inner().end()?,
        })
    }
}
