//! From an item of a manifest to what is imported.

use batch::item as wanted;
use convert::{Level, PlanOptions, Target};
use diskimg::{BackingPolicy, Format, OpenOptions};
use ims::{Architecture, Firmware, ImageKind, OsType};

use import::{IfExists, ImportSpec, Register, SourceDisk, Warm};

/// What is imported of `item`.
///
/// # Errors
/// What of the item this version does not know.
pub(crate) fn import_of(item: &batch::Item) -> Result<ImportSpec, Vec<String>> {
    let mut problems = Vec::new();
    let mut format = |name: &'static str, text: &Option<String>| -> Option<Format> {
        let text = text.as_deref()?;
        match text.parse() {
            Ok(format) => Some(format),
            Err(error) => {
                problems.push(format!("{name}: {error}"));
                None
            }
        }
    };
    let (source_format, backing_format) = (
        format("format", &item.format),
        format("backing_format", &item.backing_format),
    );
    let known: Vec<&str> = ims::rules::skippable().collect();
    for check in &item.skip_check {
        if !known.contains(&check.as_str()) {
            problems.push(format!(
                "skip_check: there is no check {check:?} that can be skipped; there are {}",
                known.join(", ")
            ));
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(ImportSpec {
        open: OpenOptions {
            format: source_format,
            snapshot: item.snapshot.clone(),
            backing: match &item.allow_backing {
                Some(dir) => BackingPolicy::Inside(dir.clone()),
                None => BackingPolicy::Refuse,
            },
            backing_format,
            ignore_vhd_bitmaps: item.vhd_bitmap == Some(wanted::VhdBitmap::Ignore),
            ..OpenOptions::default()
        },
        verify_holes: item.holes == wanted::Holes::Verify,
        discard_free: item.discard_free.then_some(freespace::Options {
            swap: item.discard_swap,
        }),
        key: item.key.clone(),
        if_exists: match item.if_exists {
            wanted::IfExists::Adopt => IfExists::Adopt,
            wanted::IfExists::Fail => IfExists::Fail,
            wanted::IfExists::Skip => IfExists::Skip,
            wanted::IfExists::Replace => IfExists::Replace,
        },
        target: match item.to {
            wanted::Target::Zvhd2 => Target::Zvhd2,
            wanted::Target::Raw => Target::Raw,
        },
        kind: match item.kind {
            wanted::Kind::Ecs => ImageKind::Ecs,
            wanted::Kind::Bms => ImageKind::Bms,
            wanted::Kind::DataImage => ImageKind::DataImage,
        },
        os_version: item.os_version.clone(),
        os_type: item.os_type.map(|family| match family {
            wanted::OsFamily::Linux => OsType::Linux,
            wanted::OsFamily::Windows => OsType::Windows,
        }),
        min_disk: item.min_disk,
        architecture: item.architecture.map(|architecture| match architecture {
            wanted::Architecture::X86 => Architecture::X86,
            wanted::Architecture::Arm => Architecture::Arm,
        }),
        firmware: item.firmware.map(|firmware| match firmware {
            wanted::Firmware::Bios => Firmware::Bios,
            wanted::Firmware::Uefi => Firmware::Uefi,
        }),
        tags: item.tags.clone(),
        description: item.description.clone(),
        enterprise_project_id: item.enterprise_project_id.clone(),
        register: match item.register {
            wanted::Register::Auto => Register::Auto,
            wanted::Register::Quick => Register::Quick,
            wanted::Register::Common => Register::Common,
            wanted::Register::Glance => Register::Glance,
            wanted::Register::None => Register::None,
        },
        base: item.base.clone(),
        warm: item.warm.then_some(Warm {
            cutover: false,
            keep: Warm::KEEP,
        }),
        prepare: item.prepare,
        cmk_id: item.cmk_id.clone(),
        skip_checks: item.skip_check.clone(),
        work: PlanOptions {
            level: match item.level {
                None => Level::default(),
                Some(wanted::Level::Fixed(level)) => Level::Fixed(level),
                Some(wanted::Level::Auto) => Level::Auto,
            },
            ..PlanOptions::default()
        },
        ignore_manifest: item.ignore_manifest,
        ..ImportSpec::new(
            SourceDisk::in_package(&item.source, item.disk.clone()),
            &item.name,
            &item.bucket,
        )
    })
}
