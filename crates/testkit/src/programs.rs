//! Other programs that tests run.

use std::fmt::Display;
use std::io::Write as _;

/// Whether a test has to be skipped because `program` is not installed; says so when it has to.
#[must_use]
pub fn missing(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !found {
        skipped(format_args!("{program} is not installed"));
    }
    !found
}

/// Says why something is skipped.
pub fn skipped(why: impl Display) {
    // Not println!: the test harness would keep it from whoever runs the tests.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}
