//! Sockets on which nothing waits for ever: every wait ends with bytes, at a deadline, or when
//! somebody asks to stop.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::limits::TICK;
use crate::uri::Address;

/// Whether to stop.
pub type Stop = Arc<dyn Fn() -> bool + Send + Sync>;

/// A stream to the other side.
pub trait Stream: Read + Write {
    /// From now on, reads and writes fail once `time` has passed.
    fn allow(&mut self, time: Duration) {
        let _ = time;
    }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket with a deadline.
pub(crate) struct Wire {
    socket: Socket,
    deadline: Instant,
    stop: Stop,
}

/// That somebody asked to stop, as the cause of an I/O error.
#[derive(Debug)]
struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stopped")
    }
}

impl std::error::Error for Stopped {}

/// Whether `error` says that somebody asked to stop.
pub(crate) fn is_stopped(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|cause| cause.is::<Stopped>())
}

pub(crate) fn stopped() -> io::Error {
    io::Error::other(Stopped)
}

impl Wire {
    /// Connects to `address` within `time`.
    pub(crate) fn connect(address: &Address, time: Duration, stop: &Stop) -> io::Result<Self> {
        let deadline = Instant::now() + time;
        let socket = match address {
            Address::Tcp(host, port) => Socket::Tcp(connect_tcp(host, *port, deadline, stop)?),
            Address::Unix(path) => Socket::Unix(connect_unix(path, deadline, stop)?),
        };
        Self::new(socket, time, Arc::clone(stop))
    }

    /// Of a client that has connected.
    pub(crate) fn tcp(stream: TcpStream, time: Duration, stop: Stop) -> io::Result<Self> {
        Self::new(Socket::Tcp(stream), time, stop)
    }

    /// Of a client that has connected.
    pub(crate) fn unix(stream: UnixStream, time: Duration, stop: Stop) -> io::Result<Self> {
        Self::new(Socket::Unix(stream), time, stop)
    }

    fn new(socket: Socket, time: Duration, stop: Stop) -> io::Result<Self> {
        match &socket {
            Socket::Tcp(tcp) => {
                tcp.set_nonblocking(false)?;
                tcp.set_nodelay(true)?;
                tcp.set_read_timeout(Some(TICK))?;
                tcp.set_write_timeout(Some(TICK))?;
            }
            Socket::Unix(unix) => {
                unix.set_nonblocking(false)?;
                unix.set_read_timeout(Some(TICK))?;
                unix.set_write_timeout(Some(TICK))?;
            }
        }
        Ok(Self {
            socket,
            deadline: Instant::now() + time,
            stop,
        })
    }

    /// From now on, waits end when `stop` says so.
    pub(crate) fn heed(&mut self, stop: Stop) {
        self.stop = stop;
    }

    fn patiently<T>(&mut self, mut go: impl FnMut(&mut Socket) -> io::Result<T>) -> io::Result<T> {
        use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
        loop {
            if (self.stop)() {
                return Err(stopped());
            }
            if Instant::now() >= self.deadline {
                return Err(io::Error::new(TimedOut, "the other side takes too long"));
            }
            match go(&mut self.socket) {
                Err(e) if matches!(e.kind(), WouldBlock | TimedOut | Interrupted) => {}
                other => return other,
            }
        }
    }
}

impl Stream for Wire {
    fn allow(&mut self, time: Duration) {
        self.deadline = Instant::now() + time;
    }
}

impl Read for Wire {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.patiently(|socket| match socket {
            Socket::Tcp(tcp) => tcp.read(buf),
            Socket::Unix(unix) => unix.read(buf),
        })
    }
}

impl Write for Wire {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.patiently(|socket| match socket {
            Socket::Tcp(tcp) => tcp.write(buf),
            Socket::Unix(unix) => unix.write(buf),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tries every address of the host, a second of the time at least for each.
fn connect_tcp(host: &str, port: u16, deadline: Instant, stop: &Stop) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        if stop() {
            return Err(stopped());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match TcpStream::connect_timeout(&address, left.max(Duration::from_secs(1))) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// A connection to a socket whose queue is full would wait without end; it is tried again instead.
fn connect_unix(path: &[u8], deadline: Instant, stop: &Stop) -> io::Result<UnixStream> {
    let address = match path.strip_prefix(b"\0") {
        Some(name) => SocketAddrUnix::new_abstract_name(name)?,
        None => SocketAddrUnix::new(OsStr::from_bytes(path))?,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    loop {
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(UnixStream::from(socket)),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        if stop() {
            return Err(stopped());
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(TICK);
    }
}
