//! `imgferry batch clean`: what an abandoned batch has left behind, shown and deleted.

use std::fmt;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use cloud::{Class, Failure, Result, Session, StopToken};
use fleet::{CleanOptions, Cleaning, Context, FleetSpec, Leftovers};
use serde::Serialize;

use super::board::Board;
use crate::args::BatchCleanArgs;
use crate::commands::import::journal;
use crate::console::Console;

pub(super) async fn run(args: &BatchCleanArgs, console: Console, stop: &StopToken) -> Result {
    let mut spec = FleetSpec::read(&args.manifest)?;
    spec.journal = journal(&args.cloud, &args.state);
    let session = Session::open(&args.cloud.options(), spec.session_options()).await?;
    let board = Board::new(console, &spec.manifest);
    let cx = Context::new(session, board, stop);
    let ended = clean(args, &spec, &cx, console).await;
    cx.close(ended).await
}

async fn clean(args: &BatchCleanArgs, spec: &FleetSpec, cx: &Context, console: Console) -> Result {
    let options = CleanOptions {
        claims: args.claims,
        dry_run: args.dry_run,
    };
    let cleaning = Cleaning::begin(spec, cx, options).await?;
    let left = cleaning.find().await?;
    let mut report = Report {
        left: &left,
        deleted: false,
    };
    if left.is_empty() {
        return console.result("nothing to delete", &report);
    }
    if args.dry_run {
        return console.result(&report, &report);
    }
    if !args.yes {
        console.notice(&report);
        confirm(&cx.stop).await?;
    }
    cleaning.delete(&left).await?;
    report.deleted = true;
    console.result(&report, &report)
}

/// Asks on a terminal; elsewhere nobody can answer.
async fn confirm(stop: &StopToken) -> Result {
    let nothing = || Failure::new(Class::Refused, "nothing was deleted");
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(nothing().hint("there is no terminal to confirm on; pass --yes"));
    }
    let mut err = io::stderr();
    let _ = write!(err, "delete all of this? [y/N] ").and_then(|()| err.flush());
    // A thread of its own: the program does not wait for it when it is interrupted.
    let (sender, answer) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().lock().read_line(&mut line).map(|_| line);
        let _ = sender.send(read);
    });
    let answer = stop
        .unless_asked(answer)
        .await?
        .map_err(|e| Failure::from_error(Class::Io, &e))?
        .map_err(|e| Failure::from_error(Class::Io, &e))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(nothing()),
    }
}

/// What was found and whether it was deleted, for people and as JSON.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    left: &'a Leftovers,
    deleted: bool,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = Vec::new();
        for upload in &self.left.uploads {
            lines.push(format!(
                "upload   {} of {}/{}",
                upload.upload_id, upload.bucket, upload.key
            ));
        }
        for object in &self.left.objects {
            lines.push(format!("object   {}/{}", object.bucket, object.key));
        }
        for image in &self.left.images {
            lines.push(format!(
                "image    {} ({}, {})",
                image.id, image.name, image.status
            ));
        }
        for journal in &self.left.journals {
            lines.push(format!("journal  {journal}"));
        }
        if self.deleted {
            lines.push("deleted".to_owned());
        }
        f.write_str(&lines.join("\n"))
    }
}
