//! A tree in memory, for tests of collectors.

use std::collections::BTreeMap;

use super::{Entry, Kind, Result, Stat, Tree, TreeError};

#[derive(Clone, Debug)]
enum Node {
    Directory,
    File(Vec<u8>),
    Link(Vec<u8>),
    Broken,
}

/// Files by path; their directories are made with them.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemoryTree {
    nodes: BTreeMap<Vec<u8>, Node>,
    ignores_case: bool,
}

impl MemoryTree {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A tree whose names are equal without regard to case.
    pub(crate) fn without_case() -> Self {
        Self {
            ignores_case: true,
            ..Self::default()
        }
    }

    fn with(mut self, path: &str, node: Node) -> Self {
        let mut parent = path;
        while let Some((above, _)) = parent.rsplit_once('/') {
            self.nodes
                .entry(self.key(above.as_bytes()))
                .or_insert(Node::Directory);
            parent = above;
        }
        self.nodes.insert(self.key(path.as_bytes()), node);
        self
    }

    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.with(path, Node::File(content.as_ref().to_vec()))
    }

    pub(crate) fn directory(self, path: &str) -> Self {
        self.with(path, Node::Directory)
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.with(path, Node::Link(target.as_bytes().to_vec()))
    }

    /// A file that cannot be read.
    pub(crate) fn broken(self, path: &str) -> Self {
        self.with(path, Node::Broken)
    }

    fn key(&self, path: &[u8]) -> Vec<u8> {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        if self.ignores_case {
            path.to_ascii_lowercase()
        } else {
            path.to_vec()
        }
    }

    fn node(&self, path: &[u8]) -> Option<&Node> {
        match self.key(path) {
            root if root.is_empty() => Some(&Node::Directory),
            path => self.nodes.get(&path),
        }
    }
}

impl Tree for MemoryTree {
    fn stat(&self, path: &[u8]) -> Result<Option<Stat>> {
        Ok(self.node(path).map(|node| Stat {
            kind: kind(node),
            size: match node {
                Node::File(content) => content.len() as u64,
                Node::Broken => 1,
                Node::Directory | Node::Link(_) => 0,
            },
            mode: 0o644,
        }))
    }

    fn read_at(&self, path: &[u8], at: u64, buf: &mut [u8]) -> Result<usize> {
        let Some(Node::File(content)) = self.node(path) else {
            return Err(TreeError("not a readable file".into()));
        };
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let rest = content.get(at..).unwrap_or_default();
        let read = rest.len().min(buf.len());
        buf[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn list(&self, path: &[u8]) -> Result<Vec<Entry>> {
        let mut prefix = self.key(path);
        prefix.push(b'/');
        Ok(self
            .nodes
            .iter()
            .filter_map(|(path, node)| {
                let name = path.strip_prefix(prefix.as_slice())?;
                (!name.is_empty() && !name.contains(&b'/')).then(|| Entry {
                    name: name.to_vec(),
                    kind: kind(node),
                })
            })
            .collect())
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>> {
        match self.node(path) {
            Some(Node::Link(target)) => Ok(target.clone()),
            _ => Err(TreeError("not a link".into())),
        }
    }

    fn ignores_case(&self) -> bool {
        self.ignores_case
    }
}

fn kind(node: &Node) -> Kind {
    match node {
        Node::Directory => Kind::Directory,
        Node::File(_) | Node::Broken => Kind::File,
        Node::Link(_) => Kind::Link,
    }
}
