//! `imgferry verify`: do two images hold the same disk?

use std::path::Path;

use ::convert::{CancelToken, default_threads};
use diskimg::OpenOptions;

use super::input::{self, Reading, is_standard_input};
use crate::args::VerifyArgs;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::progress::Progress;

pub(crate) fn run(args: &VerifyArgs, console: Console, cancel: &CancelToken) -> Outcome {
    let streams = [&args.a, &args.b].map(|path| is_standard_input(path));
    if streams == [true, true] {
        return Err(Failure::new(
            Exit::Refused,
            "standard input can be one of the images only",
        ));
    }
    if args.pipe.size.is_some() && streams == [false, false] {
        return Err(Failure::new(
            Exit::Refused,
            "--size is for a disk that comes through standard input (-)",
        )
        .hint("leave it out: a file tells its size"));
    }
    let open = |path: &Path, format, snapshot: &Option<String>| {
        let options = OpenOptions {
            snapshot: snapshot.clone(),
            ..args.backing.options(format)
        };
        let reading = Reading {
            size: args.pipe.size.filter(|_| is_standard_input(path)),
            threads: args.threads.threads,
            console,
            cancel,
        };
        input::open(path, &options, reading).map(|input| input.opened)
    };
    let a = open(&args.a, args.format_a, &args.snapshot_a)?;
    let b = open(&args.b, args.format_b, &args.snapshot_b)?;
    let size = a.image.virtual_size().max(b.image.virtual_size());
    let progress = Progress::new(console, "comparing", size, false);
    let threads = args.threads.threads.unwrap_or_else(default_threads);
    let found = ::convert::compare(
        a.image.as_ref(),
        b.image.as_ref(),
        threads,
        progress.as_ref(),
        cancel,
    )?;
    progress.finish();
    let (a, b) = (args.a.display(), args.b.display());
    if found.equal {
        return console.result(
            format_args!("same content: {}\n  {a}\n  {b}", found.digest_a),
            &found,
        );
    }
    let mut failure = Failure::new(Exit::Mismatch, format!("{a} and {b} differ"))
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
    Err(failure.data("comparison", &found))
}
