//! What values hold.

use super::bytes::utf16;

/// The data of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    kind: u32,
    pub(crate) data: Vec<u8>,
}

impl Value {
    pub(super) fn new(kind: u32, data: Vec<u8>) -> Self {
        Self { kind, data }
    }

    /// The value as a number, when it is one.
    pub(crate) fn number(&self) -> Option<u32> {
        let bytes = self.data.get(..4)?.try_into().ok()?;
        match self.kind {
            4 => Some(u32::from_le_bytes(bytes)),
            5 => Some(u32::from_be_bytes(bytes)),
            _ => None,
        }
    }

    /// The value as a text, when it is one.
    pub(crate) fn text(&self) -> Option<String> {
        matches!(self.kind, 1 | 2).then(|| {
            let text = utf16(&self.data);
            text.split('\0').next().unwrap_or_default().to_owned()
        })
    }

    /// The value as a list of texts; a single text is a list of one.
    pub(crate) fn texts(&self) -> Vec<String> {
        match self.kind {
            1 | 2 => self.text().into_iter().collect(),
            7 => utf16(&self.data)
                .split('\0')
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        }
    }
}
