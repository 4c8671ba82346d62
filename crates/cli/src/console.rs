//! What is written where: data to standard output, everything else to standard error.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use diskimg::text::{escaped, is_unsafe};
use serde::Serialize;

use crate::exit;
use cloud::{Class, Failure, Result};

/// How talkative the program is, decided once from the arguments and the streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    /// One JSON object on standard output.
    pub(crate) json: bool,
    quiet: bool,
    /// Progress bars rather than lines.
    bars: bool,
}

impl Console {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self {
            json,
            quiet,
            bars: !quiet && io::stderr().is_terminal(),
        }
    }

    /// Whether progress is drawn as bars.
    pub(crate) fn bars(self) -> bool {
        self.bars
    }

    /// Whether only errors are wanted.
    pub(crate) fn quiet(self) -> bool {
        self.quiet
    }

    /// The result of a command: `text` for people, or `data` with `--json`.
    pub(crate) fn result(self, text: impl std::fmt::Display, data: &impl Serialize) -> Result {
        if !self.json {
            return write_line(&mut io::stdout().lock(), &for_terminal(&text.to_string()));
        }
        let text = serde_json::to_string_pretty(data);
        let text = text.map_err(|e| no_json(&e))?;
        write_line(&mut io::stdout().lock(), &plain_json(&text))
    }

    /// One of several results, each in a line of its own.
    pub(crate) fn line(self, data: &impl Serialize) -> Result {
        let text = serde_json::to_string(data).map_err(|e| no_json(&e))?;
        write_line(&mut io::stdout().lock(), &plain_json(&text))
    }

    /// The result of a command whose result is a file, on standard output.
    pub(crate) fn raw(self, bytes: &[u8]) -> Result {
        let mut out = io::stdout().lock();
        written(out.write_all(bytes).and_then(|()| out.flush()))
    }

    /// Something the user should see while the command runs.
    pub(crate) fn notice(self, text: impl std::fmt::Display) {
        if !self.quiet {
            self.error_line(text);
        }
    }

    /// Something the user should know even when quiet.
    pub(crate) fn warn(self, text: impl std::fmt::Display) {
        self.error_line(format_args!("warning: {text}"));
    }

    /// The failure that ends the program.
    pub(crate) fn failure(self, failure: &Failure) {
        self.error_line(exit::text(failure));
        if !failure.is_told() {
            self.failure_data(failure);
        }
    }

    /// The failure's JSON form, when that is wanted.
    pub(crate) fn failure_data(self, failure: &Failure) {
        if self.json {
            // The exit code tells a caller whose standard output is gone.
            let text = format!("{:#}", exit::json(failure));
            let _ = write_line(&mut io::stdout().lock(), &plain_json(&text));
        }
    }

    fn error_line(self, text: impl std::fmt::Display) {
        // Nobody is left to be told when standard error is closed.
        let text = text.to_string();
        let _ = writeln!(io::stderr().lock(), "{}", for_terminal(&text));
    }

    /// Clears the terminal that shows notices.
    pub(crate) fn clear(self) {
        // Nobody is left to see it when standard error is closed.
        let _ = write!(io::stderr().lock(), "\x1b[2J\x1b[H");
    }
}

/// `text` as a terminal may show it: names of files and texts of servers must not steer it.
pub(crate) fn for_terminal(text: &str) -> Cow<'_, str> {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

/// JSON in which every character that steers a terminal is written as `\uXXXX`. JSON itself asks
/// for that below U+0020 only.
fn plain_json(text: &str) -> Cow<'_, str> {
    // Outside of texts there are line feeds only.
    let escape = |c: char| is_unsafe(c) && c != '\n';
    if !text.contains(escape) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if escape(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(plain, "\\u{unit:04x}");
            }
        } else {
            plain.push(c);
        }
    }
    Cow::Owned(plain)
}

fn no_json(error: &serde_json::Error) -> Failure {
    Failure::from_error(Class::Io, error).context("the result has no JSON form")
}

fn write_line(out: &mut impl Write, text: &str) -> Result {
    written(writeln!(out, "{text}").and_then(|()| out.flush()))
}

/// A closed pipe (`imgferry … | head`) ends the program without an error of its own.
fn written(result: io::Result<()>) -> Result {
    match result {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::from_error(Class::Io, &e).context("standard output cannot be written"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_its_meaning_and_steers_no_terminal() {
        let texts = [
            "a\u{9b}31m",
            "\u{202e}b",
            "\u{7f}",
            "\u{e0001}",
            "\x1b[0m\n\"ü",
        ];
        let json = serde_json::to_string_pretty(&texts).unwrap();
        let plain = plain_json(&json);
        assert!(!plain.contains(|c| is_unsafe(c) && c != '\n'), "{plain}");
        let read: Vec<String> = serde_json::from_str(&plain).unwrap();
        assert_eq!(read, texts);
    }
}
