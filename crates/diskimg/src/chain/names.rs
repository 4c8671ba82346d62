//! Names that images give to other files, as paths to look at.

use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};

/// Most components of a path of another machine that are tried, from its end. Ours: what lies
/// further up is different here anyway.
const MAX_FOREIGN_COMPONENTS: usize = 8;

/// A name that an image gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NamedPath {
    /// A path as this system writes it; a relative one begins at the file that names it.
    Here(PathBuf),
    /// Components of a path of another machine, of which only the last ones can mean anything here.
    Foreign(Vec<String>),
    /// No file at all: a protocol, such as `nbd`.
    Protocol(String),
}

impl NamedPath {
    /// A name in an image of QEMU's: a path, or something with a protocol before it. An absolute
    /// path may be one of another machine: then its end counts.
    pub(crate) fn of_qemu(name: &Path) -> Vec<Self> {
        let text = name.to_string_lossy();
        // A colon before the first slash ends a protocol.
        let first = text.split('/').next().unwrap_or_default();
        if let Some((protocol, _)) = first.split_once(':') {
            return vec![Self::Protocol(protocol.to_owned())];
        }
        let here = Self::Here(name.to_owned());
        match name.to_str().filter(|_| name.is_absolute()) {
            Some(text) => vec![here, Self::foreign(text.split('/'))],
            None => vec![here],
        }
    }

    /// A path of Windows: relative to the file that names it, or of another machine.
    pub(crate) fn of_windows(name: &str) -> Self {
        let drive = name.chars().nth(1) == Some(':');
        if !name.starts_with(['\\', '/']) && !drive {
            return Self::Here(PathBuf::from(name.replace('\\', "/")));
        }
        let parts = name.split(['\\', '/']);
        Self::foreign(parts.filter(|part| !part.ends_with(':') && !part.starts_with("Volume{")))
    }

    /// The URL of a file, as macOS and XenServer give it: `file://host/path`, where a host `.`
    /// makes the path relative.
    pub(crate) fn of_url(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("file://")?;
        let path = decode_percent(rest);
        match path.split_once('/') {
            Some((".", relative)) => Some(Self::Here(PathBuf::from(relative))),
            Some((_, absolute)) => Some(Self::foreign(absolute.split('/'))),
            None => None,
        }
    }

    fn foreign<'a>(parts: impl Iterator<Item = &'a str>) -> Self {
        let parts = parts
            .filter(|part| !matches!(*part, "" | "." | "?"))
            .map(str::to_owned)
            .collect();
        Self::Foreign(parts)
    }
}

/// Replaces `%41` and the like; what is no number stays.
fn decode_percent(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digits = rest.clone().take(2).collect::<Vec<_>>();
        let value = std::str::from_utf8(&digits)
            .ok()
            .filter(|digits| byte == b'%' && digits.len() == 2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                rest.nth(1);
            }
            None => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The paths to look at for `path`, which the file `namer` gives, when files in `dir` may be
/// opened. At most [`MAX_FOREIGN_COMPONENTS`] and one.
pub(super) fn candidates(
    path: &NamedPath,
    namer: Option<&Path>,
    dir: &Path,
) -> Vec<Result<PathBuf>> {
    let beside = namer.and_then(Path::parent).unwrap_or(dir);
    match path {
        NamedPath::Here(path) => vec![Ok(beside.join(path))],
        NamedPath::Protocol(protocol) => vec![Err(Error::unsupported(format!(
            "the image names something by the protocol {protocol:?}; only files are opened"
        ))
        .with_hint(
            "put the path of a file into a copy of it: qemu-img rebase -u -b FILE -F FORMAT COPY",
        ))],
        NamedPath::Foreign(parts) => {
            let last = parts.len().saturating_sub(MAX_FOREIGN_COMPONENTS);
            let parts = parts.get(last..).unwrap_or_default();
            // A part must be a plain name: no way up, and nothing that a path is made of.
            let plain = |part: &String| {
                let mut components = Path::new(part).components();
                matches!(components.next(), Some(Component::Normal(_)))
                    && components.next().is_none()
            };
            if !parts.iter().all(plain) {
                return Vec::new();
            }
            let beside = parts.last().map(|name| beside.join(name));
            let below = (0..parts.len()).map(|first| {
                let parts = parts.get(first..).unwrap_or_default();
                dir.join(parts.iter().collect::<PathBuf>())
            });
            beside.into_iter().chain(below).map(Ok).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(path: &str) -> NamedPath {
        NamedPath::Here(PathBuf::from(path))
    }

    fn foreign(parts: &[&str]) -> NamedPath {
        NamedPath::Foreign(parts.iter().map(|part| (*part).to_owned()).collect())
    }

    #[test]
    fn a_protocol_is_what_stands_before_a_colon_before_any_slash() {
        let of = |name: &str| NamedPath::of_qemu(Path::new(name));
        assert_eq!(of("base.qcow2"), [here("base.qcow2")]);
        assert_eq!(of("./a:b.qcow2"), [here("./a:b.qcow2")]);
        assert_eq!(of("/x/a:b"), [here("/x/a:b"), foreign(&["x", "a:b"])]);
        for protocol in ["json", "nbd", "http", "file", "C"] {
            let name = format!("{protocol}:/x/y");
            assert_eq!(of(&name), [NamedPath::Protocol(protocol.to_owned())]);
        }
    }

    #[test]
    fn windows_paths_are_relative_or_of_another_machine() {
        let of = NamedPath::of_windows;
        assert_eq!(of(r".\base\a.vhd"), here("./base/a.vhd"));
        assert_eq!(of(r"..\a.vhd"), here("../a.vhd"));
        assert_eq!(of("a.vhd"), here("a.vhd"));
        let parts = foreign(&["VMs", "a.vhd"]);
        assert_eq!(of(r"C:\VMs\a.vhd"), parts);
        assert_eq!(of(r"\\?\d:\VMs\a.vhd"), parts);
        assert_eq!(of(r"\\?\Volume{26a2}\VMs\a.vhd"), parts);
        assert_eq!(
            of(r"\\server\share\a.vhd"),
            foreign(&["server", "share", "a.vhd"])
        );
        assert_eq!(of("/etc/passwd"), foreign(&["etc", "passwd"]));
    }

    #[test]
    fn urls_are_decoded_once() {
        let of = |url: &str| NamedPath::of_url(url).unwrap();
        assert_eq!(of("file://./my%20base.vhd"), here("my base.vhd"));
        assert_eq!(
            of("file://localhost/Users/x/a%2525.vhd"),
            foreign(&["Users", "x", "a%25.vhd"])
        );
        assert_eq!(of("file:///x/100%.vhd"), foreign(&["x", "100%.vhd"]));
        assert_eq!(NamedPath::of_url("http://x/y"), None);
    }

    #[test]
    fn a_path_of_another_machine_never_leads_up() {
        let dir = Path::new("/allowed");
        let paths = |path: &NamedPath| -> Vec<PathBuf> {
            candidates(path, Some(Path::new("/images/top.vhd")), dir)
                .into_iter()
                .map(Result::unwrap)
                .collect()
        };
        assert_eq!(
            paths(&foreign(&["VMs", "a.vhd"])),
            ["/images/a.vhd", "/allowed/VMs/a.vhd", "/allowed/a.vhd"].map(PathBuf::from)
        );
        assert!(paths(&foreign(&["..", "a.vhd"])).is_empty());
        assert!(paths(&foreign(&["x/../..", "a.vhd"])).is_empty());
        assert!(paths(&foreign(&[])).is_empty());
    }
}
