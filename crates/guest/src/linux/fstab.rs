//! `/etc/fstab`.

use crate::Seen;

/// Where the table is.
pub(crate) const PATH: &str = "/etc/fstab";

/// A line that mounts something or adds swap space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// From 1.
    pub(crate) line: u32,
    /// The whole line.
    pub(crate) text: Vec<u8>,
    /// What is mounted, without escapes: see [`crate::volume::Device`].
    pub(crate) spec: Vec<u8>,
    /// Where, without a trailing slash but for `/`; `none` or `swap` for swap space.
    pub(crate) at: Vec<u8>,
    pub(crate) kind: Vec<u8>,
    pub(crate) options: Vec<Vec<u8>>,
}

/// The table of mounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fstab {
    pub(crate) entries: Vec<Entry>,
    /// Lines that cannot be understood, with their numbers.
    pub(crate) broken: Vec<(u32, Vec<u8>)>,
}

impl Fstab {
    /// Reads a table; of a line that cannot be understood nothing but its place is kept.
    pub(crate) fn parse(content: &[u8]) -> Self {
        let mut table = Self::default();
        for (line, text) in (1..).zip(content.split(|&byte| byte == b'\n')) {
            let text = text.trim_ascii();
            if text.is_empty() || text.starts_with(b"#") {
                continue;
            }
            match Entry::parse(line, text) {
                Some(entry) => table.entries.push(entry),
                None => table.broken.push((line, text.to_vec())),
            }
        }
        table
    }

    /// The entry for the mount point `at`; of several the last one, which covers the others.
    pub(crate) fn mount(&self, at: &[u8]) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.at == at)
    }
}

impl Entry {
    fn parse(line: u32, text: &[u8]) -> Option<Self> {
        let mut fields = text
            .split(|byte| byte.is_ascii_whitespace())
            .filter(|field| !field.is_empty());
        let spec = unescaped(fields.next()?);
        let mut at = unescaped(fields.next()?);
        while at.len() > 1 && at.ends_with(b"/") {
            at.pop();
        }
        let kind = unescaped(fields.next()?);
        let options = fields.next().unwrap_or(b"defaults");
        Some(Self {
            line,
            text: text.to_vec(),
            spec,
            at,
            kind,
            options: options
                .split(|&byte| byte == b',')
                .filter(|option| !option.is_empty())
                .map(unescaped)
                .collect(),
        })
    }

    /// Whether option `name` is set, with or without a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.options.iter().any(|option| {
            option
                .strip_prefix(name.as_bytes())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
        })
    }

    /// The value of option `name=`; of several the last one.
    pub(crate) fn option(&self, name: &str) -> Option<&[u8]> {
        self.options
            .iter()
            .rev()
            .find_map(|option| option.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
    }

    /// The whole line.
    pub(crate) fn seen(&self) -> Seen {
        Seen::line(PATH, self.line, &self.text)
    }

    pub(crate) fn is_swap(&self) -> bool {
        self.kind == b"swap"
    }
}

/// `field` with `\040` and the like replaced by their bytes.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let code = match (byte, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                rest = after.get(3..).unwrap_or_default();
                (a - b'0') * 64 + (b - b'0') * 8 + (c - b'0')
            }
            _ => byte,
        };
        plain.push(code);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lose_their_escapes() {
        let table = Fstab::parse(
            b"# comment\n\nLABEL=\"DATA\"\t/srv/my\\040data/ ext4 noatime,nofail,subvol=/@/x,x-a=1 0 2\n\
              UUID=1-2 / xfs\n",
        );
        assert_eq!(table.broken, []);
        let [data, root] = table.entries.as_slice() else {
            panic!("{table:?}");
        };
        assert_eq!((data.line, root.line), (3, 4));
        assert_eq!(data.spec, b"LABEL=\"DATA\"");
        assert_eq!(data.at, b"/srv/my data");
        assert!(data.has("nofail") && data.has("x-a") && !data.has("no"));
        assert_eq!(data.option("subvol"), Some(b"/@/x".as_slice()));
        assert_eq!(root.options, [b"defaults"]);
        assert_eq!(table.mount(b"/").unwrap().line, 4);
    }

    #[test]
    fn a_line_of_two_fields_is_broken_and_the_last_mount_of_a_place_counts() {
        let table = Fstab::parse(b"/dev/sda1 /\n/dev/a / ext4\n/dev/b / ext4\n");
        assert_eq!(table.broken, [(1, b"/dev/sda1 /".to_vec())]);
        assert_eq!(table.mount(b"/").unwrap().spec, b"/dev/b");
    }

    #[test]
    fn what_is_no_octal_code_stays() {
        assert_eq!(unescaped(br"a\9\04\777\134x"), br"a\9\04\777\x");
    }

    #[test]
    fn no_line_is_left_out_however_many_there_are() {
        let text = format!(
            "{}/dev/sdb1 /data ext4 defaults 0 0\n",
            "# x\n".repeat(5000)
        );
        let table = Fstab::parse(text.as_bytes());
        assert_eq!(table.mount(b"/data").unwrap().line, 5001);
    }
}
