//! The files that a manifest names.

use std::path::{Path, PathBuf};

use diskimg::source::{is_disk, type_name};
use diskimg::text::shown;
use glob::{MatchOptions, Pattern};

use super::{Context, MAX_ITEMS};
use crate::document::Place;
use crate::problem::Problem;

/// Most files that a pattern looks at. Ours.
const MAX_FOUND: usize = MAX_ITEMS;

impl Context<'_> {
    /// Whether the text is a pattern: a file that is called so is a file.
    pub(super) fn is_pattern(&self, text: &str) -> bool {
        text.contains(['*', '?', '[']) && !self.resolve(text).exists()
    }

    /// The files that match, by name: each as the manifest would say it, and its path.
    pub(super) fn matching(&mut self, text: &str, at: Place, path: &str) -> Vec<(String, PathBuf)> {
        let mut refuse = |what: String, hint: &str| {
            let problem = at.problem(path, what);
            self.problems.push(match hint {
                "" => problem,
                hint => problem.hint(hint),
            });
            Vec::new()
        };
        if text.contains("**") {
            return refuse(
                "** is not read".to_owned(),
                "name each directory, or let imgferry batch init DIR list the files",
            );
        }
        let Some(dir) = self.dir.to_str() else {
            return refuse(
                format!(
                    "patterns need a directory whose name is text, and this is {}",
                    shown(self.dir)
                ),
                "",
            );
        };
        let absolute = Path::new(text).is_absolute();
        let pattern = match absolute {
            true => text.to_owned(),
            false => format!("{}/{text}", Pattern::escape(dir.trim_end_matches('/'))),
        };
        let options = MatchOptions {
            case_sensitive: true,
            require_literal_separator: true,
            require_literal_leading_dot: true,
        };
        let paths = match glob::glob_with(&pattern, options) {
            Ok(paths) => paths,
            Err(error) => return refuse(format!("this is no pattern: {}", error.msg), ""),
        };
        let mut found = Vec::new();
        for entry in paths {
            let file = match entry {
                Ok(file) => file,
                Err(error) => {
                    let what = format!("{} cannot be read: {}", shown(error.path()), error.error());
                    return refuse(what, "");
                }
            };
            if !file.is_file() {
                continue;
            }
            let text = match absolute {
                true => file.to_str(),
                false => file.strip_prefix(self.dir).ok().and_then(Path::to_str),
            };
            let Some(text) = text else {
                return refuse(
                    format!("the pattern finds {}, whose name is no text", shown(&file)),
                    "rename the file",
                );
            };
            found.push((text.to_owned(), file.clone()));
            if found.len() > MAX_FOUND {
                return refuse(format!("the pattern finds more than {MAX_FOUND} files"), "");
            }
        }
        if found.is_empty() {
            return refuse(format!("no file matches {text:?}"), "");
        }
        found
    }

    /// Refuses what cannot be a file. Says why a file cannot be read, if so.
    pub(super) fn check_source(&mut self, text: &str, at: Place, path: &str) -> Option<Problem> {
        if !self.check_name(text, at, path) {
            return None;
        }
        let refuse = |what: String, hint: &str| {
            let problem = at.problem(path, what);
            Some(match hint {
                "" => problem,
                hint => problem.hint(hint),
            })
        };
        let file = self.dir.join(text);
        match std::fs::metadata(&file) {
            Ok(metadata) if metadata.is_dir() => refuse(
                format!("{} is a directory, expected a disk image", shown(&file)),
                "a pattern takes its files, such as DIR/*.qcow2",
            ),
            Ok(metadata) if !is_disk(metadata.file_type()) => refuse(
                format!(
                    "{} is {}, expected a disk image",
                    shown(&file),
                    type_name(metadata.file_type())
                ),
                "name a regular file or a block device",
            ),
            Ok(_) => None,
            Err(error) => refuse(format!("{} cannot be read: {error}", shown(&file)), ""),
        }
    }

    /// Refuses what is no name of a file.
    fn check_name(&mut self, text: &str, at: Place, path: &str) -> bool {
        let mut refuse = |what: String, hint: &str| {
            let problem = at.problem(path, what);
            self.problems.push(match hint {
                "" => problem,
                hint => problem.hint(hint),
            });
            false
        };
        if text.is_empty() {
            return refuse("the source is empty".to_owned(), "");
        }
        if text == "-" {
            return refuse(
                "a batch does not read standard input".to_owned(),
                "imgferry import - takes one disk from it",
            );
        }
        if text.starts_with("~/") {
            return refuse(
                format!("{text:?} begins with ~, which only a shell replaces"),
                "write the path out",
            );
        }
        true
    }
}
