//! Our server and our client.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use diskimg::{
    Details, DiskImage, Error, ErrorKind, Extent, ExtentKind, FileOffset, Format, GuestOffset,
    ReadAt as _,
};
use nbd::{NbdSource, ServeOptions};
use testkit::conformance;
use testkit::measure::HANG;

use super::programs::{chain, content, disk, options, serving};

/// A disk whose second half cannot be read.
struct Half;

impl DiskImage for Half {
    fn virtual_size(&self) -> u64 {
        4 << 20
    }

    fn extent_at(&self, at: GuestOffset, limit: u64) -> diskimg::Result<Extent> {
        Ok(Extent {
            start: at,
            len: limit.min(self.virtual_size() - at.0),
            kind: ExtentKind::Data,
        })
    }

    fn read_at(&self, at: GuestOffset, buf: &mut [u8]) -> diskimg::Result<()> {
        buf.fill(1);
        match at.0 + buf.len() as u64 > 2 << 20 {
            true => Err(Error::new(ErrorKind::Io, "worn out")),
            false => Ok(()),
        }
    }

    fn details(&self) -> Details {
        Details::new(Format::Raw)
    }
}

fn raw(dir: &Path) -> Box<dyn DiskImage> {
    let path = dir.join("disk.raw");
    content().write_sparse(&path).unwrap();
    let source = Arc::new(diskimg::FileSource::open(&path).unwrap());
    Box::new(diskimg::RawImage::open(source).unwrap())
}

#[test]
fn what_is_served_reads_as_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let image = raw(dir.path());
    let socket = dir.path().join("sock");
    serving(image.as_ref(), &socket, &ServeOptions::default(), |uri| {
        let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let source = NbdSource::open(uri.clone(), options()).unwrap();
        assert_eq!((source.tells_holes(), source.connections()), (true, 4));
        conformance(disk(source).as_ref(), &content().bytes);
    });
    let error = nbd::Listener::unix(&dir.path().join("disk.raw")).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
}

#[test]
fn a_disk_that_cannot_be_read_is_an_error_for_the_client_and_the_connection_lives() {
    let dir = tempfile::tempdir().unwrap();
    serving(
        &Half,
        &dir.path().join("sock"),
        &ServeOptions::default(),
        |uri| {
            let source = NbdSource::open(uri.clone(), options()).unwrap();
            let error = source
                .read_exact_at(FileOffset(3 << 20), &mut [0; 512])
                .unwrap_err();
            assert!(chain(&error).contains("EIO"), "{}", chain(&error));
            let mut bytes = [0; 512];
            source.read_exact_at(FileOffset(0), &mut bytes).unwrap();
            assert_eq!(bytes, [1; 512]);
        },
    );
}

#[test]
fn clients_beyond_the_limit_are_refused_and_a_place_is_given_again() {
    let dir = tempfile::tempdir().unwrap();
    let image = raw(dir.path());
    let limits = ServeOptions {
        clients: 2,
        ..ServeOptions::default()
    };
    serving(image.as_ref(), &dir.path().join("sock"), &limits, |uri| {
        let source = NbdSource::open(uri.clone(), options()).unwrap();
        // Four connections are tried, two are given, and all is read.
        conformance(disk(source).as_ref(), &content().bytes);
        let begun = Instant::now();
        while NbdSource::open(uri.clone(), options()).is_err() {
            assert!(begun.elapsed() < HANG, "no place is given again");
        }
    });
}

/// What our server answers to `bytes`, until it hangs up.
fn answer(socket: &Path, bytes: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    // The server may hang up before all is sent.
    let _ = stream.write_all(bytes);
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => all,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => all,
        Err(error) => panic!("the server does not hang up: {error}"),
    }
}

fn option(number: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"IHAVEOPT".to_vec();
    bytes.extend(number.to_be_bytes());
    bytes.extend((data.len() as u32).to_be_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn clients_that_break_the_protocol_are_cut_off_and_the_server_goes_on() {
    let flags = 3_u32.to_be_bytes().to_vec();
    let go = option(7, &[0; 6]);
    let mut endless = flags.clone();
    for _ in 0..70 {
        endless.extend(option(99, b""));
    }
    let with = |rest: &[u8]| [flags.as_slice(), rest].concat();
    let long = [b"IHAVEOPT".as_slice(), &99_u32.to_be_bytes(), &[0xff; 4]].concat();
    let mut write = 0x2560_9513_u32.to_be_bytes().to_vec();
    write.extend([0, 0, 0, 1]);
    write.extend([0; 16]);
    write.extend([0xff; 4]);
    let cases = [
        ("unknown flags", vec![0xff; 4]),
        ("no option", with(&[b'x'; 16])),
        ("an option without end", with(&long)),
        ("options without end", endless),
        ("an export that is not there", with(&option(1, b"other"))),
        ("no request", with(&[go.clone(), vec![b'x'; 28]].concat())),
        ("an endless write", with(&[go, write].concat())),
    ];
    let dir = tempfile::tempdir().unwrap();
    let image = raw(dir.path());
    let socket = dir.path().join("sock");
    serving(image.as_ref(), &socket, &ServeOptions::default(), |uri| {
        for (what, bytes) in &cases {
            let answer = answer(&socket, bytes);
            assert!(answer.starts_with(b"NBDMAGICIHAVEOPT"), "{what}");
        }
        let source = NbdSource::open(uri.clone(), options()).unwrap();
        source.read_exact_at(FileOffset(0), &mut [0; 512]).unwrap();
    });
}

#[test]
fn a_client_that_says_nothing_is_cut_off_and_the_socket_goes_with_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let image = raw(dir.path());
    let socket = dir.path().join("sock");
    let hasty = ServeOptions {
        handshake: Duration::from_millis(200),
        ..ServeOptions::default()
    };
    serving(image.as_ref(), &socket, &hasty, |_| {
        assert_eq!(answer(&socket, b"").len(), 18, "the greeting, and no more");
    });
    assert!(!socket.exists());
}
