//! Which volumes hold systems, and what each of these sees as its files.

/// A system on the disk, as reports name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct System {
    /// Index of the volume with its root.
    pub(crate) volume: usize,
    /// As in os-release; `windows`.
    pub(crate) id: String,
    pub(crate) version: Option<String>,
    /// Content of `/etc/machine-id`, when it is filled.
    pub(crate) machine_id: Option<Vec<u8>>,
}
