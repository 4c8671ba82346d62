//! Where clients connect: TCP, or a Unix socket that only its owner may use.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::limits::TICK;
use crate::uri::{Address, NbdUri};
use crate::wire::{Stop, Wire};

/// Where clients connect. A Unix socket is removed when this is dropped.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Listens at `address`; with port 0, at one that is free.
    ///
    /// # Errors
    /// Those of the system, such as `AddrInUse`.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self(Kind::Tcp(listener)))
    }

    /// Listens on a new socket at `path`, which only the owner of this process may use.
    ///
    /// # Errors
    /// `AlreadyExists` when something is there; those of the system.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        // Nobody else can enter this directory, so nobody connects before the mode is set.
        let hidden = tempfile::Builder::new().prefix(".nbd").tempdir_in(dir)?;
        let made = hidden.path().join("s");
        let listener = UnixListener::bind(&made)?;
        std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        renameat_with(CWD, &made, CWD, path, RenameFlags::NOREPLACE)?;
        Ok(Self(Kind::Unix(listener, path.to_owned())))
    }

    /// The URI under which clients reach the export `name`.
    ///
    /// # Errors
    /// When the system does not tell the address.
    pub fn uri(&self, name: &str) -> io::Result<NbdUri> {
        let address = match &self.0 {
            Kind::Tcp(listener) => {
                let address = listener.local_addr()?;
                Address::Tcp(address.ip().to_string(), address.port())
            }
            Kind::Unix(_, path) => {
                let path = std::path::absolute(path)?;
                Address::Unix(path.into_os_string().into_encoded_bytes())
            }
        };
        Ok(NbdUri {
            address,
            export: name.to_owned(),
            tls: false,
            tls_hostname: None,
        })
    }

    /// The next client; `None` when none came for a moment.
    pub(crate) fn accept(&self, time: Duration, stop: &Stop) -> io::Result<Option<Wire>> {
        let fd = match &self.0 {
            Kind::Tcp(listener) => listener.as_fd(),
            Kind::Unix(listener, _) => listener.as_fd(),
        };
        let tick = Timespec {
            tv_sec: 0,
            tv_nsec: TICK.subsec_nanos().into(),
        };
        match poll(
            &mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)],
            Some(&tick),
        ) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        let stop = Stop::clone(stop);
        let wire = match &self.0 {
            Kind::Tcp(listener) => listener
                .accept()
                .and_then(|(it, _)| Wire::tcp(it, time, stop)),
            Kind::Unix(listener, _) => listener
                .accept()
                .and_then(|(it, _)| Wire::unix(it, time, stop)),
        };
        match wire {
            Ok(wire) => Ok(Some(wire)),
            Err(error) if is_of_client(&error) => {
                std::thread::sleep(TICK);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether accepting failed because of the client, or for want of descriptors: later ones may do.
fn is_of_client(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let passing = [
        Errno::AGAIN,
        Errno::CONNABORTED,
        Errno::INTR,
        Errno::INVAL,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::PERM,
        Errno::PROTO,
    ];
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    errno.is_some_and(|errno| passing.contains(&errno))
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Kind::Unix(_, path) = &self.0 {
            let is_socket =
                std::fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket());
            if is_socket {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}
