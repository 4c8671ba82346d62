//! From the command line to the request that registers the image.

use ims::{Architecture, Firmware, ImageKind, ImageUrl, OsType, QuickImport};

use crate::args::{Arch, Boot, ImageType, ImportArgs, OsFamily, TargetFormat};

/// The request, with defaults from the disk: `min_disk` from its virtual size, the key from the
/// name.
pub(super) fn build(args: &ImportArgs, virtual_size: u64) -> QuickImport {
    let url = ImageUrl {
        bucket: args.bucket.clone(),
        key: key_of(args),
    };
    let min_disk = args
        .min_disk
        .unwrap_or_else(|| u32::try_from(ims::min_disk_gib(virtual_size)).unwrap_or(u32::MAX));
    let mut request = QuickImport::new(args.name.clone(), url, min_disk);
    request.os_version.clone_from(&args.os_version);
    request.os_type = args.os_type.map(|family| match family {
        OsFamily::Linux => OsType::Linux,
        OsFamily::Windows => OsType::Windows,
    });
    request.kind = match args.kind {
        ImageType::Ecs => ImageKind::Ecs,
        ImageType::Bms => ImageKind::Bms,
        ImageType::DataImage => ImageKind::DataImage,
    };
    request.description.clone_from(&args.description);
    request.tags.clone_from(&args.tags);
    request.architecture = args.architecture.map(|architecture| match architecture {
        Arch::X86 => Architecture::X86,
        Arch::Arm => Architecture::Arm,
    });
    request.firmware = args.firmware.map(|firmware| match firmware {
        Boot::Bios => Firmware::Bios,
        Boot::Uefi => Firmware::Uefi,
    });
    request.enterprise_project_id = args.enterprise_project_id.clone();
    request
}

/// The key that was given, or one made of the name.
pub(super) fn key_of(args: &ImportArgs) -> String {
    args.key
        .clone()
        .unwrap_or_else(|| default_key(&args.name, args.raw.to))
}

/// The name as a key: the service takes no spaces in keys, and names have no slashes.
fn default_key(name: &str, to: TargetFormat) -> String {
    let stem: String = name
        .chars()
        .map(|c| match c {
            c if c.is_alphanumeric() || matches!(c, '-' | '.' | '_') => c,
            _ => '-',
        })
        .collect();
    match to {
        TargetFormat::Zvhd2 => format!("{stem}.zvhd2"),
        TargetFormat::Raw => format!("{stem}.raw"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_makes_a_key_without() {
        let key = |to| default_key("web server 01", to);
        assert_eq!(key(TargetFormat::Zvhd2), "web-server-01.zvhd2");
        assert_eq!(key(TargetFormat::Raw), "web-server-01.raw");
    }
}
