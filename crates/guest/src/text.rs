//! Bytes of the guest as text that a terminal can show.

/// Characters of a shown text.
const MAX_SHOWN: usize = 200;

/// `bytes` without control characters; what is not UTF-8 is shown as replacement characters.
pub(crate) fn printable(bytes: impl AsRef<[u8]>) -> String {
    diskimg::printable(&String::from_utf8_lossy(bytes.as_ref()))
}

/// `bytes` without control characters, at most [`MAX_SHOWN`] characters of them.
pub(crate) fn shown(bytes: &[u8]) -> String {
    // No character has more than four bytes, and none is printed as less than one.
    let head = bytes.get(..MAX_SHOWN * 4 + 4).unwrap_or(bytes);
    cut(&printable(head))
}

/// `text`, at most [`MAX_SHOWN`] characters of it.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// `line` with the values hidden that are secrets by the names in front of them: on command lines
/// of kernels, among the options of mounts, in configuration.
pub(crate) fn without_secrets(line: &[u8]) -> Vec<u8> {
    let is_border = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b'{' | b'}');
    let mut shown = Vec::new();
    // In YAML a value may be a word of its own.
    let mut hide_next = false;
    for word in line.split_inclusive(is_border) {
        let (text, border) = match word.split_last() {
            Some((last, text)) if is_border(last) => (text, Some(*last)),
            _ => (word, None),
        };
        match secret(text) {
            Some((name, value)) => {
                shown.extend(name);
                hide_next = value.is_empty();
                if !hide_next {
                    shown.extend("…".as_bytes());
                }
            }
            None if hide_next && !text.is_empty() => {
                shown.extend("…".as_bytes());
                hide_next = false;
            }
            None => shown.extend(text),
        }
        shown.extend(border);
    }
    shown
}

/// The name of a secret with its mark of assignment, and the value.
fn secret(word: &[u8]) -> Option<(&[u8], &[u8])> {
    const SECRET: &[&[u8]] = &[
        b"pass",
        b"secret",
        b"token",
        b"netroot",
        b"psk",
        b"private-key",
    ];
    let at = word.iter().position(|byte| matches!(byte, b'=' | b':'))?;
    let (name, value) = word.split_at_checked(at + 1)?;
    let lower = name.to_ascii_lowercase();
    let is = |part: &&&[u8]| lower.windows(part.len()).any(|found| found == **part);
    // Of a share, the password may follow the user's name.
    let user = lower.starts_with(b"user") && value.contains(&b'%');
    (user || SECRET.iter().any(|part| is(&part))).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown_whatever_stands_around_them() {
        for (line, shown) in [
            (
                "linux /v root=UUID=1 rd.iscsi.password=hunter2 netroot=iscsi:a:b@h quiet",
                "linux /v root=UUID=1 rd.iscsi.password=… netroot=… quiet",
            ),
            (
                "//nas/x /mnt cifs user=joe%hunter2,password=hunter2,vers=3 0 0",
                "//nas/x /mnt cifs user=…,password=…,vers=3 0 0",
            ),
            (
                "auth: {method: psk, password: \"hunter2\"}",
                "auth: {method: psk, password: …}",
            ),
            (
                "/dev/sda1 / ext4 defaults 0 1",
                "/dev/sda1 / ext4 defaults 0 1",
            ),
        ] {
            let hidden = String::from_utf8(without_secrets(line.as_bytes())).unwrap();
            assert_eq!(hidden, shown);
        }
    }
}
