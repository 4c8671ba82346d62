//! What Windows lies on, for what is not in its own file system.

use std::rc::Rc;

use diskimg::partitions::PartitionTable;

use crate::tree::Tree;
use crate::volume::Volume;

pub(crate) struct Disk<'a> {
    pub(crate) volumes: &'a [Volume],
    /// The file systems of `volumes`, where they could be opened.
    pub(crate) trees: &'a [Option<Rc<dyn Tree>>],
    /// Index of the volume with Windows.
    pub(crate) root: usize,
    pub(crate) table: Option<&'a PartitionTable>,
}
