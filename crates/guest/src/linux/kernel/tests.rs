use std::rc::Rc;

use super::*;
use crate::tree::memory::MemoryTree;

/// The head of an image for x86 that says it is `version`.
pub(crate) fn image(version: &str, wide: bool) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    bytes[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    bytes[0x20e..0x210].copy_from_slice(&0x400_u16.to_le_bytes());
    bytes[0x236] = u8::from(wide);
    let text = format!("{version} (builder@host) #1 SMP\0");
    bytes[0x600..0x600 + text.len()].copy_from_slice(text.as_bytes());
    bytes
}

fn collected(tree: MemoryTree, user: Option<&'static str>) -> Vec<Kernel> {
    collect(&View::new(Rc::new(tree), 0), None, user).unwrap()
}

#[test]
fn kernels_are_found_by_their_names_and_the_copies_in_lib_modules_are_none() {
    let tree = MemoryTree::new()
        .file("/boot/vmlinuz-6.1.0-9-amd64", image("6.1.0-9-amd64", false))
        .file(
            "/boot/vmlinuz-6.1.0-18-amd64",
            image("6.1.0-18-amd64", false),
        )
        .link("/boot/vmlinuz", "vmlinuz-6.1.0-18-amd64")
        .file("/boot/initrd.img-6.1.0-18-amd64", "")
        .file("/boot/vmlinuz-linux", image("6.6.1-arch1-1", true))
        .file("/boot/initramfs-linux.img", "")
        .file("/usr/lib/modules/6.1.0-9-amd64/vmlinuz", "")
        .file("/usr/lib/modules/6.9.0/vmlinuz", "");
    let kernels = collected(tree, Some("x86_64"));
    let found: Vec<_> = kernels
        .iter()
        .map(|kernel| {
            let version = kernel.version.as_deref().unwrap();
            let initramfs = kernel.initramfs.as_deref().map(String::from_utf8_lossy);
            (version, initramfs.unwrap_or_default().into_owned())
        })
        .collect();
    let initrd = "/boot/initrd.img-6.1.0-18-amd64".to_owned();
    assert_eq!(
        found,
        [
            ("6.1.0-18-amd64", initrd),
            ("6.1.0-9-amd64", String::new()),
            ("6.6.1-arch1-1", "/boot/initramfs-linux.img".to_owned()),
            ("6.9.0", String::new()),
        ]
    );
}

#[test]
fn the_kernels_processor_is_told_by_its_image_its_name_or_what_it_runs() {
    let arm = {
        let mut bytes = vec![0; 64];
        bytes[0x38..0x3c].copy_from_slice(b"ARM\x64");
        bytes
    };
    for (name, content, user, machine) in [
        ("vmlinuz-3", image("3", true), "i386", "x86_64"),
        ("vmlinuz-3", image("3-amd64", false), "i386", "x86_64"),
        ("vmlinuz-3", image("3-686-pae", false), "i386", "i386"),
        ("vmlinuz-3", image("3", false), "i386", "i386"),
        ("vmlinuz-3", image("3", false), "x86_64", "x86_64"),
        ("Image-5", arm, "aarch64", "aarch64"),
    ] {
        let tree = MemoryTree::new().file(&format!("/boot/{name}"), content);
        let kernels = collected(tree, Some(user));
        assert_eq!(kernels[0].machine, Some(machine), "{name} {user}");
    }
    let tree = MemoryTree::new()
        .file("/boot/vmlinuz-3", image("3", false))
        .file("/boot/config-3", "CONFIG_64BIT=y\nCONFIG_X86_64=y\n");
    assert_eq!(collected(tree, Some("i386"))[0].machine, Some("x86_64"));
}

#[test]
fn an_image_that_ends_early_tells_nothing() {
    for content in [&b""[..], b"\x1f\x8b", b"MZ", &image("5", true)[..0x210]] {
        let tree = MemoryTree::new().file("/boot/vmlinuz-5.1", content);
        let kernels = collected(tree, None);
        assert_eq!(kernels[0].version.as_deref(), Some("5.1"));
    }
}

#[test]
fn drivers_are_built_in_modules_or_missing_and_unknown_without_a_list() {
    let dir = "/usr/lib/modules/6.1";
    let base = || {
        MemoryTree::new()
            .link("/lib", "usr/lib")
            .file("/boot/vmlinuz-6.1", "")
            .file(&format!("{dir}/kernel/drivers/block/virtio_blk.ko.zst"), "")
            .file(&format!("{dir}/updates/virtio-net.ko"), "")
            .file(
                &format!("{dir}/modules.dep"),
                "updates/virtio-net.ko: x.ko\nkernel/gone/virtio_scsi.ko:\n",
            )
    };
    let of = |tree: MemoryTree, name: &str| collected(tree, None)[0].driver(name);
    assert_eq!(of(base(), "virtio_blk"), Ok(Driver::Module));
    assert_eq!(of(base(), "virtio_net"), Ok(Driver::Module));
    let reason = of(base(), "virtio_pci").unwrap_err();
    assert!(reason.contains("modules.builtin"), "{reason}");
    let list = "kernel/drivers/virtio/virtio_pci.ko\n";
    let listed = base().file(&format!("{dir}/modules.builtin"), list);
    assert_eq!(of(listed.clone(), "virtio_pci"), Ok(Driver::BuiltIn));
    assert_eq!(of(listed, "virtio_scsi"), Ok(Driver::Missing));
    let configured = base().file(
        "/boot/config-6.1",
        "CONFIG_VIRTIO=y\nCONFIG_SCSI_VIRTIO=m\n",
    );
    assert_eq!(of(configured.clone(), "virtio_ring"), Ok(Driver::BuiltIn));
    assert_eq!(of(configured, "virtio_scsi"), Ok(Driver::Missing));
    let broken = base().broken(&format!("{dir}/modules.builtin"));
    assert!(of(broken, "virtio_blk").is_err());
}

#[test]
fn kernels_for_xen_only_are_told_by_their_names() {
    for (name, only) in [
        ("vmlinuz-2.6.18-398.el5xen", true),
        ("vmlinuz-3.0.101-63-xen", true),
        ("vmlinuz-2.6.18-xenU", true),
        ("vmlinuz-5.14.0-xenial", false),
        ("vmlinuz-5.14.0", false),
    ] {
        let tree = MemoryTree::new().file(&format!("/boot/{name}"), "");
        assert_eq!(collected(tree, None)[0].is_for_xen_only(), only, "{name}");
    }
}

#[test]
fn without_an_entry_a_kernel_may_have_an_initramfs_that_is_not_known() {
    let tree = || MemoryTree::new().file("/boot/flatcar/vmlinuz-a", image("6.1.77-flatcar", true));
    let kernel = &collected(tree(), None)[0];
    assert!(kernel.brings("virtio_blk").is_err());
    let entry = Entry {
        kernel: Some(crate::linux::boot::BootFile {
            path: Some(b"/boot/flatcar/vmlinuz-a".to_vec()),
            ..Default::default()
        }),
        ..Entry::default()
    };
    let menu = Menu {
        entries: vec![entry],
        ..Menu::default()
    };
    let view = View::new(Rc::new(tree()), 0);
    let kernel = &collect(&view, Some(&menu), None).unwrap()[0];
    assert_eq!(kernel.brings("virtio_blk"), Ok(false));
}
