//! The page of the manual that is made of the rules.

#![allow(missing_docs)]

use std::path::Path;

#[test]
fn the_page_of_the_manual_has_the_rules_as_they_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guest.md");
    let page = guest::rules_page();
    if std::env::var_os("SNAPSHOTS").is_some_and(|how| how == "overwrite") {
        std::fs::write(&path, &page).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == page,
        "docs/guest.md is out of date; write it with: \
         SNAPSHOTS=overwrite cargo test -p guest --test page"
    );
}
