//! The rules by name, for everyone who prints or documents them.

/// Every rule that a file can break: its stable name, and what it asks. A rule whose name stands in
/// an error message or a [`diskimg::Finding`] is one of these.
pub const RULES: &[(&str, &str)] = &[
    ("cookie", "the file begins with the footer of its version"),
    (
        "last-footer",
        "the file is a number of whole pages and ends with the last footer",
    ),
    (
        "file-end",
        "what the file begins lies in the file, and nothing follows its last footer",
    ),
    ("checksum", "first and last footer have right checksums"),
    ("version", "zvhd2_version is 1, or 0 in version 1"),
    ("compression", "compress_method is 0 (zlib) or 1 (zstd)"),
    ("index-kind", "index_contains_zero_blk is 0 or 1"),
    (
        "virtual-size",
        "orig_size is a multiple of 512 above 0, at most 64 TiB",
    ),
    (
        "block-size",
        "block_size is a power of two from 1 to 32 MiB; a payload fits its data block",
    ),
    (
        "block-count",
        "max_blk_num is orig_size in blocks, rounded up",
    ),
    (
        "stored-count",
        "non_zero_blk_num is the number of stored blocks, at most 4 Mi",
    ),
    (
        "table-size",
        "index and bitmap have the sizes that follow from the block counts",
    ),
    (
        "table-place",
        "index and bitmap lie, page by page, between the data and the last footer",
    ),
    (
        "table-gap",
        "index, bitmap and last footer follow each other without gaps",
    ),
    (
        "footers-agree",
        "first and last footer describe the same disk",
    ),
    (
        "footer-field",
        "fixed and derived footer fields have their values",
    ),
    (
        "first-footer-totals",
        "the first footer has zeros where totals stand in the last",
    ),
    ("reserved", "reserved bytes of footer pages are zero"),
    (
        "footer-copy",
        "a footer stands between the last data block and the index",
    ),
    (
        "footer-copy-checksum",
        "the footer copy has a right checksum",
    ),
    (
        "footer-copy-totals",
        "the footer copy has the number of stored blocks",
    ),
    (
        "footer-copy-fields",
        "the footer copy is the first footer otherwise",
    ),
    ("index-number", "an index entry names a block of the disk"),
    ("index-order", "index entries ascend by block number"),
    (
        "index-len",
        "a data block is a number of whole pages, not much longer than a block",
    ),
    (
        "index-place",
        "a data block lies, page by page, between first footer and footer copy",
    ),
    (
        "index-overlap",
        "data blocks do not overlap and come in the order of the index",
    ),
    (
        "index-padding",
        "the last index segment is filled with zeros",
    ),
    ("bitmap", "the bitmap has the blocks that the index has"),
    ("block-gap", "data blocks follow each other without gaps"),
    (
        "block-header",
        "a data block begins with its magic and has a payload",
    ),
    (
        "block-number",
        "a data block is the one that the index says, and on the disk",
    ),
    ("block-order", "data blocks ascend by block number"),
    ("block-trailer", "a data block ends with its trailer"),
    ("payload", "a payload decodes to exactly one block"),
    ("block-reserved", "header bytes from 20 on are zero"),
    (
        "block-padding",
        "padding is zero and no longer than it must be",
    ),
    (
        "content-checksum",
        "a zstd frame carries a content checksum",
    ),
    ("one-frame", "a zstd payload is one frame"),
    ("zero-block", "blocks of zeros are not stored"),
    (
        "beyond-end",
        "the last block has zeros past the end of the disk",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_listed_once_and_documented() {
        let document = include_str!("../../../docs/format-zvhd2.md");
        for (position, (name, _)) in RULES.iter().enumerate() {
            let row = format!("| `{name}` |");
            assert_eq!(document.matches(&row).count(), 1, "{name}");
            assert!(!RULES[..position].iter().any(|(other, _)| other == name));
        }
    }
}
