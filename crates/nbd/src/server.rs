//! Serves a disk to NBD clients, read-only.

mod event;
mod listener;
mod options;
mod requests;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use diskimg::DiskImage;

pub use self::event::Event;
pub use self::listener::Listener;
use self::requests::Disk;
use crate::limits::{STOP_GRACE, TICK};
use crate::wire::{Stop, Stream as _, Wire};

/// How a disk is served.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The export's name; the default export, whose name is empty, is the same disk.
    pub name: String,
    /// Most clients at a time.
    pub clients: usize,
    /// How long a client may take to say what it wants.
    pub handshake: Duration,
    /// How long a client may take to send a request that it has begun, or to receive an answer.
    pub stall: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            name: String::new(),
            clients: 16,
            handshake: Duration::from_secs(30),
            stall: Duration::from_secs(60),
        }
    }
}

/// Serves `image` to whoever connects to `listener`, until `stop` says so. Requests that are being
/// answered then are answered, if the
/// clients are there to receive the answers.
///
/// # Errors
/// When the listener fails.
pub fn serve(
    image: &dyn DiskImage,
    listener: &Listener,
    options: &ServeOptions,
    stop: &Stop,
    tell: &(dyn Fn(Event) + Sync),
) -> io::Result<()> {
    let disk = Disk::new(image, tell);
    let clients = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        while !stop() {
            let Some(wire) = listener.accept(options.handshake, stop)? else {
                continue;
            };
            if clients.load(Ordering::Acquire) >= options.clients {
                tell(Event::TooMany(options.clients));
                continue;
            }
            clients.fetch_add(1, Ordering::AcqRel);
            let (disk, clients) = (&disk, &clients);
            let client = move || {
                if let Err(error) = attend(wire, disk, options, stop)
                    && !crate::wire::is_stopped(&error)
                {
                    tell(Event::Dropped(error.to_string()));
                }
                clients.fetch_sub(1, Ordering::AcqRel);
            };
            if let Err(error) = std::thread::Builder::new().spawn_scoped(scope, client) {
                clients.fetch_sub(1, Ordering::AcqRel);
                tell(Event::Dropped(format!(
                    "no thread for another client: {error}"
                )));
                std::thread::sleep(TICK);
            }
        }
        Ok(())
    })
}

/// One client, from its greeting to its farewell.
fn attend(mut wire: Wire, disk: &Disk<'_>, options: &ServeOptions, stop: &Stop) -> io::Result<()> {
    wire.allow(options.handshake);
    match options::negotiate(&mut wire, disk.size(), &options.name)? {
        Some(agreed) => {
            wire.heed(late(stop));
            disk.answer(&mut wire, agreed, options.stall, stop)
        }
        None => Ok(()),
    }
}

/// `stop`, so much later that what is being sent is sent.
fn late(stop: &Stop) -> Stop {
    let (stop, since) = (Stop::clone(stop), OnceLock::new());
    Arc::new(move || stop() && since.get_or_init(Instant::now).elapsed() > STOP_GRACE)
}
