//! The connections to an export: as many as the server allows, and new ones for broken ones.

use std::time::Duration;

use diskimg::{Error, ErrorKind, Result};
use parking_lot::{Condvar, Mutex};

use super::handshake::{Export, greet, start_tls};
use super::options::ClientOptions;
use super::session::Session;
use super::trouble::Trouble;
use crate::limits::{EXTRA_CONNECT, TICK};
use crate::tls::{Tls, Transport};
use crate::uri::NbdUri;
use crate::wire::{Wire, is_stopped};

type Connection = Session<Transport>;

/// The connections to one export.
pub(crate) struct Pool {
    uri: NbdUri,
    tls: Option<Tls>,
    options: ClientOptions,
    export: Export,
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    idle: Vec<Connection>,
    /// Idle ones and those in use.
    open: usize,
    /// Most that the server seems to take.
    most: usize,
}

impl Pool {
    /// Connects once, and learns what the export is.
    pub(crate) fn open(uri: NbdUri, options: ClientOptions) -> Result<Self> {
        let tls = match uri.tls {
            true => Some(Tls::new(&uri, options.tls_ca.as_deref())?),
            false => None,
        };
        let first = connect(&uri, tls.as_ref(), &options, options.connect)
            .map_err(|trouble| unreachable(trouble, &uri))?;
        let export = first.export().clone();
        let most = if export.multi_conn() {
            options.connections.max(1)
        } else {
            1
        };
        Ok(Self {
            uri,
            tls,
            options,
            export,
            state: Mutex::new(State {
                idle: vec![first],
                open: 1,
                most,
            }),
            freed: Condvar::new(),
        })
    }

    pub(crate) fn export(&self) -> &Export {
        &self.export
    }

    /// Most connections.
    pub(crate) fn connections(&self) -> usize {
        self.state.lock().most
    }

    /// Does `work` on a connection. What may pass is tried again, on a new connection where the old
    /// one broke; `progress` says how much is done, and tries count anew when that has grown.
    pub(crate) fn with<T>(
        &self,
        mut work: impl FnMut(&mut Connection) -> Result<T, (usize, Trouble)>,
    ) -> Result<T> {
        let (mut tries, mut done) = (0, 0);
        loop {
            let trouble = match self.once(&mut work) {
                Ok(value) => return Ok(value),
                Err((now, trouble)) => {
                    if now > done {
                        (tries, done) = (0, now);
                    }
                    trouble
                }
            };
            if !trouble.may_pass() {
                return Err(trouble.into_error());
            }
            if tries >= self.options.retries {
                return Err(gave_up(trouble, tries));
            }
            self.pause(tries)?;
            tries += 1;
        }
    }

    fn once<T>(
        &self,
        work: &mut impl FnMut(&mut Connection) -> Result<T, (usize, Trouble)>,
    ) -> Result<T, (usize, Trouble)> {
        let mut connection = self.take().map_err(|trouble| (0, trouble))?;
        let result = work(&mut connection);
        let keep = match &result {
            Ok(_) => true,
            Err((_, trouble)) => trouble.leaves_connection(),
        };
        let mut state = self.state.lock();
        match keep {
            true => state.idle.push(connection),
            false => {
                // What broke one has probably broken all that are idle.
                state.open -= state.idle.len() + 1;
                state.idle.clear();
            }
        }
        drop(state);
        self.freed.notify_one();
        result
    }

    /// An idle connection, a new one, or the next one that is given back.
    fn take(&self) -> Result<Connection, Trouble> {
        let mut state = self.state.lock();
        loop {
            if let Some(connection) = state.idle.pop() {
                return Ok(connection);
            }
            if state.open < state.most {
                let others = state.open;
                state.open += 1;
                drop(state);
                let connected = self.connect_again(others);
                state = self.state.lock();
                match connected {
                    Ok(connection) => return Ok(connection),
                    Err(trouble) => {
                        state.open -= 1;
                        // A server may promise more than it takes.
                        if state.open == 0 || !matches!(trouble, Trouble::Broken(_)) {
                            return Err(trouble);
                        }
                        state.most = state.open;
                        continue;
                    }
                }
            }
            self.freed.wait_for(&mut state, TICK);
            if (self.options.stop)() {
                return Err(Trouble::from(crate::wire::stopped()));
            }
        }
    }

    fn connect_again(&self, others: usize) -> Result<Connection, Trouble> {
        let time = match others {
            0 => self.options.connect,
            _ => self.options.connect.min(EXTRA_CONNECT),
        };
        let connection = connect(&self.uri, self.tls.as_ref(), &self.options, time)?;
        let now = connection.export();
        if *now == self.export {
            return Ok(connection);
        }
        Err(Trouble::Final(Error::new(
            ErrorKind::Corrupt,
            format!(
                "the export was another one when the connection was made again: it had {} bytes \
                 and flags {:#06x}, now it has {} bytes and flags {:#06x}",
                self.export.size, self.export.flags, now.size, now.flags
            ),
        )))
    }

    /// Waits before try `tries` + 1: not at all at first, then twice as long each time.
    fn pause(&self, tries: u32) -> Result<()> {
        let Some(doublings) = tries.checked_sub(1) else {
            return Ok(());
        };
        let mut left = self.options.pause.saturating_mul(1 << doublings.min(16));
        while !left.is_zero() {
            if (self.options.stop)() {
                return Err(Error::new(ErrorKind::Cancelled, "stopped"));
            }
            let some = left.min(TICK);
            std::thread::sleep(some);
            left -= some;
        }
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for connection in &mut self.state.get_mut().idle {
            connection.leave();
        }
    }
}

fn connect(
    uri: &NbdUri,
    tls: Option<&Tls>,
    options: &ClientOptions,
    time: Duration,
) -> Result<Connection, Trouble> {
    let mut wire = Wire::connect(&uri.address, time, &options.stop)
        .map_err(|error| cannot_connect(error, uri))?;
    greet(&mut wire)?;
    let transport = match tls {
        Some(tls) => {
            start_tls(&mut wire)?;
            tls.over(wire)?
        }
        None => Transport::Plain(wire),
    };
    Session::begin(
        transport,
        (&uri.export, options.bitmap.as_deref()),
        options.answer,
    )
}

fn cannot_connect(error: std::io::Error, uri: &NbdUri) -> Trouble {
    use std::io::ErrorKind::{ConnectionRefused, NotFound};
    if is_stopped(&error) {
        return Trouble::from(error);
    }
    let hint = match error.kind() {
        ConnectionRefused => "start the server, or correct the address: nobody listens there",
        NotFound => "start the server, or correct the path: there is no such socket",
        _ => "check whether the server runs, and listens there",
    };
    Trouble::Broken(Error::io(format!("no connection to {}", uri.address), error).with_hint(hint))
}

/// The first connection failed.
fn unreachable(trouble: Trouble, uri: &NbdUri) -> Error {
    let slow = matches!(&trouble, Trouble::Broken(error) if error.hint().is_none());
    let error = trouble.into_error();
    match (slow, uri.tls) {
        (true, _) => error.with_hint(
            "check whether the server speaks NBD there, and whether another client has its only \
             connection",
        ),
        (false, _) => error,
    }
}

fn gave_up(trouble: Trouble, tries: u32) -> Error {
    let error = trouble.into_error();
    let hint = error.hint().cloned();
    let failed =
        Error::new(ErrorKind::Io, format!("gave up after {tries} more tries")).caused_by(error);
    match hint {
        Some(hint) => failed.with_hint(hint),
        None => failed,
    }
}
