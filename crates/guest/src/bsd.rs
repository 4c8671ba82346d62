//! Systems whose file systems are not read: what the partition table tells of them.

use diskimg::partitions::PartitionTable;

use crate::{Evidence, Os};

/// FreeBSD, by the types of its partitions.
pub(crate) fn identify(table: &PartitionTable) -> Option<Os> {
    let partition = table
        .entries
        .iter()
        .find(|partition| partition.kind.starts_with("FreeBSD"))?;
    Some(Os {
        kind: "Other".to_owned(),
        id: "freebsd".to_owned(),
        name: Some("FreeBSD".to_owned()),
        evidence: vec![Evidence {
            path: format!("partition {}", partition.number),
            key: "type".to_owned(),
            value: partition.kind.to_owned(),
        }],
        ..Os::default()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use diskimg::{MemorySource, RawImage, partitions};

    use super::*;

    /// A disk with one partition of type `kind`.
    fn table(kind: u8) -> PartitionTable {
        let mut bytes = vec![0; 1 << 20];
        bytes[446 + 4] = kind;
        bytes[446 + 8] = 1;
        bytes[446 + 12] = 100;
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        let image = RawImage::open(Arc::new(MemorySource(bytes))).unwrap();
        partitions::read(&image).unwrap()
    }

    #[test]
    fn freebsd_is_told_by_its_partition() {
        let os = identify(&table(0xa5)).unwrap();
        assert_eq!((os.id.as_str(), os.kind.as_str()), ("freebsd", "Other"));
        assert_eq!(os.evidence[0].path, "partition 1");
        assert_eq!(identify(&table(0x83)), None);
    }
}
