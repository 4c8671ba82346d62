//! The text of LVM metadata: sections of values.

/// Sections in each other. LVM itself nests three.
const MAX_DEPTH: usize = 8;
/// Bytes of a name.
const MAX_NAME: usize = 128;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(i64),
    Text(String),
    List(Vec<Value>),
    /// A number with a fraction, which nothing here needs.
    Fraction,
}

/// A section, with what is in it in the order of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) name: String,
    values: Vec<(String, Value)>,
    pub(super) sections: Vec<Section>,
}

impl Section {
    /// The section called `name`.
    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    fn value(&self, name: &str) -> Option<&Value> {
        let found = self.values.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value)
    }

    /// The number called `name`.
    pub(super) fn number(&self, name: &str) -> Result<u64, String> {
        match self.value(name) {
            Some(Value::Number(number)) => u64::try_from(*number).ok(),
            _ => None,
        }
        .ok_or_else(|| format!("{} has no number {name} in the LVM metadata", self.shown()))
    }

    /// The text called `name`.
    pub(super) fn text(&self, name: &str) -> Result<&str, String> {
        match self.value(name) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(format!(
                "{} has no text {name} in the LVM metadata",
                self.shown()
            )),
        }
    }

    /// The list called `name`; empty when there is none.
    pub(super) fn list(&self, name: &str) -> &[Value] {
        match self.value(name) {
            Some(Value::List(list)) => list,
            _ => &[],
        }
    }

    /// Whether the list called `name` has this text in it.
    pub(super) fn lists(&self, name: &str, text: &str) -> bool {
        let is = |value: &Value| matches!(value, Value::Text(found) if found == text);
        self.list(name).iter().any(is)
    }

    fn shown(&self) -> String {
        crate::text::printable(&self.name)
    }
}

/// The sections of `text`, as one without a name.
///
/// # Errors
/// The text is not well-formed, or nested too deeply.
pub(super) fn parse(text: &[u8]) -> Result<Section, String> {
    let end = text.iter().position(|byte| *byte == 0);
    let mut reader = Reader {
        rest: text.get(..end.unwrap_or(text.len())).unwrap_or_default(),
        line: 1,
    };
    let mut open = vec![Section::default()];
    loop {
        reader.skip_blanks();
        if reader.take(b"}") {
            let (Some(section), Some(parent)) = (open.pop(), open.last_mut()) else {
                return reader.unexpected("}");
            };
            parent.sections.push(section);
            continue;
        }
        if reader.rest.is_empty() {
            break;
        }
        let name = reader.name()?;
        reader.skip_blanks();
        if reader.take(b"{") {
            if open.len() > MAX_DEPTH {
                return reader.unexpected("another level of sections");
            }
            open.push(Section {
                name,
                ..Section::default()
            });
        } else if reader.take(b"=") {
            let value = reader.value()?;
            if let Some(section) = open.last_mut() {
                section.values.push((name, value));
            }
        } else {
            return reader.unexpected("a name alone");
        }
    }
    match (open.pop(), open.is_empty()) {
        (Some(top), true) => Ok(top),
        _ => reader.unexpected("the end"),
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    line: u32,
}

impl<'a> Reader<'a> {
    fn unexpected<T>(&self, what: &str) -> Result<T, String> {
        Err(format!(
            "line {} of the LVM metadata: unexpected {what}",
            self.line
        ))
    }

    fn skip_blanks(&mut self) {
        while let Some((&byte, rest)) = self.rest.split_first() {
            match byte {
                b'\n' => self.line = self.line.saturating_add(1),
                b' ' | b'\t' | b'\r' => {}
                b'#' => {
                    let end = self.rest.iter().position(|byte| *byte == b'\n');
                    let end = end.unwrap_or(self.rest.len());
                    self.rest = self.rest.get(end..).unwrap_or_default();
                    continue;
                }
                _ => return,
            }
            self.rest = rest;
        }
    }

    fn take(&mut self, mark: &[u8]) -> bool {
        match self.rest.strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn while_in(&mut self, is: fn(u8) -> bool) -> &'a [u8] {
        let length = self.rest.iter().take_while(|byte| is(**byte)).count();
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or_default();
        self.rest = rest;
        taken
    }

    fn name(&mut self) -> Result<String, String> {
        let name = self.while_in(|byte| byte.is_ascii_alphanumeric() || b"._+-@".contains(&byte));
        match name.len() {
            1..=MAX_NAME => Ok(String::from_utf8_lossy(name).into_owned()),
            0 => self.unexpected("character in place of a name"),
            _ => self.unexpected("length of a name"),
        }
    }

    /// A value; lists have no lists in them.
    fn value(&mut self) -> Result<Value, String> {
        self.skip_blanks();
        if !self.take(b"[") {
            return self.scalar();
        }
        let mut list = Vec::new();
        loop {
            self.skip_blanks();
            if self.take(b"]") {
                return Ok(Value::List(list));
            }
            if self.take(b",") {
                continue;
            }
            list.push(self.scalar()?);
        }
    }

    fn scalar(&mut self) -> Result<Value, String> {
        if self.take(b"\"") {
            return self.quoted();
        }
        let word = self.while_in(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        let word = std::str::from_utf8(word).unwrap_or_default();
        match (word.parse(), word.parse::<f64>()) {
            (Ok(number), _) => Ok(Value::Number(number)),
            (Err(_), Ok(_)) => Ok(Value::Fraction),
            _ => self.unexpected("character in place of a value"),
        }
    }

    fn quoted(&mut self) -> Result<Value, String> {
        let mut text = Vec::new();
        loop {
            match self.rest.split_first() {
                None => return self.unexpected("end of a text"),
                Some((b'"', rest)) => {
                    self.rest = rest;
                    return Ok(Value::Text(String::from_utf8_lossy(&text).into_owned()));
                }
                Some((b'\\', [escaped, rest @ ..])) => {
                    text.push(*escaped);
                    self.rest = rest;
                }
                Some((byte, rest)) => {
                    text.push(*byte);
                    self.rest = rest;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_values_and_comments_are_read() {
        let text = br#"
            # by hand
            vg-1 { id = "a\"b\\" # the id
                seqno = 4
                factor = 1.5
                status = ["READ", "WRITE",
                          -1]
                empty = []
                inner { x = 1 } }
            contents = "Text"
        "#;
        let top = parse(text).unwrap();
        assert_eq!(top.text("contents").unwrap(), "Text");
        let group = top.section("vg-1").unwrap();
        assert_eq!(group.text("id").unwrap(), "a\"b\\");
        assert_eq!(group.number("seqno").unwrap(), 4);
        assert!(group.lists("status", "WRITE") && !group.lists("status", "x"));
        assert!(group.number("id").is_err() && group.number("status").is_err());
        assert_eq!(group.section("inner").unwrap().number("x").unwrap(), 1);
        assert!(group.list("empty").is_empty());
    }

    #[test]
    fn the_text_ends_at_the_first_zero() {
        assert!(parse(b"a = 1\n\0}}}").unwrap().number("a").is_ok());
    }

    #[test]
    fn text_that_is_not_well_formed_is_refused_with_its_line() {
        for text in [
            "}",
            "a {",
            "a",
            "a = ",
            "a = [1",
            "a = \"x",
            "= 1",
            "a = x",
            "a = [[1]]",
        ] {
            let error = parse(format!("\n{text}").as_bytes()).unwrap_err();
            assert!(error.starts_with("line 2 "), "{text}: {error}");
        }
        assert!(parse(format!("{} = 1", "n".repeat(129)).as_bytes()).is_err());
    }

    #[test]
    fn deep_nesting_is_refused() {
        let nested = |depth: usize| format!("{}{}", "a {".repeat(depth), "}".repeat(depth));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(parse(nested(MAX_DEPTH + 1).as_bytes()).is_err());
        assert!(parse("a {".repeat(300_000).as_bytes()).is_err());
    }
}
