//! Servers that let clients wait: nothing hangs.

use std::io::Write as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use diskimg::{Error, ErrorKind, FileOffset, ReadAt as _};
use nbd::{ClientOptions, NbdSource};
use testkit::measure::HANG;

use super::hostile::{ready, say};
use super::programs::{Served, chain, open};
use super::tls::certificates;

/// Short enough for a test, and for a machine that does much else.
const MOMENT: Duration = Duration::from_millis(400);

fn hasty() -> ClientOptions {
    ClientOptions {
        connect: MOMENT,
        answer: MOMENT,
        retries: 1,
        pause: Duration::ZERO,
        ..ClientOptions::default()
    }
}

/// A server that does `serve` with each connection, and its number. It ends with the process.
fn server(serve: impl Fn(UnixStream, usize) + Send + Sync + 'static) -> Served {
    let served = Served::new();
    let listener = UnixListener::bind(served.socket()).unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream, number));
        }
    });
    served
}

fn read(source: &NbdSource) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; 1024];
    source.read_exact_at(FileOffset(4096), &mut bytes)?;
    Ok(bytes)
}

#[test]
fn a_server_that_says_nothing_or_little_is_given_up() {
    // Told before a client asks, and then.
    let quiet: fn(UnixStream, usize) = |_stream, _| thread::sleep(HANG);
    let after_the_greeting: fn(UnixStream, usize) = |mut stream, _| {
        stream.write_all(&ready().0[..18]).unwrap();
        thread::sleep(HANG);
    };
    for serve in [quiet, after_the_greeting] {
        let error = open(&server(serve).uri(""), hasty()).err().unwrap();
        assert!(
            chain(&error).contains("does not answer in time"),
            "{}",
            chain(&error)
        );
        assert!(error.hint().is_some());
    }
    let quiet_later: fn(UnixStream, usize) = |mut stream, _| {
        stream.write_all(&ready().0).unwrap();
        thread::sleep(HANG);
    };
    let drop_by_drop: fn(UnixStream, usize) = |mut stream, _| {
        stream.write_all(&ready().0).unwrap();
        for byte in ready().data(true, 4096, 1024).0.split_off(ready().0.len()) {
            thread::sleep(Duration::from_millis(20));
            if stream.write_all(&[byte]).is_err() {
                break;
            }
        }
    };
    for serve in [quiet_later, drop_by_drop] {
        let served = server(serve);
        let source = open(&served.uri(""), hasty()).unwrap();
        let begun = Instant::now();
        let error = read(&source).unwrap_err();
        assert!(
            chain(&error).contains("does not answer in time"),
            "{}",
            chain(&error)
        );
        assert!(
            chain(&error).contains("gave up after 1 more tries"),
            "{}",
            chain(&error)
        );
        assert!(begun.elapsed() < HANG);
    }
}

#[test]
fn a_wait_ends_when_somebody_asks_to_stop() {
    let served = server(|mut stream, _| {
        stream.write_all(&ready().0).unwrap();
        thread::sleep(HANG * 2);
    });
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopped);
    let options = ClientOptions {
        stop: Arc::new(move || stop.load(Ordering::Acquire)),
        answer: HANG * 2,
        ..ClientOptions::default()
    };
    let source = open(&served.uri(""), options).unwrap();
    let reader = thread::spawn(move || read(&source).unwrap_err());
    stopped.store(true, Ordering::Release);
    assert_eq!(reader.join().unwrap().kind(), ErrorKind::Cancelled);
}

#[test]
fn a_connection_that_breaks_in_an_answer_is_made_again() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let served = server(move |mut stream, number| {
        count.fetch_add(1, Ordering::AcqRel);
        let all = ready().data(true, 4096, 1024).0;
        // The first ends in the middle of the data.
        let len = if number == 0 {
            all.len() - 500
        } else {
            all.len()
        };
        let _ = stream.write_all(&all[..len]);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        thread::sleep(MOMENT);
    });
    let source = open(&served.uri(""), hasty()).unwrap();
    assert_eq!(read(&source).unwrap(), [7; 1024]);
    assert_eq!(connections.load(Ordering::Acquire), 2);
}

#[test]
fn encryption_cannot_be_stripped_and_nothing_is_slipped_in_before_it() {
    let start = |kind: u32, data: &[u8]| {
        let len = data.len() as u32;
        let greeting = ready().0[..18].to_vec();
        [
            greeting.as_slice(),
            &0x0003_e889_0455_65a9_u64.to_be_bytes(),
            &5_u32.to_be_bytes(),
            &kind.to_be_bytes(),
            &len.to_be_bytes(),
            data,
        ]
        .concat()
    };
    // What a server without encryption would say, said after the promise of encryption.
    let slipped = [start(1, b""), ready().0.split_off(18)].concat();
    for (said, words) in [
        (
            start((1 << 31) + 1, b"no"),
            "refuses to encrypt the connection: not supported",
        ),
        (start(1, b"x"), "STARTTLS is answered with reply 1"),
        (slipped, "the encrypted connection failed"),
        (say().0, "has closed the connection"),
    ] {
        let served = server(move |mut stream, _| {
            let _ = stream.write_all(&said);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            thread::sleep(MOMENT);
        });
        let uri = served.uri("").replace("nbd+unix", "nbds+unix") + "&tls-hostname=localhost";
        let options = ClientOptions {
            tls_ca: Some(certificates(&served.dir.path().join("pki"), "localhost")),
            ..hasty()
        };
        let error = open(&uri, options).err().unwrap();
        assert!(chain(&error).contains(words), "{words}: {}", chain(&error));
    }
}
