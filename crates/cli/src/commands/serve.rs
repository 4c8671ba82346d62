//! `imgferry serve`: a disk for NBD clients.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use ::convert::CancelToken;
use diskimg::Opened;
use diskimg::text::shown;
use diskimg::units::human;
use nbd::{Event, Listener, ServeOptions, Stop};
use obs::{Chunking, ObjectSource};
use serde_json::json;

use super::storage::{self, Objects};
use crate::args::{Place, ServeArgs};
use crate::console::Console;
use ::import::{Reading, Watch, open_input, warn_of_image};
use cloud::{Class, Failure, Result, StopToken};

pub(crate) async fn run(args: ServeArgs, console: Console, stop: &StopToken) -> Result {
    let args = Arc::new(args);
    let all = Arc::clone(&args);
    let chunks = NonZeroUsize::MIN.saturating_add(usize::from(args.clients));
    let serving = move |[object]: Objects<1>, cancel: &CancelToken| {
        let disk = open(&all, object, console, cancel)?;
        serve(&all, &disk, console, cancel)
    };
    storage::reading(
        &args.cloud,
        [&args.disk],
        Chunking::whole(chunks),
        stop,
        serving,
    )
    .await
}

/// The disk that is served.
struct Served {
    opened: Opened,
    name: PathBuf,
    watch: Watch,
}

fn open(
    args: &ServeArgs,
    object: Option<Arc<ObjectSource>>,
    console: Console,
    cancel: &CancelToken,
) -> Result<Served> {
    let options = args.source.options();
    let path = match (&args.disk, object) {
        (Place::File(path), _) => path,
        (Place::Object(url), None) => return Err(storage::not_opened(url)),
        (Place::Object(url), Some(object)) => {
            let name = PathBuf::from(url.to_string());
            let opened = storage::open_image(object, &options)?;
            warn_of_image(&opened, &name, &console, cancel)?;
            // Its ETag is compared with each read.
            let watch = Watch::default();
            return Ok(Served {
                opened,
                name,
                watch,
            });
        }
    };
    let disk = args.package.disk(path);
    let reading = Reading {
        size: None,
        threads: Some(usize::from(args.clients)),
        observer: &console,
        cancel,
        force_share: args.source.share.force_share,
        ignore_manifest: args.package.ignore_manifest,
    };
    let input = open_input(&disk, &options, reading)?;
    let name = disk.name();
    if input.opened.image.details().streamed {
        return Err(Failure::new(
            Class::Refused,
            format!(
                "{}: clients read anywhere, and this disk is read front to back",
                shown(&name)
            ),
        )
        .hint("unpack it, or save it to a file first"));
    }
    input.watch.verify()?;
    Ok(Served {
        opened: input.opened,
        name,
        watch: input.watch,
    })
}

fn serve(args: &ServeArgs, disk: &Served, console: Console, cancel: &CancelToken) -> Result {
    let listener = listen(args)?;
    announce(args, disk, &listener, console)?;
    let options = ServeOptions {
        name: args.export.clone(),
        clients: usize::from(args.clients),
        ..ServeOptions::default()
    };
    let stop: Stop = {
        let cancel = cancel.clone();
        Arc::new(move || cancel.is_cancelled())
    };
    let tell = |event| match event {
        Event::TooMany(clients) => console.warn(format_args!(
            "a client was refused: {clients} are connected already (--clients)"
        )),
        Event::Dropped(why) => console.warn(format_args!("a client was cut off: {why}")),
        Event::Unreadable(error) => {
            let failure = Failure::from(error);
            console.warn(format_args!("a client got an error: {}", failure.line()));
        }
    };
    nbd::serve(
        disk.opened.image.as_ref(),
        &listener,
        &options,
        &stop,
        &tell,
    )
    .map_err(|error| Failure::from_error(Class::Io, &error).context("serving failed"))?;
    drop(listener);
    disk.watch.unchanged()
}

fn listen(args: &ServeArgs) -> Result<Listener> {
    let (listener, place) = match &args.socket {
        Some(path) => (Listener::unix(path), shown(path).to_string()),
        None => (Listener::tcp(args.listen), args.listen.to_string()),
    };
    listener.map_err(|error| {
        let failure =
            Failure::from_error(Class::Io, &error).context(format!("{place}: cannot listen there"));
        match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                failure.hint("choose another address: --listen 127.0.0.1:0 takes a free port")
            }
            std::io::ErrorKind::AlreadyExists => {
                failure.hint("choose another name, or remove what is there")
            }
            _ => failure,
        }
    })
}

fn announce(args: &ServeArgs, disk: &Served, listener: &Listener, console: Console) -> Result {
    let uri = listener.uri(&args.export).map_err(|error| {
        Failure::from_error(Class::Io, &error).context("the address is unknown")
    })?;
    if args.socket.is_none() && !args.listen.ip().is_loopback() {
        console.warn(format_args!(
            "everybody who reaches {} can read the disk: there is no password and no encryption",
            args.listen
        ));
    }
    let size = disk.opened.image.virtual_size();
    console.result(
        format_args!(
            "{uri}\nserving {} ({}, {}), read-only; interrupt to stop",
            shown(&disk.name),
            disk.opened.format,
            human(size)
        ),
        &json!({
            "uri": uri.to_string(),
            "path": disk.name.display().to_string(),
            "format": disk.opened.format,
            "virtual_size": size,
        }),
    )
}
