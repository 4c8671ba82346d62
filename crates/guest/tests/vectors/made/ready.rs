//! A Debian that nothing is wrong with: GPT, started by BIOS and by UEFI, ext4, cloud-init.

use testkit::guest::program::pe;

use super::disk::Disk;
use super::image::{MIB, Workshop};
use super::linux::{Packing, initramfs, microcode, with_virtio};
use super::tree::Tree;

const ROOT: &str = "0f0ae4b1-5d4a-4a43-9e5c-000000000001";
const VERSION: &str = "6.1.0-18-amd64";

pub(super) fn make(workshop: &Workshop) -> Option<()> {
    let root = workshop.tree("root");
    fill(&root);
    boot(&root);
    let efi = workshop.tree("efi");
    for name in ["BOOT/BOOTX64.EFI", "BOOT/grubx64.efi", "debian/grubx64.efi"] {
        efi.file(&format!("EFI/{name}"), pe(0x8664));
    }
    let config = format!(
        "search.fs_uuid {ROOT} root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n"
    );
    efi.file("EFI/debian/grub.cfg", config);
    let disk = Disk::new(
        workshop,
        1024 * MIB,
        "label: gpt\nstart=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649\n\
         start=4096, size=131072, type=uefi\nstart=135168, type=linux\n",
    );
    disk.grub(2048);
    disk.put(&workshop.fat("esp", 64 * MIB, &efi, "6E310001"), 2 * MIB);
    let features = "metadata_csum";
    disk.put(
        &workshop.ext4("ext4", 957 * MIB, &root, ROOT, features),
        66 * MIB,
    );
    Some(())
}

fn fill(root: &Tree) {
    root.system()
        .login()
        .sshd("ssh")
        .cloud_init("22.4.2", "OpenStack, ConfigDrive, None")
        .link("etc/os-release", "../usr/lib/os-release")
        .file(
            "usr/lib/os-release",
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\n\
             VERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\nID=debian\n",
        )
        .file("etc/debian_version", "12.5\n")
        .program("usr/sbin/qemu-ga")
        .file(
            "usr/lib/systemd/system/qemu-guest-agent.service",
            "[Unit]\n",
        )
        .service("systemd-networkd", "usr/sbin/networkd")
        .program("usr/sbin/netplan")
        .program("usr/bin/growpart")
        .file(
            "etc/netplan/90-default.yaml",
            "network:\n  version: 2\n  ethernets:\n    all-en:\n      match: {name: \"en*\"}\n\
             \x20     dhcp4: true\n    all-eth:\n      match: {name: \"eth*\"}\n\
             \x20     dhcp4: true\n",
        );
}

fn boot(root: &Tree) {
    let top = format!("usr/lib/modules/{VERSION}");
    let modules = with_virtio(&["drivers/ata/ata_piix.ko", "fs/ext4/ext4.ko"]);
    let packed = initramfs(&top, &modules, "", Packing::Zstd);
    root.directory("boot/efi")
        .modules("usr/lib", VERSION, (root, "boot/"))
        .file(
            &format!("boot/initrd.img-{VERSION}"),
            [microcode(), packed].concat(),
        )
        .file(
            "etc/fstab",
            format!(
                "UUID={ROOT} / ext4 errors=remount-ro 0 1\n\
                 UUID=6E31-0001 /boot/efi vfat umask=0077 0 1\n"
            ),
        )
        .file(
            "boot/grub/grub.cfg",
            format!(
                "set default=\"0\"\nset timeout=5\n\
                 menuentry \"Debian GNU/Linux\" --class debian {{\n\
                 \tsearch --no-floppy --fs-uuid --set=root {ROOT}\n\
                 \tlinux /boot/vmlinuz-{VERSION} root=UUID={ROOT} ro console=tty0 \
                 console=ttyS0\n\tinitrd /boot/initrd.img-{VERSION}\n}}\n"
            ),
        );
}
