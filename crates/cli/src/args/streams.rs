//! Standard input and output by the names that the system gives them: scripts write those for tools
//! that know no `-`.

use std::path::{Path, PathBuf};

use clap::builder::{MapValueParser, PathBufValueParser, TypedValueParser as _};

type Streams = MapValueParser<PathBufValueParser, fn(PathBuf) -> PathBuf>;

/// A path to read from; standard input is `-`.
pub(super) fn input() -> Streams {
    PathBufValueParser::new().map(standard_input)
}

/// A path to write to; standard output is `-`.
pub(super) fn output() -> Streams {
    PathBufValueParser::new().map(standard_output)
}

pub(super) fn standard_input(path: PathBuf) -> PathBuf {
    unless(path, &["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"])
}

fn standard_output(path: PathBuf) -> PathBuf {
    unless(path, &["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
}

fn unless(path: PathBuf, streams: &[&str]) -> PathBuf {
    match streams.iter().any(|stream| path == Path::new(stream)) {
        true => PathBuf::from("-"),
        false => path,
    }
}
