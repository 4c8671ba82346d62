//! `imgferry digest`: one number for what the guest would see.

use ::convert::{CancelToken, default_threads};
use diskimg::text::shown;
use serde_json::json;

use crate::args::DigestArgs;
use crate::console::Console;
use crate::progress::Progress;
use ::import::{Input, Reading, open_input, public_name, warn_of_more};
use cloud::Result;

pub(crate) fn run(args: &DigestArgs, console: Console, cancel: &CancelToken) -> Result {
    let reading = Reading {
        size: args.pipe.size,
        threads: args.threads.threads,
        observer: &console,
        cancel,
        force_share: args.source.share.force_share,
        ignore_manifest: args.package.ignore_manifest,
    };
    let disk = args.package.disk(&args.image);
    let Input {
        opened,
        warnings,
        watch,
        ..
    } = open_input(&disk, &args.source.options(), reading)?;
    watch.verify()?;
    let image = opened.image.as_ref();
    let progress = Progress::new(console, "reading", image.virtual_size(), false);
    let threads = args.threads.threads.unwrap_or_else(default_threads);
    let digest = ::convert::digest(image, threads, progress.as_ref(), cancel);
    let digest = digest.map_err(|error| watch.cause(error))?;
    progress.finish();
    warn_of_more(image, &disk.name(), &warnings, &console);
    watch.unchanged()?;
    console.result(
        format_args!("{digest}  {}", shown(&disk.name())),
        &json!({
            "path": public_name(&args.image).display().to_string(),
            "disk": disk.member,
            "format": opened.format,
            "virtual_size": image.virtual_size(),
            "digest": digest,
        }),
    )
}
