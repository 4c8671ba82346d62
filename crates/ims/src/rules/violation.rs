//! What breaks a rule, and what is checked beside the request itself.

use super::catalog::Rule;

/// A broken rule: the service would refuse the import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule that is broken.
    pub rule: &'static Rule,
    /// The field, by its name in [`QuickImport`](crate::QuickImport); `virtual_size` for the disk
    /// itself.
    pub field: &'static str,
    /// The code that the service answers with, where it is documented.
    pub code: Option<&'static str>,
    /// Found and expected.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// Something that some regions or releases refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The rule that some hold.
    pub rule: &'static Rule,
    /// The field, as in [`Violation::field`].
    pub field: &'static str,
    /// What may go wrong.
    pub message: String,
}

/// A file that the service converts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommonFile {
    /// Bytes of the file.
    pub size: u64,
    /// Bytes of the disk inside, where they are known.
    pub virtual_size: Option<u64>,
    /// Whether it is an installation medium.
    pub iso: bool,
}
