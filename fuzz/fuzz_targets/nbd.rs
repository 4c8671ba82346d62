//! Bytes by chance, read as what a server of NBD says: the negotiation, the answer to a read in
//! several requests, what is allocated, and
//! what has changed.

#![no_main]

use std::io::{self, Read, Write};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use nbd::{Piece, Session, Stream};

/// Says what it was going to say, whatever it hears.
struct Script<'a>(&'a [u8]);

impl Read for Script<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Script<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Script<'_> {}

fuzz_target!(|said: &[u8]| {
    let Ok(mut session) = Session::begin_plain(Script(said), ("", Some("b")), Duration::MAX) else {
        return;
    };
    let export = session.export().clone();
    assert!(export.min_block.is_power_of_two() && export.max_block >= export.min_block);
    let mut bytes = [0; 2048];
    let (first, second) = bytes.split_at_mut(1024);
    let mut pieces = [(4096, first), (5120, second)].map(|(at, buf)| Piece {
        at,
        buf,
        done: false,
    });
    let read = session.read(&mut pieces);
    assert_eq!(read.is_ok(), pieces.iter().all(|piece| piece.done));
    if let Ok(status) = session.status(4096, 64 << 10) {
        let end = status.end();
        assert!((4097..=4096 + (64 << 10)).contains(&end));
        assert!(status.extent_at(4096, u64::MAX).is_some());
        assert!(status.extent_at(end, 1).is_none());
    }
    if let Ok(changes) = session.changes(4096, 64 << 10) {
        assert!((4097..=4096 + (64 << 10)).contains(&changes.end()));
    }
});
