#![allow(
    clippy::cast_possible_truncation,
    reason = "the hives of tests are small"
)]

use std::rc::Rc;

use super::*;
use crate::tree::memory::MemoryTree;
use crate::view::View;
use testkit::guest::hive::{Data, HiveBuilder, Lists};

fn open(bytes: Vec<u8>) -> Known<Hive> {
    let view = View::new(Rc::new(MemoryTree::new().file("/hive", bytes)), 0);
    Hive::open(view.open("/hive").unwrap().unwrap())
}

fn sample(lists: Lists) -> HiveBuilder {
    let mut builder = HiveBuilder::new();
    builder.lists = lists;
    (0..5)
        .fold(builder, |builder, number| {
            builder.key(&format!(r"Services\service{number}"))
        })
        .value(r"Services\viostor", "Start", Data::number(3))
        .value(r"Services\viostor", "Größe", Data::text("groß"))
        .value(
            r"Services\viostor",
            "Filters",
            Data::texts(&["partmgr", "x"]),
        )
        .value(r"Services\viostor", "", Data::bytes(&[7; 40_000]))
}

#[test]
fn keys_and_values_are_found_without_case_in_every_kind_of_list() {
    for lists in [Lists::Lh, Lists::Li, Lists::Ri] {
        let hive = open(sample(lists).build()).unwrap();
        assert!(hive.flushed);
        let key = hive.key(r"SERVICES\VioStor").unwrap().unwrap();
        assert_eq!(key.name, "viostor");
        assert_eq!(key.number("start").unwrap(), Some(3));
        assert_eq!(key.text("Größe").unwrap().as_deref(), Some("groß"));
        assert_eq!(key.texts("Filters").unwrap(), ["partmgr", "x"]);
        assert_eq!(key.value("").unwrap().unwrap().data, [7; 40_000]);
        assert_eq!(key.value("absent").unwrap(), None);
        assert_eq!(key.values().unwrap().len(), 4);
        assert!(hive.key(r"Services\absent\below").unwrap().is_none());
        let services = hive.key("Services").unwrap().unwrap();
        assert_eq!(services.keys().unwrap().len(), 6);
    }
}

#[test]
fn a_value_of_another_type_is_no_number_and_no_text() {
    let hive = open(sample(Lists::Lh).build()).unwrap();
    let key = hive.key(r"Services\viostor").unwrap().unwrap();
    assert_eq!(key.number("Filters").unwrap(), None);
    assert_eq!(key.text("Start").unwrap(), None);
    assert!(key.texts("Start").unwrap().is_empty());
}

#[test]
fn a_hive_with_changes_in_its_log_or_a_wrong_checksum_is_not_flushed() {
    assert!(!open(sample(Lists::Lh).dirty().build()).unwrap().flushed);
    let mut bytes = sample(Lists::Lh).build();
    bytes[508] ^= 1;
    assert!(!open(bytes).unwrap().flushed);
}

#[test]
fn other_files_and_other_versions_are_refused() {
    assert!(open(b"regf".to_vec()).is_err());
    assert!(open(vec![0; 8192]).is_err());
    let mut bytes = sample(Lists::Lh).build();
    bytes[24] = 7;
    assert!(open(bytes).is_err());
}

#[test]
fn a_path_deeper_than_any_is_refused() {
    let hive = open(HiveBuilder::new().key(&["a"; 20].join("\\")).build()).unwrap();
    assert!(hive.key(&["a"; 16].join("\\")).unwrap().is_some());
    assert!(hive.key(&["a"; 17].join("\\")).is_err());
}

#[test]
fn a_list_that_holds_itself_ends_with_an_error() {
    let mut bytes = sample(Lists::Ri).build();
    let at = bytes.windows(2).rposition(|two| two == b"ri").unwrap();
    let own = (at - 4096 - 4) as u32;
    bytes[at + 4..at + 8].copy_from_slice(&own.to_le_bytes());
    assert!(open(bytes).unwrap().key(r"Services\viostor").is_err());
}

/// Walks everything that the rules could ask for.
fn walk(hive: &Hive) -> Known<()> {
    for key in hive.key("Services")?.iter().flat_map(Key::keys).flatten() {
        key.values()?;
        key.keys()?;
    }
    hive.key(r"Services\viostor")?.map_or(Ok(()), |key| {
        key.value("")?;
        Ok(())
    })
}

#[test]
fn damaged_hives_end_with_an_error_or_a_value() {
    let seed = 0x5eed;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut errors = 0;
    for lists in [Lists::Lh, Lists::Li, Lists::Ri] {
        let clean = sample(lists).build();
        for _ in 0..1000 {
            let mut bytes = clean.clone();
            for _ in 0..random.usize(1..6) {
                // Most of the hive is one long value; aim at what has structure, too.
                let end = if random.bool() {
                    bytes.len()
                } else {
                    4096 + 1024
                };
                let at = random.usize(0..end);
                bytes[at] = match random.u8(0..3) {
                    0 => 0xff,
                    1 => 0,
                    _ => random.u8(..),
                };
            }
            if random.u8(0..8) == 0 {
                bytes.truncate(random.usize(0..clean.len()));
            }
            errors += u32::from(open(bytes).and_then(|hive| walk(&hive)).is_err());
        }
    }
    assert!(errors > 300, "seed {seed:#x}: {errors} errors");
}
