//! The kernel's command line.

/// Bytes that are looked at; kernels take at most 4096.
const MAX_COMMAND_LINE: usize = 16 << 10;

/// Parameters in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommandLine {
    parameters: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl CommandLine {
    /// Splits `text` at blanks outside of double quotes, as the kernel does.
    pub(crate) fn parse(text: &[u8]) -> Self {
        let text = text.get(..MAX_COMMAND_LINE).unwrap_or(text);
        let mut words = Vec::new();
        let mut word = Vec::new();
        let mut quoted = false;
        for &byte in text {
            match byte {
                b'"' => quoted = !quoted,
                b' ' | b'\t' | b'\r' | b'\n' if !quoted => words.push(std::mem::take(&mut word)),
                _ => word.push(byte),
            }
        }
        words.push(word);
        Self::of_words(words)
    }

    /// The parameters `words`, whose quotes are gone.
    pub(crate) fn of_words(words: Vec<Vec<u8>>) -> Self {
        let parameters = words
            .into_iter()
            .filter(|word| !word.is_empty())
            .map(|word| match word.iter().position(|&byte| byte == b'=') {
                Some(at) => {
                    let (name, value) = word.split_at(at);
                    (name.to_vec(), value.get(1..).map(<[u8]>::to_vec))
                }
                None => (word, None),
            })
            .collect();
        Self { parameters }
    }

    /// The value of `name=`; of several the last one, which the kernel takes.
    pub(crate) fn value(&self, name: &str) -> Option<&[u8]> {
        self.values(name).last()
    }

    /// All values of `name=`, for parameters that add up.
    pub(crate) fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.parameters
            .iter()
            .filter(move |(is, _)| same(is, name.as_bytes()))
            .filter_map(|(_, value)| value.as_deref())
    }

    /// Whether `name` is there, with or without a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.parameters
            .iter()
            .any(|(is, _)| same(is, name.as_bytes()))
    }

    /// Adds the parameters of `more`.
    pub(crate) fn extend(&mut self, more: Self) {
        self.parameters.extend(more.parameters);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parameters.is_empty()
    }
}

/// Dashes and underscores in names of parameters are equal to the kernel.
fn same(a: &[u8], b: &[u8]) -> bool {
    let plain = |byte: &u8| if *byte == b'-' { b'_' } else { *byte };
    a.len() == b.len() && a.iter().map(plain).eq(b.iter().map(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_blanks_together_and_the_last_value_counts() {
        let line = CommandLine::parse(
            b"root=/dev/sda1 ro  dyndbg=\"file a +p\" console=tty0 root=UUID=1-2 cloud_init=x \n",
        );
        assert_eq!(line.value("root"), Some(b"UUID=1-2".as_slice()));
        assert_eq!(line.value("dyndbg"), Some(b"file a +p".as_slice()));
        assert_eq!(line.value("cloud-init"), Some(b"x".as_slice()));
        assert!(line.has("ro") && line.has("console") && !line.has("rw"));
        assert_eq!(line.value("ro"), None);
        assert_eq!(line.values("root").count(), 2);
        assert!(CommandLine::parse(b"  ").is_empty());
    }
}
