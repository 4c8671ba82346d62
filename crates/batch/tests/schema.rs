//! The published schema is what the parser reads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::path::Path;

#[test]
fn the_published_schema_is_the_parsers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/batch.schema.json");
    let expected = batch::schema::text();
    if std::env::var_os("IMGFERRY_WRITE_SCHEMA").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        found, expected,
        "IMGFERRY_WRITE_SCHEMA=1 cargo test -p batch --test schema writes docs/batch.schema.json anew"
    );
}
