//! The rules that refuse before anything is uploaded.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

mod common;

use common::import;
use ims::{Architecture, Firmware, ImageKind, LicenseType, OsType, QuickImport, min_disk_gib};

const GIB: u64 = 1 << 30;

/// Fields and codes of the broken rules.
fn broken(import: &QuickImport) -> Vec<(&'static str, Option<&'static str>)> {
    import
        .violations(40 * GIB)
        .iter()
        .inspect(|v| assert!(!v.message.is_empty() && !v.hint.is_empty()))
        .map(|v| (v.field, v.code))
        .collect()
}

fn with(change: impl FnOnce(&mut QuickImport)) -> QuickImport {
    let mut import = import();
    change(&mut import);
    import
}

#[test]
fn the_documented_examples_break_no_rule() {
    let system = with(|i| {
        i.description = Some("Create an image using a file in the OBS bucket.".into());
        i.tags = vec![
            ("key2".into(), "value2".into()),
            ("key1".into(), "value1".into()),
        ];
    });
    assert_eq!(broken(&system), []);
    assert_eq!(system.warnings(), []);
    let data = with(|i| {
        i.kind = ImageKind::DataImage;
        i.os_version = None;
        i.os_type = Some(OsType::Linux);
    });
    assert_eq!(broken(&data), []);
    assert_eq!(data.warnings(), []);
}

#[test]
fn names_follow_the_documented_form() {
    for good in ["a", "a b", "A-1_2.3", &"x".repeat(128)] {
        assert_eq!(broken(&with(|i| i.name = good.to_owned())), [], "{good}");
    }
    for (bad, code) in [
        ("", "IMG.0003"),
        (" a", "IMG.0003"),
        ("a ", "IMG.0003"),
        ("a/b", "IMG.0003"),
        ("a\nb", "IMG.0003"),
        ("a:b", "IMG.0003"),
        ("party\u{1f389}", "IMG.0003"),
        (&"x".repeat(129), "IMG.0002"),
    ] {
        let import = with(|i| i.name = bad.to_owned());
        assert_eq!(broken(&import), [("name", Some(code))], "{bad:?}");
    }
    let chinese = with(|i| i.name = "镜像-é".into());
    assert_eq!(broken(&chinese), []);
    assert_eq!(chinese.warnings()[0].field, "name");
}

#[test]
fn keys_and_buckets_are_held_against_what_the_service_names() {
    let key = |key: &str| with(|i| i.image_url.key = key.to_owned());
    for good in ["disk.zvhd2", "folder/sub/disk.zvhd2", &"k".repeat(1024)] {
        assert_eq!(broken(&key(good)), [], "{good}");
    }
    for (bad, code) in [
        ("", "IMG.0017"),
        ("my disk.zvhd2", "IMG.0175"),
        ("my folder/disk.zvhd2", "IMG.0175"),
        ("a\tb", "IMG.0175"),
        (&"k".repeat(1025), "IMG.0074"),
    ] {
        assert_eq!(
            broken(&key(bad)),
            [("image_url.key", Some(code))],
            "{bad:?}"
        );
    }
    assert_eq!(key("a/b+c.zvhd2").warnings()[0].field, "image_url.key");
    assert_eq!(key(&"k".repeat(129)).warnings().len(), 1);

    for (bad, code) in [
        ("", "IMG.0068"),
        ("ab", "IMG.0109"),
        ("Upper", "IMG.0109"),
        ("under_score", "IMG.0109"),
        ("a:b", "IMG.0109"),
    ] {
        let import = with(|i| i.image_url.bucket = bad.to_owned());
        assert_eq!(
            broken(&import),
            [("image_url.bucket", Some(code))],
            "{bad:?}"
        );
    }
}

#[test]
fn the_minimum_disk_holds_the_virtual_disk_and_stays_in_range() {
    assert_eq!(min_disk_gib(0), 1);
    assert_eq!(min_disk_gib(GIB), 1);
    assert_eq!(min_disk_gib(GIB + 1), 2);
    assert_eq!(
        min_disk_gib(2_147_991_552),
        3,
        "a 2 GB disk after rounding by geometry"
    );
    assert_eq!(min_disk_gib(u64::MAX), 1 << 34);

    let check = |min_disk, virtual_size, kind| -> Vec<&'static str> {
        let import = with(|i| {
            i.min_disk = min_disk;
            i.kind = kind;
            if kind == ImageKind::DataImage {
                i.os_version = None;
            }
        });
        let violations = import.violations(virtual_size);
        violations.iter().map(|v| v.field).collect()
    };
    let none: Vec<&str> = Vec::new();
    assert_eq!(
        check(40, 40 * GIB, ImageKind::Ecs),
        none,
        "an exact multiple"
    );
    assert_eq!(check(40, 40 * GIB + 512, ImageKind::Ecs), ["min_disk"]);
    assert_eq!(check(0, 0, ImageKind::Ecs), ["min_disk", "min_disk"]);
    assert_eq!(check(1024, 1024 * GIB, ImageKind::Bms), none);
    assert_eq!(check(1025, GIB, ImageKind::Ecs), ["min_disk"]);
    assert_eq!(check(2048, GIB, ImageKind::DataImage), none);
    assert_eq!(check(2049, GIB, ImageKind::DataImage), ["min_disk"]);
    assert_eq!(
        check(1024, 1024 * GIB + 512, ImageKind::Ecs),
        ["virtual_size", "min_disk"]
    );
}

#[test]
fn system_images_name_their_system_and_data_images_do_not() {
    for os in [None, Some(String::new()), Some(" ".into())] {
        let import = with(|i| i.os_version = os);
        assert_eq!(broken(&import), [("os_version", Some("IMG.0159"))]);
    }
    assert_eq!(
        broken(&with(|i| i.os_type = Some(OsType::Linux))),
        [("os_type", None)]
    );
    let data = with(|i| {
        i.kind = ImageKind::DataImage;
        i.architecture = Some(Architecture::X86);
        i.firmware = Some(Firmware::Uefi);
        i.license_type = Some(LicenseType::Byol);
    });
    let fields: Vec<_> = broken(&data).into_iter().map(|(field, _)| field).collect();
    assert_eq!(
        fields,
        ["os_version", "architecture", "firmware", "license_type"]
    );
}

#[test]
fn arm_boots_by_uefi_only() {
    let boots = |architecture, firmware| {
        broken(&with(|i| {
            i.architecture = architecture;
            i.firmware = firmware;
        }))
    };
    use Architecture::{Arm, X86};
    use Firmware::{Bios, Uefi};
    assert_eq!(
        boots(Some(Arm), Some(Bios)),
        [("firmware", Some("IMG.0141"))]
    );
    for (architecture, firmware) in [
        (Some(Arm), Some(Uefi)),
        (Some(Arm), None),
        (Some(X86), Some(Bios)),
        (Some(X86), Some(Uefi)),
        (None, Some(Bios)),
    ] {
        assert_eq!(boots(architecture, firmware), []);
    }
}

#[test]
fn descriptions_are_one_line_of_1024_characters() {
    let text = |text: String| broken(&with(|i| i.description = Some(text)));
    assert_eq!(text(String::new()), []);
    assert_eq!(text("é".repeat(1024)), []);
    assert_eq!(text("x".repeat(1025)), [("description", Some("IMG.0004"))]);
    for bad in ["a\nb", "a\rb", "a<b", "a>b"] {
        assert_eq!(
            text(bad.into()),
            [("description", Some("IMG.0054"))],
            "{bad:?}"
        );
    }
}

#[test]
fn tags_follow_the_documented_form() {
    let tags = |tags: &[(&str, &str)]| {
        let tags = tags
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        broken(&with(|i| i.tags = tags))
    };
    let many: Vec<String> = (0..11).map(|n| format!("k{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|k| (k.as_str(), "")).collect();
    assert_eq!(tags(&many[..10]), []);
    assert_eq!(tags(&many), [("tags", Some("IMG.0116"))]);
    assert_eq!(tags(&[(&"k".repeat(36), &"v".repeat(43))]), []);
    assert_eq!(tags(&[("环境", "a b.c")]), []);
    for bad in [
        (&*"k".repeat(37), "v"),
        ("k", &*"v".repeat(44)),
        ("", "v"),
        ("a=b", "v"),
        ("k", "a/b"),
        ("k", "a,b"),
        (" k", "v"),
        ("k", "v "),
    ] {
        assert_eq!(tags(&[bad]), [("tags", Some("IMG.0115"))], "{bad:?}");
    }
    assert_eq!(
        tags(&[("k", "1"), ("k", "2")]),
        [("tags", Some("IMG.0115"))]
    );
}

#[test]
fn small_system_disks_and_odd_licences_are_warned_of() {
    let warned = |import: &QuickImport| -> Vec<&'static str> {
        import.warnings().iter().map(|w| w.field).collect()
    };
    let none: Vec<&str> = Vec::new();
    assert_eq!(warned(&with(|i| i.min_disk = 9)), ["min_disk"]);
    assert_eq!(warned(&with(|i| i.min_disk = 10)), none);
    let windows = |min_disk| {
        with(|i| {
            i.min_disk = min_disk;
            i.os_version = Some("Windows Server 2016 Standard 64bit".into());
            i.license_type = Some(LicenseType::Byol);
        })
    };
    assert_eq!(warned(&windows(19)), ["min_disk"]);
    assert_eq!(warned(&windows(20)), none);
    assert_eq!(
        warned(&with(|i| i.license_type = Some(LicenseType::Platform))),
        ["license_type"]
    );
}

#[test]
fn all_broken_rules_are_reported_at_once() {
    let import = with(|i| {
        i.name = String::new();
        i.os_version = None;
        i.min_disk = 5;
        i.image_url.key = "a b".into();
    });
    assert_eq!(broken(&import).len(), 4);
}

#[test]
fn every_rule_has_a_name_a_source_and_a_place_in_the_documents() {
    use ims::rules::{Level, RULES, rule, skippable};
    let documents = include_str!("../../../docs/ims.md");
    for found in RULES {
        assert!(
            std::ptr::eq(rule(found.id).unwrap(), *found),
            "{}",
            found.id
        );
        assert!(!found.text.is_empty() && !found.source.is_empty());
        assert!(
            documents.contains(&format!("| `{}` |", found.id)),
            "{}",
            found.id
        );
        if let Some(code) = found.code {
            assert!(code.starts_with("IMG.") && code.len() == 8, "{code}");
            assert!(documents.contains(code), "{code}");
        }
        assert_eq!(
            skippable().any(|id| id == found.id),
            found.level == Level::Skippable
        );
    }
}

#[test]
fn a_violation_names_its_rule_and_has_its_code() {
    let import = with(|i| {
        i.name = " a".into();
        i.image_url.key = "a b".into();
        i.tags = vec![("k".repeat(37), String::new())];
    });
    let found: Vec<_> = import.violations(0).iter().map(|v| v.rule.id).collect();
    assert_eq!(found, ["name-spaces", "key-spaces", "tag-length"]);
    for violation in import.violations(0) {
        assert_eq!(violation.code, violation.rule.code);
    }
}

#[test]
fn minimum_disks_follow_the_cloud() {
    use ims::Cloud;
    let data = with(|i| {
        i.kind = ImageKind::DataImage;
        i.os_version = None;
        i.min_disk = 2000;
    });
    assert_eq!(data.violations_on(0, None), []);
    assert_eq!(data.violations_on(0, Some(Cloud::Otc)), []);
    let refused = data.violations_on(0, Some(Cloud::FlexibleEngine));
    assert_eq!(refused[0].rule.id, "min-disk-range");
    // What is usual differs too.
    let small = with(|i| i.min_disk = 20);
    assert_eq!(small.warnings_on(Some(Cloud::FlexibleEngine)), []);
    assert_eq!(small.warnings_on(None), []);
    let warned = small.warnings_on(Some(Cloud::Huawei));
    assert_eq!(warned[0].rule.id, "min-disk-usual");
}

#[test]
fn a_file_that_the_service_converts_has_limits_of_its_own() {
    use ims::rules::CommonFile;
    let broken = |import: &QuickImport, size: u64, disk: Option<u64>, iso: bool| {
        let file = CommonFile {
            size,
            virtual_size: disk,
            iso,
        };
        let list = import.common_violations_on(&file, None);
        list.iter().map(|v| (v.field, v.code)).collect::<Vec<_>>()
    };
    // The service finds the system itself, except on installation media.
    let unnamed = with(|i| i.os_version = None);
    assert_eq!(broken(&unnamed, 128 * GIB, Some(40 * GIB), false), []);
    assert_eq!(
        broken(&unnamed, GIB, Some(GIB), true),
        [("os_version", Some("IMG.0166"))]
    );
    assert_eq!(
        broken(&unnamed, 128 * GIB + 1, None, false),
        [("file", Some("IMG.0059"))]
    );
    assert_eq!(
        broken(&unnamed, GIB, Some(41 * GIB), false),
        [("min_disk", Some("IMG.0055"))]
    );
    // 1 TiB is a limit of quick import only.
    let data = with(|i| {
        i.kind = ImageKind::DataImage;
        i.os_version = None;
        i.min_disk = 2048;
    });
    assert_eq!(broken(&data, GIB, Some(2048 * GIB), false), []);
    assert_eq!(data.violations(2048 * GIB)[0].rule.id, "virtual-size");
}
