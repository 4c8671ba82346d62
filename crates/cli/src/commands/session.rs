//! The cloud of one command, and what several commands print of it.

use diskimg::text::escaped;
use ims::{Job, JobId};
use serde_json::{Value, json};

pub(crate) use cloud::{Session, SessionOptions};

use crate::args::CloudArgs;
use crate::console::Console;
use crate::exit::Outcome;
use crate::interrupt::Interrupt;
use crate::progress::JobProgress;

/// Opens the cloud of a command that needs no bucket.
pub(crate) async fn open(args: &CloudArgs) -> Outcome<Session> {
    Session::open(&args.options(), SessionOptions::default()).await
}

/// Opens the cloud of a command that uses one bucket.
pub(crate) async fn open_with(args: &CloudArgs, bucket: &str) -> Outcome<Session> {
    let needs = SessionOptions {
        buckets: vec![bucket.to_owned()],
        ..SessionOptions::default()
    };
    Session::open(&args.options(), needs).await
}

/// Follows a job to its end, and shows how far it is.
pub(crate) async fn follow(
    session: &Session,
    job: &JobId,
    timeout: u64,
    console: Console,
    interrupt: &Interrupt,
) -> Outcome<Job> {
    let mut progress = JobProgress::new(console);
    let update = |job: &Job| progress.update(job.status.as_str(), job.progress());
    session.follow(job, timeout, update, interrupt).await
}

/// A job as JSON.
pub(crate) fn job_json(job: &Job) -> Value {
    json!({
        "job_id": job.job_id,
        "status": job.status.as_str(),
        "job_type": job.job_type,
        "begin_time": job.begin_time,
        "end_time": job.end_time,
        "progress": job.progress(),
        "current_task": job.entities.current_task,
        "image_id": job.image_id().map(|id| id.to_string()),
        "image_name": job.entities.image_name,
        "error_code": job.failure_code(),
        "failures": job.failures(),
        "sub_jobs": job.entities.sub_jobs.iter().map(job_json).collect::<Vec<_>>(),
    })
}

/// Text of a server, fit for a terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Rows in columns; the last one is as wide as it is.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<_>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| escaped(cell, |_| false)).collect())
        .collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(column) {
                Some(known) => *known = width.max(*known),
                None => widths.push(width),
            }
        }
    }
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let cells = row.iter().zip(&widths);
            let line: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            line.join("  ").trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}
