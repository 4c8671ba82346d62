//! The user's own program that makes the bitmap file, run without a shell.

use cloud::{Class, Failure, Result, StopToken};
use std::fmt;
use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Stdio;

use diskimg::text::shown;
use tempfile::TempDir;
use tokio::process::Command;

use super::names;

const RAW: &str = "{raw}";
const MF: &str = "{mf}";

/// Variables that hold secrets begin with one of these; the program is not given them.
const PRIVATE: [&str; 4] = ["HW_", "IMGFERRY_", "OS_", "AWS_"];

/// A command line, split into words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BitmapCommand {
    program: String,
    arguments: Vec<String>,
}

impl BitmapCommand {
    /// Splits `text` as a shell would, and does nothing else that a shell does.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let words = shlex::split(text)
            .ok_or_else(|| format!("the bitmap command has an open quote: {text}"))?;
        for placeholder in [RAW, MF] {
            if !words.iter().skip(1).any(|word| word.contains(placeholder)) {
                return Err(format!(
                    "the bitmap command has no {placeholder} among its arguments; \
                     expected something like 'java -jar CreateMF.jar {RAW} {MF}'"
                ));
            }
        }
        let mut words = words.into_iter();
        let program = words.next().unwrap_or_default();
        if program.contains(RAW) || program.contains(MF) {
            return Err(format!(
                "the bitmap command runs {program}, expected a program"
            ));
        }
        Ok(Self {
            program,
            arguments: words.collect(),
        })
    }

    /// The arguments for these files.
    fn arguments(&self, raw: &str, mf: &str) -> Vec<String> {
        let placed = |word: &String| {
            // One pass, so that a file called {mf} stays what it is.
            word.split(RAW)
                .map(|piece| piece.replace(MF, mf))
                .collect::<Vec<_>>()
                .join(raw)
        };
        self.arguments.iter().map(placed).collect()
    }

    /// Makes the bitmap of `raw` in a directory of its own, which vanishes with the result.
    ///
    /// # Errors
    /// When the program cannot be run or fails, makes no file, or changes the disk.
    pub(crate) async fn run(&self, raw: &Path, stop: &StopToken) -> Result<Made> {
        let failed = |error: std::io::Error, doing: &str| {
            Failure::from_error(Class::Refused, &error).context(format!("{doing}: {self}"))
        };
        // Absolute, so that no name is taken for an option.
        let raw = std::path::absolute(raw).map_err(|e| failed(e, "the disk has no path"))?;
        let dir = TempDir::new().map_err(|e| failed(e, "no directory for the bitmap file"))?;
        let mut name = names::stem(&raw).to_owned();
        name.push(".mf");
        let mf = dir.path().join(name);
        let (Some(raw_text), Some(mf_text)) = (raw.to_str(), mf.to_str()) else {
            return Err(Failure::new(
                Class::Refused,
                format!("{} is no text that a command line can hold", shown(&raw)),
            ));
        };
        let before = fs::metadata(&raw).map_err(|e| failed(e, "the disk cannot be examined"))?;
        let mut command = Command::new(&self.program);
        command
            .args(self.arguments(raw_text, mf_text))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        // Its messages are not our result.
        let stderr = std::io::stderr().as_fd().try_clone_to_owned();
        command.stdout(stderr.map_or_else(|_| Stdio::null(), Stdio::from));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if PRIVATE.iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        let status = stop
            .unless_asked(command.status())
            .await?
            .map_err(|e| failed(e, "the bitmap command cannot be run"))?;
        let refused = |what: String| {
            Failure::new(Class::Refused, what).note("nothing was uploaded".to_owned())
        };
        if !status.success() {
            return Err(refused(format!(
                "the bitmap command ended with {status}: {self}"
            )));
        }
        if !mf.is_file() {
            return Err(refused(format!(
                "the bitmap command made no file at {MF}: {self}"
            )));
        }
        let after = fs::metadata(&raw).map_err(|e| failed(e, "the disk cannot be examined"))?;
        if (before.len(), before.modified().ok()) != (after.len(), after.modified().ok()) {
            return Err(refused(format!(
                "{} changed while the bitmap command ran: {self}",
                shown(&raw)
            )));
        }
        Ok(Made { mf, _dir: dir })
    }
}

impl fmt::Display for BitmapCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = std::iter::once(&self.program).chain(&self.arguments);
        let text = shlex::try_join(words.map(String::as_str)).unwrap_or_default();
        f.write_str(&text)
    }
}

/// A bitmap file that a program made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) mf: std::path::PathBuf,
    _dir: TempDir,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_and_files_placed_without_a_shell() {
        let text = "java -jar 'Create MF.jar' {raw} --out={mf} $(id) ';'";
        let command = BitmapCommand::parse(text).unwrap();
        assert_eq!(
            command.arguments("/a b/{mf}.raw", "/t/x.mf"),
            [
                "-jar",
                "Create MF.jar",
                "/a b/{mf}.raw",
                "--out=/t/x.mf",
                "$(id)",
                ";"
            ]
        );
    }

    #[test]
    fn a_command_without_its_files_is_refused() {
        for text in [
            "",
            "make",
            "make {raw}",
            "make {mf}",
            "{raw} {mf}",
            "make '{raw} {mf}",
        ] {
            assert!(BitmapCommand::parse(text).is_err(), "{text}");
        }
    }
}
