//! `imgferry batch status`: how far a batch has come, by the journals on this machine.

use std::fmt;
use std::time::Duration;

use diskimg::units::human;
use fleet::{FleetSpec, Status};

use super::journal_in;
use crate::args::BatchStatusArgs;
use crate::commands::table::table;
use crate::console::Console;
use cloud::{Result, StopToken};

/// How often it is said again.
const EVERY: Duration = Duration::from_secs(2);

pub(super) async fn run(args: &BatchStatusArgs, console: Console, stop: &StopToken) -> Result {
    let mut spec = FleetSpec::read(&args.manifest)?;
    spec.journal = Some(journal_in(&args.state));
    loop {
        let status = fleet::status(&spec)?;
        if args.watch && console.bars() && !console.json {
            // Clears a terminal, so that the table stays at its place.
            console.clear();
        }
        match args.watch && console.json {
            // One line each time.
            true => console.line(&status)?,
            false => console.result(Text(&status), &status)?,
        }
        if !args.watch || !status.running {
            return Ok(());
        }
        let pause = tokio::time::sleep(EVERY);
        if stop.unless_asked(pause).await.is_err() {
            // Looking was all that was to be stopped.
            return Ok(());
        }
    }
}

/// A status, for people.
struct Text<'a>(&'a Status);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.0;
        let mut rows = vec![["DISK", "STATE", "STORED", ""].map(str::to_owned).to_vec()];
        rows.extend(status.items.iter().map(|line| {
            let stored = match (line.stage, line.size) {
                (Some(stage), size) if size > 0 => {
                    format!("{stage}, {} of {}", human(line.stored_bytes), human(size))
                }
                (Some(stage), _) => stage.to_owned(),
                (None, _) => "-".to_owned(),
            };
            let told = match (&line.cause, &line.image_id) {
                (Some(cause), _) => cause.clone(),
                (None, Some(image)) => format!("image {image}"),
                (None, None) => String::new(),
            };
            vec![line.id.clone(), line.state.word().to_owned(), stored, told]
        }));
        writeln!(f, "{}", table(&rows))?;
        write!(
            f,
            "\n{} of {} done, {} failed, {} left; ",
            status.done,
            status.items.len(),
            status.failed,
            status.left
        )?;
        let ago = |at: u64| fleet::now().saturating_sub(at) / 1000;
        match (status.running, status.started, status.exit) {
            (true, Some(at), _) => write!(f, "running for {} s", ago(at)),
            (false, Some(at), Some(exit)) => {
                write!(
                    f,
                    "the last run started {} s ago and ended with exit code {exit}",
                    ago(at)
                )
            }
            (false, Some(at), None) => {
                write!(f, "the last run started {} s ago and was killed", ago(at))
            }
            (running, None, _) => write!(
                f,
                "{}",
                match running {
                    true => "a run is starting",
                    false => "no run on this machine yet",
                }
            ),
        }?;
        if status.damaged {
            write!(
                f,
                "\nthe end of the journal is unreadable; the records before it are used"
            )?;
        }
        match (&status.command, &status.directory) {
            (Some(command), Some(directory))
                if !status.running && (status.left > 0 || status.failed > 0) =>
            {
                write!(f, "\nin {directory}: {command}")
            }
            _ => Ok(()),
        }
    }
}
