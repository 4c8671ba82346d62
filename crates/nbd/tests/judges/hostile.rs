//! Servers that break the protocol: each is found out, by a name.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use diskimg::ErrorKind;
use nbd::{Piece, Session, Stream, Trouble};

use super::programs::chain;

/// A server that says what it was going to say, whatever it hears.
struct Script(io::Cursor<Vec<u8>>);

impl Read for Script {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Script {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Script {}

/// Bytes of what a server says.
#[derive(Clone, Default)]
pub(crate) struct Say(pub(crate) Vec<u8>);

impl Say {
    fn n16(mut self, number: u16) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn n32(mut self, number: u32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn n64(mut self, number: u64) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    fn text(mut self, text: &[u8]) -> Self {
        self.0.extend(text);
        self
    }

    fn reply(self, option: u32, kind: u32, data: &Self) -> Self {
        self.n64(0x0003_e889_0455_65a9)
            .n32(option)
            .n32(kind)
            .n32(data.0.len() as u32)
            .text(&data.0)
    }

    fn chunk(self, done: bool, kind: u16, cookie: u64, data: &Self) -> Self {
        self.head(done, kind, cookie, data.0.len() as u32)
            .text(&data.0)
    }

    fn head(self, done: bool, kind: u16, cookie: u64, len: u32) -> Self {
        self.n32(0x668e_33ef)
            .n16(done.into())
            .n16(kind)
            .n64(cookie)
            .n32(len)
    }

    pub(crate) fn data(self, done: bool, at: u64, len: usize) -> Self {
        let data = say().n64(at).text(&vec![7; len]);
        self.chunk(done, 1, 1, &data)
    }
}

pub(crate) fn say() -> Say {
    Say::default()
}

fn greeting() -> Say {
    say().text(b"NBDMAGICIHAVEOPT").n16(3)
}

/// Up to the reply to the contexts.
fn structured() -> Say {
    greeting().reply(8, 1, &say())
}

fn context() -> Say {
    structured()
        .reply(10, 4, &say().n32(9).text(b"base:allocation"))
        .reply(10, 1, &say())
}

fn export(size: u64) -> Say {
    say().n16(0).n64(size).n16(0x0103)
}

fn blocks(min: u32, max: u32) -> Say {
    say().n16(3).n32(min).n32(4096).n32(max)
}

/// An export of 1 MiB in blocks of 512, ready for requests.
pub(crate) fn ready() -> Say {
    context()
        .reply(7, 3, &export(1 << 20))
        .reply(7, 3, &blocks(512, 1 << 20))
        .reply(7, 1, &say())
}

fn simple_ready() -> Say {
    greeting()
        .reply(8, (1 << 31) + 1, &say())
        .reply(7, 3, &export(1 << 20))
        .reply(7, 1, &say())
}

fn begin(say: Say) -> Result<Session<Script>, Trouble> {
    let script = Script(io::Cursor::new(say.0));
    Session::begin_plain(script, ("disk", None), Duration::from_secs(1))
}

/// What comes of reading 1024 bytes at 4096.
fn read(say: Say) -> Result<Vec<u8>, Trouble> {
    let mut bytes = vec![0xee; 1024];
    let piece = Piece {
        at: 4096,
        buf: &mut bytes,
        done: false,
    };
    begin(say)?.read(&mut [piece])?;
    Ok(bytes)
}

/// What comes of asking what is allocated in 64 KiB at 4096.
fn ask(say: Say) -> Result<nbd::Status, Trouble> {
    begin(say)?.status(4096, 64 << 10)
}

fn status(count: usize, len: u32) -> Say {
    (0..count).fold(say().n32(9), |say, _| say.n32(len).n32(3))
}

fn check<T>(what: &str, result: Result<T, Trouble>, words: &str) {
    let Err(trouble) = result else {
        panic!("{what}: accepted");
    };
    let error = trouble.into_error();
    let text = chain(&error);
    assert!(text.contains(words), "{what}: {text}");
    let violation = text.contains("breaks the NBD protocol");
    assert_eq!(
        violation,
        error.kind() == ErrorKind::Corrupt,
        "{what}: {text}"
    );
}

#[test]
fn a_server_that_follows_the_protocol_is_read() {
    let half = |at, done| say().data(done, at, 512).0;
    // Out of order, and a hole.
    let two = ready().text(&half(4608, false)).text(&half(4096, true));
    assert_eq!(read(two).unwrap(), [7; 1024]);
    let hole = ready()
        .chunk(false, 2, 1, &say().n64(4096).n32(1024))
        .chunk(true, 0, 1, &say());
    assert_eq!(read(hole).unwrap(), [0; 1024]);
    let simple = simple_ready()
        .n32(0x6744_6698)
        .n32(0)
        .n64(1)
        .text(&[5; 1024]);
    assert_eq!(read(simple).unwrap(), [5; 1024]);
    let blocks = ask(ready().chunk(true, 5, 1, &status(3, 4096))).unwrap();
    assert_eq!(blocks.end(), 4096 + 3 * 4096);
    let longer = ask(ready().chunk(true, 5, 1, &status(1, u32::MAX))).unwrap();
    assert_eq!(longer.end(), 4096 + (64 << 10));
}

#[test]
fn each_violation_while_negotiating_has_its_words() {
    let endless_info = (0..70).fold(context(), |say, _| say.reply(7, 3, &blocks(512, 512)));
    let endless_contexts = (0..70).fold(structured(), |say, _| say.reply(10, 4, &export(0)));
    let cases = [
        (
            "no server of NBD",
            say().text(b"SSH-2.0-OpenSSH_9.2p1 Debian"),
            "NBDMAGIC",
        ),
        (
            "old style",
            say().text(b"NBDMAGIC").n64(0x0000_4202_8186_1253).n16(0),
            "old style",
        ),
        (
            "not fixed",
            say().text(b"NBDMAGICIHAVEOPT").n16(0),
            "fixed newstyle",
        ),
        (
            "another magic",
            greeting().text(&[1; 20]),
            "the reply to an option begins",
        ),
        (
            "another option",
            greeting().reply(9, 1, &say()),
            "the reply is to option 9",
        ),
        (
            "another kind",
            greeting().reply(8, 77, &say()),
            "answered with reply 77",
        ),
        (
            "an ACK with data",
            greeting().reply(8, 1, &say().n32(1)),
            "answered with reply 1",
        ),
        (
            "an endless reply",
            greeting()
                .n64(0x0003_e889_0455_65a9)
                .n32(8)
                .n32(1)
                .n32(u32::MAX),
            "at most 4160",
        ),
        (
            "an early end",
            greeting().n64(0x0003_e889_0455_65a9),
            "has closed the connection",
        ),
        (
            "another context",
            structured().reply(10, 4, &say().n32(1).text(b"qemu:dirty")),
            "the reply is for \"qemu:dirty\"",
        ),
        (
            "a short context",
            structured().reply(10, 4, &say().n16(1)),
            "the reply is for \"\"",
        ),
        (
            "the context twice",
            structured()
                .reply(10, 4, &say().n32(1).text(b"base:allocation"))
                .reply(10, 4, &say().n32(2).text(b"base:allocation")),
            "given twice",
        ),
        ("endless contexts", endless_contexts, "the reply is for"),
        ("endless information", endless_info, "more than 64 replies"),
        (
            "no size",
            context().reply(7, 1, &say()),
            "the size was not told",
        ),
        (
            "short information",
            context().reply(7, 3, &say().n16(0).n32(1)),
            "INFO has 6 bytes",
        ),
        (
            "no flags",
            context()
                .reply(7, 3, &say().n16(0).n64(512).n16(0))
                .reply(7, 1, &say()),
            "lack bit 0",
        ),
        (
            "a block that is no power of two",
            context()
                .reply(7, 3, &export(512))
                .reply(7, 3, &blocks(3, 4096))
                .reply(7, 1, &say()),
            "a power of two",
        ),
        (
            "a request of nothing",
            context()
                .reply(7, 3, &export(512))
                .reply(7, 3, &blocks(512, 0))
                .reply(7, 1, &say()),
            "shorter than the smallest block",
        ),
        (
            "a tail that cannot be read",
            context()
                .reply(7, 3, &export(513))
                .reply(7, 3, &blocks(512, 4096))
                .reply(7, 1, &say()),
            "no multiple of its smallest block",
        ),
        (
            "TLS is required",
            context().reply(7, (1 << 31) + 5, &say().text(b"log\x1b[2Jin")),
            "the server requires TLS (\"log\\u{1b}[2Jin\")",
        ),
    ];
    for (what, say, words) in cases {
        check(what, begin(say), words);
    }
}

#[test]
fn each_violation_in_answers_to_reads_has_its_words() {
    let many = (0..600_u64).fold(ready(), |say, n| say.data(false, 4096 + n, 1));
    let endless = (0..1100).fold(ready(), |it, _| {
        it.chunk(false, 0x8001, 1, &say().n32(5).n16(0))
    });
    let cases = [
        (
            "another magic",
            ready().text(&[9; 64]),
            "a reply begins with 0x09090909",
        ),
        (
            "another cookie",
            ready().chunk(true, 0, 2, &say()),
            "the cookie 0x2",
        ),
        (
            "a simple reply",
            ready().n32(0x6744_6698).n32(0).n64(1),
            "answered with a simple reply",
        ),
        (
            "chunks unasked",
            simple_ready().data(true, 4096, 1024),
            "was not agreed on",
        ),
        (
            "nothing",
            ready().chunk(true, 0, 1, &say()),
            "ends without all of them",
        ),
        (
            "too little",
            ready().data(true, 4096, 1023),
            "ends without all of them",
        ),
        (
            "a gap",
            ready().data(false, 4096, 1).data(true, 4098, 1022),
            "without all of them",
        ),
        (
            "too much",
            ready().data(true, 4096, 1025),
            "1024 bytes at 0x1000 were asked for",
        ),
        (
            "before it",
            ready().data(true, 4095, 1),
            "a chunk has 1 bytes at 0xfff",
        ),
        (
            "behind it",
            ready().data(true, u64::MAX, 1),
            "a chunk has 1 bytes at 0xffff",
        ),
        (
            "twice",
            ready().data(false, 4096, 512).data(true, 4607, 512),
            "is empty or overlaps another one",
        ),
        (
            "a hole of nothing",
            ready().chunk(false, 2, 1, &say().n64(4096).n32(0)),
            "is empty or overlaps",
        ),
        (
            "no data",
            ready().head(true, 1, 1, 8),
            "type 0x0001 has 8 bytes",
        ),
        (
            "endless data",
            ready().head(true, 1, 1, u32::MAX).n64(4096),
            "has 4294967287 bytes",
        ),
        (
            "a long hole",
            ready().head(true, 2, 1, 13),
            "type 0x0002 has 13 bytes",
        ),
        (
            "an end with data",
            ready().head(true, 0, 1, 1),
            "type 0x0000 has 1 bytes",
        ),
        (
            "an end that is none",
            ready().head(false, 0, 1, 0),
            "type 0x0000 has 0 bytes",
        ),
        (
            "an endless error",
            ready().head(true, 0x8001, 1, 9999),
            "type 0x8001 has 9999",
        ),
        (
            "a message without end",
            ready().chunk(true, 0x8001, 1, &say().n32(5).n16(7)),
            "type 0x8001 has 6 bytes",
        ),
        (
            "error 0",
            ready().chunk(true, 0x8001, 1, &say().n32(0).n16(0)),
            "type 0x8001 has 6",
        ),
        (
            "the unknown",
            ready().head(true, 77, 1, 0),
            "the unknown type 0x004d",
        ),
        (
            "state of blocks",
            ready().chunk(true, 5, 1, &status(1, 512)),
            "the state of blocks",
        ),
        ("endless chunks", endless, "more than 1024 chunks"),
        ("an early end", many, "has closed the connection"),
        (
            "an error with a place",
            ready().chunk(
                true,
                0x8002,
                1,
                &say().n32(5).n16(4).text(b"torn").n64(4242),
            ),
            "offset 0x1092 with EIO (input/output error): \"torn\"",
        ),
    ];
    for (what, say, words) in cases {
        check(what, read(say), words);
    }
}

#[test]
fn each_violation_in_answers_about_allocation_has_its_words() {
    let cases = [
        (
            "another cookie",
            ready().chunk(true, 5, 2, &status(1, 512)),
            "the cookie 0x2",
        ),
        (
            "a simple reply",
            ready().n32(0x6744_6698).n32(0).n64(1),
            "has a simple reply",
        ),
        (
            "nothing",
            ready().chunk(true, 0, 1, &say()),
            "answered with nothing",
        ),
        (
            "another context",
            ready().chunk(true, 5, 1, &say().n32(8).n64(0)),
            "in context 8",
        ),
        (
            "no blocks",
            ready().head(true, 5, 1, 4).n32(9),
            "type 0x0005 has 4 bytes",
        ),
        (
            "half a block",
            ready().head(true, 5, 1, 16),
            "type 0x0005 has 16 bytes",
        ),
        (
            "endless blocks",
            ready().head(true, 5, 1, 4 + (8 << 21)),
            "at most 1048576",
        ),
        (
            "a block of nothing",
            ready().chunk(true, 5, 1, &status(1, 0)),
            "a block of 0 bytes",
        ),
        (
            "too many",
            ready().chunk(true, 5, 1, &status(2, 64 << 10)),
            "not asked for",
        ),
        (
            "two lists",
            ready()
                .chunk(false, 5, 1, &status(1, 512))
                .chunk(true, 5, 1, &status(1, 512)),
            "two lists of blocks",
        ),
        ("data", ready().data(true, 4096, 512), "answered with data"),
        (
            "two errors",
            ready().chunk(false, 0x8001, 1, &say().n32(5).n16(0)).chunk(
                true,
                0x8001,
                1,
                &say().n32(5).n16(0),
            ),
            "two errors",
        ),
    ];
    for (what, say, words) in cases {
        check(what, ask(say), words);
    }
}

/// An export as [`ready`], with the changes in the bitmap `b`.
fn with_changes() -> Say {
    structured()
        .reply(10, 4, &say().n32(9).text(b"base:allocation"))
        .reply(10, 4, &say().n32(3).text(b"qemu:dirty-bitmap:b"))
        .reply(10, 1, &say())
        .reply(7, 3, &export(1 << 20))
        .reply(7, 3, &blocks(512, 1 << 20))
        .reply(7, 1, &say())
}

fn begin_with_changes(say: Say) -> Result<Session<Script>, Trouble> {
    let script = Script(io::Cursor::new(say.0));
    Session::begin_plain(script, ("disk", Some("b")), Duration::from_secs(1))
}

#[test]
fn answers_about_two_contexts_are_told_apart() {
    let changed = |done| say().chunk(done, 5, 1, &say().n32(3).n32(512).n32(1)).0;
    let allocated = |done| say().chunk(done, 5, 1, &status(7, 512)).0;
    for (first, second) in [
        (changed(false), allocated(true)),
        (allocated(false), changed(true)),
    ] {
        let said = with_changes().text(&first).text(&second);
        let mut session = begin_with_changes(said.clone()).unwrap();
        assert!(session.export().changes);
        let changes = session.changes(4096, 64 << 10).unwrap();
        assert_eq!(changes.end(), 4096 + 512);
        let allocation = begin_with_changes(said).unwrap().status(4096, 64 << 10);
        assert_eq!(allocation.unwrap().end(), 4096 + 7 * 512);
    }
    let other = structured()
        .reply(10, 4, &say().n32(9).text(b"base:allocation"))
        .reply(10, 1, &say())
        .reply(9, 4, &say().n32(0).text(b"qemu:dirty-bitmap:c\n"))
        .reply(9, 1, &say())
        .reply(7, 3, &export(1 << 20))
        .reply(7, 1, &say());
    let session = begin_with_changes(other).unwrap();
    assert!(!session.export().changes);
    assert_eq!(session.export().other_bitmaps, ["c\\n"]);
}

#[test]
fn each_violation_about_changes_has_its_words() {
    let answer = |context: u32| {
        say()
            .chunk(false, 5, 1, &say().n32(context).n32(512).n32(1))
            .0
    };
    let ask = |say: Say| begin_with_changes(say)?.changes(4096, 64 << 10);
    let named = |name: &[u8], number: u32| {
        structured()
            .reply(10, 4, &say().n32(9).text(b"base:allocation"))
            .reply(10, 4, &say().n32(number).text(name))
            .reply(10, 1, &say())
    };
    let cases = [
        (
            "one number",
            named(b"qemu:dirty-bitmap:b", 9),
            "the same number",
        ),
        (
            "another bitmap",
            named(b"qemu:dirty-bitmap:c", 3),
            "the reply is for",
        ),
        (
            "the other context twice",
            with_changes().text(&answer(9)).text(&answer(9)),
            "in context 9",
        ),
        (
            "changes twice",
            with_changes().text(&answer(3)).text(&answer(3)),
            "two lists of blocks",
        ),
        (
            "nothing of changes",
            with_changes().text(&answer(9)).chunk(true, 0, 1, &say()),
            "answered with nothing",
        ),
        (
            "endless blocks of the other context",
            with_changes().head(true, 5, 1, 4 + (8 << 21)),
            "at most 1048576",
        ),
    ];
    for (what, say, words) in cases {
        check(what, ask(say), words);
    }
}

/// What a fuzzer begins with: conversations that go well.
fn seeds() -> [(&'static str, Say); 3] {
    let reads = ready()
        .data(false, 4096, 512)
        .chunk(true, 1, 2, &say().n64(5120).text(&[6; 1024]))
        .chunk(false, 2, 1, &say().n64(4608).n32(512))
        .chunk(true, 0, 1, &say())
        .chunk(true, 5, 3, &status(3, 4096));
    let refused = ready()
        .chunk(
            true,
            0x8002,
            1,
            &say().n32(5).n16(4).text(b"torn").n64(4242),
        )
        .chunk(true, 0x8001, 2, &say().n32(22).n16(0))
        .n32(0x6744_6698)
        .n32(5)
        .n64(3);
    let simple = [1, 2].into_iter().fold(simple_ready(), |say, cookie| {
        say.n32(0x6744_6698).n32(0).n64(cookie).text(&[5; 1024])
    });
    [("reads", reads), ("refused", refused), ("simple", simple)]
}

#[test]
fn seeds_of_the_fuzz_target_are_conversations() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/nbd");
    for (name, say) in seeds() {
        let path = dir.join(name);
        if std::env::var_os("UPDATE_SEEDS").is_some() {
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(&path, &say.0).unwrap();
        }
        assert!(
            std::fs::read(&path).unwrap() == say.0,
            "{name}: UPDATE_SEEDS=1 writes it"
        );
    }
}

#[test]
fn conversations_with_changed_bytes_end_with_the_bytes_or_an_error() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..20_000 {
        let (_, mut say) = seeds()[random.usize(..3)].clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..say.0.len());
            say.0[at] = [0, 1, 0x7f, 0x80, 0xff, random.u8(..)][random.usize(..6)];
        }
        let Ok(mut session) = begin(say) else {
            continue;
        };
        let mut bytes = [0xee; 2048];
        let mut at = 3072;
        let mut pieces: Vec<_> = bytes
            .chunks_mut(1024)
            .map(|buf| {
                at += 1024;
                Piece {
                    at,
                    buf,
                    done: false,
                }
            })
            .collect();
        let read = session.read(&mut pieces);
        assert_eq!(read.is_ok(), pieces.iter().all(|piece| piece.done));
        if let Ok(status) = session.status(4096, 64 << 10) {
            assert!(status.extent_at(4096, 1).is_some() && status.end() <= 4096 + (64 << 10));
        }
    }
}
