//! `imgferry verify`: do two images hold the same disk?

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use ::convert::{CancelToken, Comparison, default_threads};
use diskimg::{DiskImage, Format, OpenOptions};
use freespace::Discarded;
use obs::{Chunking, ObjectSource};

use super::storage::{self, Objects};
use crate::args::{Place, VerifyArgs};
use crate::console::Console;
use crate::progress::Progress;
use ::import::{
    Reading, SourceDisk, Watch, is_standard_input, open_input, stopping, warn_of_image,
    warn_of_more, without_free,
};
use cloud::{Class, Failure, Result, StopToken};

/// Chunks of an object that are kept in memory beyond one for each thread: tables, and what lies in
/// two chunks.
const MORE_CHUNKS: usize = 4;

pub(crate) async fn run(args: VerifyArgs, console: Console, stop: &StopToken) -> Result {
    refuse_streams(&args)?;
    let threads = args.threads.threads.unwrap_or_else(default_threads);
    let chunks = NonZeroUsize::MIN.saturating_add(threads.saturating_add(MORE_CHUNKS));
    let args = Arc::new(args);
    let all = Arc::clone(&args);
    let compared = move |[a, b]: Objects<2>, cancel: &CancelToken| {
        compare(&all, (a, b), threads, console, cancel)
    };
    let chunking = Chunking::whole(chunks);
    let found = storage::reading(&args.cloud, [&args.a, &args.b], chunking, stop, compared).await?;
    tell(&found, &args.a.to_string(), &args.b.to_string(), console)
}

/// Standard input can be read once, and only by what reads it.
fn refuse_streams(args: &VerifyArgs) -> Result {
    let streams = [&args.a, &args.b]
        .map(|place| matches!(place, Place::File(path) if is_standard_input(path)));
    if streams == [true, true] {
        return Err(Failure::new(
            Class::Refused,
            "standard input can be one of the images only",
        ));
    }
    if args.pipe.size.is_some() && streams == [false, false] {
        return Err(Failure::new(
            Class::Refused,
            "--size is for a disk that comes through standard input (-)",
        )
        .hint("leave it out: a file tells its size"));
    }
    Ok(())
}

/// Opens the image at `place`, which is `object` if it is one.
fn open(
    args: &VerifyArgs,
    (place, object): (&Place, Option<Arc<ObjectSource>>),
    choice: Choice<'_>,
    console: Console,
    cancel: &CancelToken,
) -> Result<Side> {
    let options = OpenOptions {
        snapshot: choice.snapshot.map(str::to_owned),
        ignore_vhd_bitmaps: args.vhd.ignores_bitmaps(),
        ..args.backing.options(choice.format)
    };
    let path = match (place, object) {
        (Place::File(path), _) => path,
        (Place::Object(url), None) => return Err(storage::not_opened(url)),
        (Place::Object(url), Some(object)) => {
            let name = PathBuf::from(url.to_string());
            let opened = storage::open_image(object, &stopping(&options, cancel))?;
            let told = warn_of_image(&opened, &name, &console, cancel)?;
            return Ok(Side {
                image: opened.image,
                name,
                told,
                // Its ETag is compared with each read.
                watch: Watch::default(),
            });
        }
    };
    let reading = Reading {
        size: args.pipe.size.filter(|_| is_standard_input(path)),
        threads: args.threads.threads,
        observer: &console,
        cancel,
        force_share: args.share.force_share,
        ignore_manifest: args.ignore_manifest,
    };
    let disk = SourceDisk {
        tls_ca: args.server.tls_ca.clone(),
        ..SourceDisk::in_package(path, choice.disk.map(str::to_owned))
    };
    let input = open_input(&disk, &options, reading)?;
    input.watch.verify()?;
    Ok(Side {
        image: input.opened.image,
        name: disk.name(),
        told: input.warnings,
        watch: input.watch,
    })
}

/// What of a file is compared, as the user says.
#[derive(Clone, Copy)]
struct Choice<'a> {
    format: Option<Format>,
    snapshot: Option<&'a str>,
    disk: Option<&'a str>,
}

/// One of the images.
struct Side {
    image: Box<dyn DiskImage>,
    name: PathBuf,
    /// What the user was told of it.
    told: Vec<String>,
    watch: Watch,
}

fn compare(
    args: &VerifyArgs,
    (a, b): (Option<Arc<ObjectSource>>, Option<Arc<ObjectSource>>),
    threads: usize,
    console: Console,
    cancel: &CancelToken,
) -> Result<Comparison> {
    let of_a = Choice {
        format: args.format_a,
        snapshot: args.snapshot_a.as_deref(),
        disk: args.disk_a.as_deref(),
    };
    let of_b = Choice {
        format: args.format_b,
        snapshot: args.snapshot_b.as_deref(),
        disk: args.disk_b.as_deref(),
    };
    let mut a = open(args, (&args.a, a), of_a, console, cancel)?;
    let mut b = open(args, (&args.b, b), of_b, console, cancel)?;
    let wanted = args.free.options();
    let (image, free) = without_free(a.image, &a.name, wanted, &console, cancel)?;
    a.image = image;
    if let Some(free) = free {
        b.image = Box::new(Discarded::new(b.image, free.map));
    }
    let size = a.image.virtual_size().max(b.image.virtual_size());
    let progress = Progress::new(console, "comparing", size, false);
    let found = ::convert::compare(
        a.image.as_ref(),
        b.image.as_ref(),
        threads,
        progress.as_ref(),
        cancel,
    );
    progress.finish();
    for side in [&a, &b] {
        warn_of_more(side.image.as_ref(), &side.name, &side.told, &console);
    }
    let found = found.map_err(|error| Watch::cause_of(&[&a.watch, &b.watch], error))?;
    a.watch.unchanged()?;
    b.watch.unchanged()?;
    Ok(found)
}

fn tell(found: &Comparison, a: &str, b: &str, console: Console) -> Result {
    if found.equal {
        return console.result(
            format_args!("same content: {}\n  {a}\n  {b}", found.digest_a),
            found,
        );
    }
    let mut failure = Failure::new(Class::Mismatch, format!("{a} and {b} differ"))
        .note(format!("{} {a}", found.digest_a))
        .note(format!("{} {b}", found.digest_b));
    if found.size_a != found.size_b {
        failure = failure.note(format!(
            "virtual sizes are {} and {} bytes",
            found.size_a, found.size_b
        ));
    }
    if let Some(first) = &found.first_difference {
        failure = failure.note(format!(
            "the first differing block is {}, the first differing byte is at guest offset {:#x}",
            first.block, first.offset
        ));
    }
    Err(failure.data("comparison", found))
}
