//! `imgferry`: moves virtual machine disks into Huawei-style clouds.
//!
//! Arguments ([`args`]) become options of the libraries, commands print through one [`console`], and
//! a failure becomes text, JSON and an exit code in one place ([`exit`], [`hints`]).

mod args;
mod commands;
mod console;
mod exit;
mod hints;
mod progress;
mod signals;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use args::{Cli, Command};
use cloud::{Class, Failure, Result};
use console::Console;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return wrong_usage(&error),
    };
    let console = Console::new(cli.json, cli.quiet);
    log_to_stderr(cli.verbose);
    match run(cli.command, console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console.failure(&failure);
            exit::of(&failure)
        }
    }
}

/// Help and version are answers; anything else is a failure, also in JSON when that was asked for.
fn wrong_usage(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().any(|argument| argument == "--json");
    let text = error.to_string();
    let safe = console::for_terminal(&text);
    // Nobody is left to be told when the stream is closed.
    let _ = match safe == text {
        // With colors.
        true => error.print(),
        false => write!(std::io::stderr().lock(), "{safe}"),
    };
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let failure = Failure::new(Class::Refused, error.to_string().trim_end());
    Console::new(wants_json, true).failure_data(&failure);
    exit::of(&failure)
}

/// Bytes of a thread's stack; only what is used of it is memory.
const STACK: usize = 8 << 20;

/// How long threads may take to end when the command has.
const LEAVING: Duration = Duration::from_secs(2);

fn run(command: Command, console: Console) -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // As much as the main thread has: imports of a batch run on these.
        .thread_stack_size(STACK)
        .build()
        .map_err(|e| Failure::from_error(Class::Io, &e).context("the runtime cannot start"))?;
    let ended = runtime.block_on(async {
        let stop = signals::listen(console)
            .map_err(|e| Failure::from_error(Class::Io, &e).context("signals cannot be handled"))?;
        match command {
            Command::Inspect(args) => commands::inspect::run(*args, console, &stop).await,
            Command::Import(args) => commands::import::run(&args, console, &stop).await,
            Command::Batch(args) => commands::batch::run(&args, console, &stop).await,
            Command::Export(args) => commands::export::run(&args, console, &stop).await,
            Command::Upload(args) => commands::upload::run(&args, console, &stop).await,
            Command::Verify(args) => commands::verify::run(*args, console, &stop).await,
            Command::Uploads(args) => commands::uploads::run(&args, console, &stop).await,
            Command::Image(args) => commands::image::run(&args, console, &stop).await,
            Command::Job(args) => commands::job::run(&args, console, &stop).await,
            Command::Quota(args) => commands::lists::quota(&args, console, &stop).await,
            Command::OsVersions(args) => commands::lists::os_versions(&args, console, &stop).await,
            Command::Config(args) => commands::config::run(&args, console, &stop).await,
            Command::Sandbox(args) => commands::sandbox::run(&args, console, &stop).await,
            Command::Serve(args) => commands::serve::run(*args, console, &stop).await,
            Command::Bench(args) => commands::bench::run(&args, console, &stop).await,
            // The rest is synchronous; it runs beside the signal handler.
            command => tokio::task::spawn_blocking(move || match command {
                Command::Bitmap(args) => commands::bitmap::run(&args, console, stop.token()),
                Command::Convert(args) => commands::convert::run(&args, console, stop.token()),
                Command::Digest(args) => commands::digest::run(&args, console, stop.token()),
                Command::Status(args) => commands::status::run(&args, console),
                _ => Ok(()),
            })
            .await
            .map_err(|e| Failure::from_error(Class::Io, &e).context("the command crashed"))?,
        }
    });
    // A thread that waits for a pipe to which nobody writes cannot be woken.
    runtime.shutdown_timeout(LEAVING);
    ended
}

/// Only this project's crates log: libraries below print whole requests at their deepest levels.
fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter = [
        "imgferry", "cloud", "convert", "net", "obs", "ims", "sandbox",
    ]
    .map(|name| format!("{name}={level}"))
    .join(",");
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(verbose > 1)
        .compact()
        .init();
}
