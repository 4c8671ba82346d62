//! LZO1X, one block: literals, and copies of what was written before.

use std::io;

/// The farthest copies: those of two bytes behind literals, and where the longest ones begin.
const NEAR: usize = 0x0800;
const FAR: usize = 0x4000;

/// Bytes that are read, and bytes that were written.
struct Block<'a> {
    input: &'a [u8],
    out: Vec<u8>,
    most: usize,
}

/// What `input` unpacks to: exactly `length` bytes, which the caller has held against a cap.
pub(super) fn unpack(input: &[u8], length: usize) -> io::Result<Vec<u8>> {
    let mut block = Block {
        input,
        out: Vec::with_capacity(length),
        most: length,
    };
    // Literals behind the last copy: what a short instruction means depends on them.
    let mut behind = 0;
    if let Some(&first) = input.first()
        && first > 17
    {
        let count = usize::from(block.byte()?) - 17;
        block.literals(count)?;
        behind = count.min(4);
    }
    loop {
        let code = usize::from(block.byte()?);
        let (distance, count, literals) = match code {
            0..16 if behind == 0 => {
                let count = block.count(code, 15)?;
                block.literals(count.saturating_add(3))?;
                behind = 4;
                continue;
            }
            0..16 => {
                let high = usize::from(block.byte()?) << 2;
                let distance = (code >> 2) + high + 1;
                match behind {
                    4 => (distance + NEAR, 3, code & 3),
                    _ => (distance, 2, code & 3),
                }
            }
            16..32 => {
                let count = block.count(code & 7, 7)?.saturating_add(2);
                let word = block.word()?;
                let distance = ((code & 8) << 11) + (word >> 2);
                if distance == 0 {
                    return block.end();
                }
                (distance + FAR, count, word & 3)
            }
            32..64 => {
                let count = block.count(code & 31, 31)?.saturating_add(2);
                let word = block.word()?;
                ((word >> 2) + 1, count, word & 3)
            }
            _ => {
                let high = usize::from(block.byte()?) << 3;
                (((code >> 2) & 7) + high + 1, (code >> 5) + 1, code & 3)
            }
        };
        block.copy(distance, count)?;
        block.literals(literals)?;
        behind = literals;
    }
}

impl Block<'_> {
    fn byte(&mut self) -> io::Result<u8> {
        let (&byte, rest) = self.input.split_first().ok_or_else(broken)?;
        self.input = rest;
        Ok(byte)
    }

    fn word(&mut self) -> io::Result<usize> {
        Ok(usize::from(self.byte()?) | usize::from(self.byte()?) << 8)
    }

    /// A count in an instruction; 0: it follows, `base` and 255 for each zero byte added.
    fn count(&mut self, inside: usize, base: usize) -> io::Result<usize> {
        if inside > 0 {
            return Ok(inside);
        }
        let mut count = base;
        loop {
            match self.byte()? {
                0 => count = count.saturating_add(255),
                last => return Ok(count.saturating_add(usize::from(last))),
            }
        }
    }

    fn literals(&mut self, count: usize) -> io::Result<()> {
        self.room(count)?;
        let (literals, rest) = self.input.split_at_checked(count).ok_or_else(broken)?;
        self.out.extend(literals);
        self.input = rest;
        Ok(())
    }

    /// Copies from `distance` bytes before the end; what is copied may be copied again.
    fn copy(&mut self, distance: usize, count: usize) -> io::Result<()> {
        self.room(count)?;
        let from = self.out.len().checked_sub(distance).ok_or_else(broken)?;
        for at in from..from.saturating_add(count) {
            let byte = *self.out.get(at).ok_or_else(broken)?;
            self.out.push(byte);
        }
        Ok(())
    }

    fn room(&self, count: usize) -> io::Result<()> {
        match self.most - self.out.len() >= count {
            true => Ok(()),
            false => Err(broken()),
        }
    }

    fn end(self) -> io::Result<Vec<u8>> {
        match self.input.is_empty() && self.out.len() == self.most {
            true => Ok(self.out),
            false => Err(broken()),
        }
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a block of LZO is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_copies_of_every_kind_are_put_together() {
        // What lzop makes of texts.
        let runs = b"\x19abcdefgh.\x1d\0\0 \x06\0\0\x01xyz\0 \0\0\x9c\0\0\xfb]ijk\x11\0\0";
        let mut text = b"abcdefgh".repeat(3);
        text.extend([0; 40]);
        text.extend(b"xyz");
        text.extend([0; 700]);
        text.extend(b"abcdefghijk");
        assert_eq!(unpack(runs, text.len()).unwrap(), text);
        let words = b"\x07cjhbhbgjbe\xa4\x01\x0ecdbbadcjfgffhaddg)(\0\x04ebjahjb\xa8\x04h\x06\x08\
            ehajhdfaabjx\x04'|\0\x06gigfibjbjp\x04\xdc\n(D\x01t\x06x\x05\x01dbch|\0\xd8\x06\xc0\t\
            \x0fffhaddggjbeebjahjb\x11\0\0";
        let text =
            b"cjhbhbgjbecjhbhbcdbbadcjfgffhaddgcjfgffhaddgebjahjbcdbbadgjbeehajhdfaabjcjfgebj\
            ahjbcdgigfibjbjgjbecjhbhbcjfgffhaddgehajcjfgdbchcjfgebjahjbhdfaabjffhaddggjbeebjahjb";
        assert_eq!(unpack(words, text.len()).unwrap(), text);
        // The farthest copies: four literals, 17,000 bytes from 4 before, 4 from 17,004 before,
        // and behind four other literals 3 from 2,049 before.
        let mut far = b"\x15abcd\x20".to_vec();
        far.extend([0; 66]);
        far.extend(b"\x89\x0c\0\x12\xb0\x09\x01wxyz\0\0\x11\0\0");
        let mut text = b"abcd".repeat(4252);
        text.extend(b"wxyz");
        text.extend_from_within(text.len() - 2049..text.len() - 2046);
        assert_eq!(unpack(&far, text.len()).unwrap(), text);
    }

    #[test]
    fn what_leads_outside_is_damage() {
        for input in [
            b"".as_slice(),
            b"\x11\x00",
            // A copy before anything was written, literals that are not there, no end.
            b"\x20\x01\x00\x00\x11\x00\x00",
            b"\x14abc",
            b"\x15abcd",
            b"\x00\x00\x00",
            b"\x15abcd\x11\x00\x00tail",
        ] {
            assert!(unpack(input, 4).is_err(), "{input:?}");
        }
        assert!(unpack(b"\x15abcd\x11\x00\x00", 3).is_err(), "longer");
        assert!(unpack(b"\x15abcd\x11\x00\x00", 5).is_err(), "shorter");
    }
}
