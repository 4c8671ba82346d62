//! Names and texts that other people chose: as a terminal may show them, and as a shell takes them.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

/// Whether `c` does something to a terminal instead of appearing on it: control characters (C0, DEL
/// and C1), line separators, and marks that change the direction of writing or take no room.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `text` with every unsafe character escaped, except those that `keep` allows.
#[must_use]
pub fn escaped(text: &str, keep: impl Fn(char) -> bool) -> Cow<'_, str> {
    let escape = |c: char| is_unsafe(c) && !keep(c);
    if !text.contains(escape) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if escape(c) {
            safe.extend(c.escape_debug());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Most characters of a text from a file that are shown.
const SHOWN_CHARS: usize = 1023;

/// A text from a file so that it can be printed anywhere: control characters and those that turn
/// the direction of writing are escaped, and what is longer than any name is cut.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::new();
    for char in text.chars().take(SHOWN_CHARS) {
        match char {
            // These do no harm, and escaped they could not be typed.
            '\'' | '"' | '\\' => shown.push(char),
            char => shown.extend(char.escape_debug()),
        }
    }
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// A path in a message. It stays in one line and steers no terminal.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(&self.0.to_string_lossy(), |_| false))
    }
}

/// [`Shown`], for short.
#[must_use]
pub fn shown<P: AsRef<Path> + ?Sized>(path: &P) -> Shown<'_> {
    Shown(path.as_ref())
}

/// `word` as every POSIX shell takes it, and printable: what cannot be shown is written by
/// `printf`. `None` for an ending line feed, which a shell would drop.
#[must_use]
pub fn shell_word(word: &OsStr) -> Option<String> {
    let bytes = word.as_bytes();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%=,".contains(c);
    match word.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(plain) => return Some(text.to_owned()),
        Some(text) if !text.contains(is_unsafe) => {
            return Some(format!("'{}'", text.replace('\'', r"'\''")));
        }
        _ => {}
    }
    if bytes.ends_with(b"\n") {
        return None;
    }
    let mut format = String::new();
    for byte in bytes {
        match byte {
            b'/' | b'.' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                format.push(char::from(*byte));
            }
            byte => {
                let _ = write!(format, "\\{byte:03o}");
            }
        }
    }
    Some(format!("\"$(printf '{format}')\""))
}

/// `path` as an argument in a command that can be pasted: neither an option, nor a protocol for
/// `qemu-img`, nor another machine for `tar`.
#[must_use]
pub fn shell_path(path: &Path) -> Option<String> {
    let first = path.components().next()?;
    let odd = match first {
        Component::Normal(name) => {
            let name = name.as_bytes();
            name.starts_with(b"-") || name.contains(&b':')
        }
        _ => false,
    };
    if odd && !path.as_os_str().as_bytes().starts_with(b"./") {
        shell_word(Path::new(".").join(path).as_os_str())
    } else {
        shell_word(path.as_os_str())
    }
}

/// Whether `path` names a file that this process has open, such as `/dev/stdin` and `/dev/fd/63`:
/// it means something else, or nothing, in a command that is typed later.
#[must_use]
pub fn is_descriptor(path: &Path) -> bool {
    ["/dev/stdin", "/dev/stdout", "/dev/stderr"]
        .map(Path::new)
        .contains(&path)
        || path.starts_with("/dev/fd")
        || path.starts_with("/proc")
            && path
                .components()
                .skip(3)
                .any(|part| part.as_os_str() == "fd")
}

/// A name for a file that a command writes: `name`, or another one when the file at `path`, which
/// the command reads, is called so, or when there is something of that name already.
#[must_use]
pub fn other_than(path: &Path, name: &str) -> String {
    const MOST: u32 = 1000;
    // A link counts too, wherever it leads: the command would write through it.
    let free = |name: &String| {
        path.file_name() != Some(OsStr::new(name)) && fs::symlink_metadata(name).is_err()
    };
    let others = (2..MOST).map(|number| format!("new-{number}-{name}"));
    [name.to_owned(), format!("new-{name}")]
        .into_iter()
        .chain(others)
        .find(free)
        .unwrap_or_else(|| "NEW_FILE".to_owned())
}

/// `hint` with names in it that its commands may write: a command must write neither what it reads,
/// the file at `path`, nor anything else that is there already.
#[must_use]
pub fn with_free_outputs(hint: &str, path: &Path) -> String {
    let mut converts = false;
    let mut before = "";
    let mut words: Vec<Cow<'_, str>> = Vec::new();
    let mut rest = hint.split(' ').peekable();
    while let Some(word) = rest.next() {
        let name = word.trim_end_matches([';', ',', ')']);
        // The last word of these commands is what they write.
        converts |= (before == "qemu-img" && word == "convert") || word == "simg2img";
        let ends = rest.peek().is_none() || name.len() < word.len();
        let written = matches!(before, ">" | "-o") || (converts && ends);
        converts &= !ends;
        words.push(if written && !name.is_empty() && !name.contains('/') {
            let after = word.get(name.len()..).unwrap_or_default();
            Cow::Owned(other_than(path, name) + after)
        } else {
            Cow::Borrowed(word)
        });
        before = word;
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const NASTY: [&[u8]; 16] = [
        b"disk.raw",
        b"a b.raw",
        b"it's \"quoted\" $HOME `id` \\ ! * ?.raw",
        b"-rf",
        b"-",
        b"vm:1.vmdk",
        b"dir/vm:1.vmdk",
        b"a,b=c.raw",
        b"~root",
        b"#x",
        b"%d\\n.raw",
        b"a\x1b[31m\x07.raw",
        b"two\nlines 'q'.raw",
        b"not utf-8 \xff\xfe.raw",
        "turned \u{202e}war.\u{9b}31m".as_bytes(),
        "e\u{301}.raw".as_bytes(),
    ];

    #[test]
    fn a_shell_gets_back_every_word() {
        for name in NASTY {
            let word = shell_word(OsStr::from_bytes(name)).unwrap();
            assert!(!word.contains(is_unsafe), "{word:?}");
            let script = format!("printf '%s.' {word}");
            let run = Command::new("sh").args(["-c", &script]).output().unwrap();
            let expected = [name, b"."].concat();
            assert_eq!(run.stdout, expected, "{word}");
        }
        assert_eq!(shell_word(OsStr::new("a\n")), None);
    }

    #[test]
    fn a_path_is_neither_an_option_nor_a_protocol() {
        let of = |path: &str| shell_path(Path::new(path)).unwrap();
        assert_eq!(of("vm:1.vmdk"), "./vm:1.vmdk");
        assert_eq!(of("./vm:1.vmdk"), "./vm:1.vmdk");
        assert_eq!(of("/x/vm:1.vmdk"), "/x/vm:1.vmdk");
        assert_eq!(of("x/vm:1.vmdk"), "x/vm:1.vmdk");
        assert_eq!(of("x:y/a"), "./x:y/a");
        assert_eq!(of("-"), "./-");
        assert_eq!(of("-r f"), "'./-r f'");
        assert_eq!(of("disk.raw"), "disk.raw");
        assert_eq!(shell_path(Path::new("")), None);
    }

    #[test]
    fn what_steers_a_terminal_is_escaped_and_the_rest_is_left() {
        let plain = "ü 'a' \"b\" \\ e\u{301} 字";
        assert_eq!(escaped(plain, |_| false), plain);
        assert_eq!(
            escaped("a\u{1b}]0;t\u{7}\u{9b}31m\u{202e}\n", |c| c == '\n'),
            "a\\u{1b}]0;t\\u{7}\\u{9b}31m\\u{202e}\n"
        );
        assert_eq!(shown("a\nb").to_string(), "a\\nb");
    }

    #[test]
    fn a_command_is_given_a_new_name_for_what_it_writes() {
        // Tests run where the crate's Cargo.toml is.
        let of = |hint: &str| with_free_outputs(hint, Path::new("/vm/disk.img"));
        for (hint, expected) in [
            (
                "gunzip -c < x > Cargo.toml",
                "gunzip -c < x > new-Cargo.toml",
            ),
            ("gunzip -c < x > free.img", "gunzip -c < x > free.img"),
            ("gunzip -c < x > disk.img", "gunzip -c < x > new-disk.img"),
            ("lrzip -o Cargo.toml src", "lrzip -o new-Cargo.toml src"),
            (
                "qemu-img convert -O qcow2 src Cargo.toml; or x",
                "qemu-img convert -O qcow2 src new-Cargo.toml; or x",
            ),
            ("(cat > src), and", "(cat > new-src), and"),
            ("simg2img src src", "simg2img src new-src"),
            // What is read, and what is no file.
            ("cpio -idm < Cargo.toml", "cpio -idm < Cargo.toml"),
            ("qemu-img check Cargo.toml", "qemu-img check Cargo.toml"),
            ("src is damaged", "src is damaged"),
            (
                "partclone.restore -s x -o /dev/null",
                "partclone.restore -s x -o /dev/null",
            ),
        ] {
            assert_eq!(of(hint), expected);
        }
    }

    #[test]
    fn a_new_name_is_no_link_that_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        std::os::unix::fs::symlink("nowhere", at("disk.img")).unwrap();
        assert_ne!(other_than(Path::new("x"), &at("disk.img")), at("disk.img"));
        assert_eq!(other_than(Path::new("x"), &at("free.img")), at("free.img"));
    }

    #[test]
    fn names_of_open_files_are_known() {
        for path in [
            "/dev/stdin",
            "/dev/fd/63",
            "/proc/self/fd/0",
            "/proc/17/fd/3",
            "/proc/self/task/17/fd/3",
        ] {
            assert!(is_descriptor(Path::new(path)), "{path}");
        }
        for path in ["/dev/sda", "/dev/fd0", "fd/3", "/vm/fd/3", "/dev/mapper/fd"] {
            assert!(!is_descriptor(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn printable_texts_steer_no_terminal_and_have_an_end() {
        assert_eq!(printable(r#"C:\vm\"a 'b' ü.vhd"#), r#"C:\vm\"a 'b' ü.vhd"#);
        assert_eq!(
            printable("a\u{1b}[2J\n\u{202e}b"),
            "a\\u{1b}[2J\\n\\u{202e}b"
        );
        let long = printable(&"x".repeat(5000));
        assert_eq!(long.chars().count(), SHOWN_CHARS + 1);
        assert!(long.ends_with('…'));
    }
}
