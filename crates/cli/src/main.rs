//! `imgferry`: moves virtual machine disks into Huawei-style clouds.
//!
//! Arguments ([`args`]) are resolved into plain data ([`settings`]), commands run on it and print
//! through one [`console`]; errors become an exit code by cause in one place ([`exit`]).

mod args;
mod commands;
mod console;
mod exit;
mod interrupt;
mod progress;
mod settings;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use args::{Cli, Command};
use console::Console;
use exit::{Exit, Failure, Outcome};
use interrupt::Interrupt;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let console = Console::new(cli.json, cli.quiet);
    log_to_stderr(cli.verbose, cli.quiet);
    match run(cli.command, console) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console.failure(&failure);
            failure.exit().into()
        }
    }
}

fn run(command: Command, console: Console) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::from_error(Exit::Io, &e).context("the runtime cannot start"))?;
    runtime.block_on(async {
        let interrupt = Interrupt::listen(console)
            .map_err(|e| Failure::from_error(Exit::Io, &e).context("signals cannot be handled"))?;
        match command {
            Command::Import(args) => commands::import::run(&args, console, &interrupt).await,
            Command::Sandbox(args) => commands::sandbox::run(&args, console, &interrupt).await,
            // The rest is synchronous; it runs beside the signal handler.
            command => tokio::task::spawn_blocking(move || match command {
                Command::Inspect(args) => commands::inspect::run(&args, console),
                Command::Convert(args) => commands::convert::run(&args, console, interrupt.token()),
                Command::Digest(args) => commands::digest::run(&args, console, interrupt.token()),
                Command::Verify(args) => commands::verify::run(&args, console, interrupt.token()),
                Command::Import(_) | Command::Sandbox(_) => Ok(()),
            })
            .await
            .map_err(|e| Failure::from_error(Exit::Io, &e).context("the command crashed"))?,
        }
    })
}

/// Only this project's crates log: libraries below print whole requests at their deepest levels.
fn log_to_stderr(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    let filter = ["imgferry", "convert", "net", "obs", "ims", "sandbox"]
        .map(|name| format!("{name}={level}"))
        .join(",");
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_target(verbose > 1)
        .compact()
        .init();
}
