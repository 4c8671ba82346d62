//! `imgferry batch run`: a run, shown and reported.

use ::import::command_line;
use fleet::{Context, FleetSpec};
use serde_json::json;

use super::board::Board;
use super::report;
use crate::args::BatchRunArgs;
use crate::console::Console;
use cloud::{Class, Failure, Result};

pub(super) async fn run(
    args: &BatchRunArgs,
    spec: &FleetSpec,
    cx: &Context,
    console: Console,
    board: &Board,
) -> Result {
    let ended = fleet::run(spec, cx).await;
    board.finish();
    finish(args, &ended?, console, board)
}

/// Writes the report, and says how the run ended.
fn finish(
    args: &BatchRunArgs,
    outcome: &fleet::Outcome,
    console: Console,
    board: &Board,
) -> Result {
    let report = &outcome.report;
    let written = report::write(args, report);
    if console.json {
        board.write("report", None, json!({ "report": report }));
    } else {
        console.result(::batch::report::text(report), report)?;
    }
    if let Some(failure) = &outcome.broken {
        return Err(failure.clone().told());
    }
    let command: Vec<String> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let again = command_line(&command);
    let (failed, left) = (outcome.failed(), outcome.left());
    let ended = match report.exit {
        0 => {
            if failed > 0 {
                console.warn(format_args!(
                    "{failed} of {} disks were refused; the report says why",
                    report.items.len()
                ));
            }
            Ok(())
        }
        130 => Err(Failure::new(
            Class::Interrupted,
            format!("stopped on request; {left} disks are left"),
        )
        .hint(format!("to resume, run: {again}"))
        .told()),
        _ => {
            let mut text = format!(
                "{failed} of {} disks failed or were refused",
                report.items.len()
            );
            if left > 0 {
                text.push_str(&format!(", {left} were not started or not finished"));
            }
            Err(Failure::new(Class::Cloud, text)
                .hint(format!(
                    "fix the problems in the report, then rerun; only unfinished disks are processed: {again}"
                ))
                .told())
        }
    };
    match (ended, written) {
        (Ok(()), Err(failure)) => Err(failure.told()),
        (Err(failure), Err(later)) => Err(failure.note(later.line())),
        (ended, Ok(())) => ended,
    }
}
