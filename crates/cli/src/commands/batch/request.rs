//! From an item of a manifest to the arguments that `imgferry import` would be given.

use ::batch::item as wanted;
use ::convert::Level;
use diskimg::Format;

use crate::args::{
    Arch, BackingArgs, BatchCommonArgs, Boot, CloudArgs, HolesArgs, HolesMode, ImageType,
    ImportArgs, OsFamily, PaceArgs, PipeArgs, RawImportArgs, RegisterArgs, RegisterBy, ShareArgs,
    SourceArgs, StateArgs, TargetFormat, ThreadArgs, VhdArgs, VhdBitmap, WorkArgs,
};

/// Key of the object that is made of `item`: where the manifest gives none, it depends on what is
/// uploaded.
pub(super) fn object_key(item: &::batch::Item) -> String {
    match arguments(item, &BatchCommonArgs::default(), 1) {
        Ok(args) => crate::commands::import::object_key(&args),
        // It is refused later.
        Err(_) => item.object_key(),
    }
}

/// The arguments for `item`. Memory is granted later.
///
/// # Errors
/// What of the item this version does not know.
pub(super) fn arguments(
    item: &::batch::Item,
    common: &BatchCommonArgs,
    threads: usize,
) -> Result<ImportArgs, Vec<String>> {
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
    Ok(ImportArgs {
        disk: item.source.clone(),
        name: item.name.clone(),
        bucket: item.bucket.clone(),
        key: item.key.clone(),
        os_version: item.os_version.clone(),
        kind: match item.kind {
            wanted::Kind::Ecs => ImageType::Ecs,
            wanted::Kind::Bms => ImageType::Bms,
            wanted::Kind::DataImage => ImageType::DataImage,
        },
        os_type: item.os_type.map(|family| match family {
            wanted::OsFamily::Linux => OsFamily::Linux,
            wanted::OsFamily::Windows => OsFamily::Windows,
        }),
        min_disk: item.min_disk,
        architecture: item.architecture.map(|architecture| match architecture {
            wanted::Architecture::X86 => Arch::X86,
            wanted::Architecture::Arm => Arch::Arm,
        }),
        firmware: item.firmware.map(|firmware| match firmware {
            wanted::Firmware::Bios => Boot::Bios,
            wanted::Firmware::Uefi => Boot::Uefi,
        }),
        tags: item.tags.clone(),
        description: item.description.clone(),
        enterprise_project_id: item.enterprise_project_id.clone(),
        skip_check: item.skip_check.clone(),
        registering: RegisterArgs {
            register: match item.register {
                wanted::Register::Auto => RegisterBy::Auto,
                wanted::Register::Quick => RegisterBy::Quick,
                wanted::Register::Common => RegisterBy::Common,
                wanted::Register::Glance => RegisterBy::Glance,
                wanted::Register::None => RegisterBy::None,
            },
            prepare: item.prepare,
            cmk_id: item.cmk_id.clone(),
            data_disks: Vec::new(),
        },
        force: item.force,
        no_wait: false,
        wait: true,
        timeout: common.timeout,
        dry_run: false,
        restart: false,
        state: StateArgs {
            state_dir: common.state.state_dir.clone(),
        },
        raw: RawImportArgs {
            to: match item.to {
                wanted::Target::Zvhd2 => TargetFormat::Zvhd2,
                wanted::Target::Raw => TargetFormat::Raw,
            },
            bitmap: None,
            bitmap_command: None,
            holes: HolesArgs {
                holes: match item.holes {
                    wanted::Holes::Trust => HolesMode::Trust,
                    wanted::Holes::Verify => HolesMode::Verify,
                },
            },
        },
        source: SourceArgs {
            format: source_format,
            snapshot: item.snapshot.clone(),
            backing: BackingArgs {
                allow_backing: item.allow_backing.clone(),
                backing_format,
            },
            vhd: VhdArgs {
                vhd_bitmap: match item.vhd_bitmap {
                    Some(wanted::VhdBitmap::Ignore) => VhdBitmap::Ignore,
                    Some(wanted::VhdBitmap::Honor) | None => VhdBitmap::Honor,
                },
            },
            share: ShareArgs::default(),
        },
        pipe: PipeArgs { size: None },
        work: WorkArgs {
            threads: ThreadArgs {
                threads: Some(threads),
            },
            level: match item.level {
                None => Level::default(),
                Some(wanted::Level::Fixed(level)) => Level::Fixed(level),
                Some(wanted::Level::Auto) => Level::Auto,
            },
            memory: None,
        },
        pace: PaceArgs {
            concurrency: common.concurrency,
            // The client that all share keeps to the limit.
            limit_rate: None,
        },
        cloud: CloudArgs {
            // Journals are named by where the bucket is.
            sandbox: common.cloud.sandbox.clone(),
            ..CloudArgs::default()
        },
    })
}
