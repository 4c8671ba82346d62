//! A CentOS 6 that was cut off: no os-release, no systemd, GRUB of old, and an ext4 without
//! checksums whose journal is to be replayed.

use std::process::Command;

use super::disk::Disk;
use super::image::{MIB, Workshop, run};
use super::linux::{Packing, initramfs, with_virtio};
use super::tree::Tree;

const ROOT: &str = "0f0ae4b1-5d4a-4a43-9e5c-000000000051";
const VERSION: &str = "2.6.32-754.el6.x86_64";

pub(super) fn make(workshop: &Workshop) -> Option<()> {
    let root = workshop.tree("root");
    fill(&root);
    network(&root);
    boot(&root);
    let features = "^metadata_csum,^64bit";
    let image = workshop.ext4("ext4", 127 * MIB, &root, ROOT, features);
    // A transaction that was never written to its place: a block that nothing uses.
    let block = workshop.zeros("block", 4096);
    let requests = workshop.path("requests");
    let text = format!("jo\njw -b 32000 {}\njc\n", block.display());
    std::fs::write(&requests, text).unwrap();
    run(Command::new("debugfs")
        .arg("-w")
        .arg("-f")
        .args([&requests, &image]));
    let disk = Disk::new(
        workshop,
        128 * MIB,
        "label: dos\nlabel-id: 0x00000051\nstart=2048, type=83, bootable\n",
    );
    disk.write(0, b"\xeb\x48\x90");
    disk.write(62, b"\x03\x02\xff");
    disk.write(377, b"GRUB \0Geom\0Hard Disk\0Read\0 Error");
    disk.put(&image, MIB);
    Some(())
}

fn fill(root: &Tree) {
    for name in [
        "lib64", "dev", "proc", "sys", "tmp", "root", "mnt", "var/log",
    ] {
        root.directory(name);
    }
    for path in ["bin/bash", "sbin/init", "sbin/initctl", "usr/sbin/sshd"] {
        root.program(path);
    }
    for name in ["redhat-release", "system-release"] {
        root.link(&format!("etc/{name}"), "centos-release");
    }
    for (order, name) in [(10, "network"), (55, "sshd")] {
        root.file(&format!("etc/rc.d/init.d/{name}"), "#!/bin/sh\n");
        let start = format!("etc/rc.d/rc3.d/S{order}{name}");
        root.link(&start, &format!("../init.d/{name}"));
    }
    root.login()
        .directory("etc/init")
        .link("bin/sh", "bash")
        .link("etc/init.d", "rc.d/init.d")
        .link("etc/rc3.d", "rc.d/rc3.d")
        .file("etc/centos-release", "CentOS release 6.10 (Final)\n")
        .file("etc/hosts", "127.0.0.1 localhost\n")
        .file("etc/inittab", "id:3:initdefault:\n")
        .file("etc/ssh/ssh_host_rsa_key", "not a key\n")
        .file("etc/ssh/sshd_config", "PermitRootLogin yes\n")
        .file(
            "etc/fstab",
            format!("UUID={ROOT} / ext4 defaults 1 1\ntmpfs /dev/shm tmpfs defaults 0 0\n"),
        );
}

fn network(root: &Tree) {
    root.file("etc/sysconfig/network", "HOSTNAME=test\nNETWORKING=yes\n")
        .file(
            "etc/sysconfig/network-scripts/ifcfg-eth0",
            "DEVICE=eth0\nHWADDR=00:50:56:AA:BB:66\nTYPE=Ethernet\nONBOOT=yes\n\
             NM_CONTROLLED=yes\nBOOTPROTO=dhcp\n",
        )
        .file(
            "etc/udev/rules.d/70-persistent-net.rules",
            "SUBSYSTEM==\"net\", ACTION==\"add\", DRIVERS==\"?*\", \
             ATTR{address}==\"00:50:56:aa:bb:66\", ATTR{type}==\"1\", KERNEL==\"eth*\", \
             NAME=\"eth0\"\n",
        );
}

fn boot(root: &Tree) {
    let modules = with_virtio(&["fs/ext4/ext4.ko"]);
    let packed = initramfs(
        &format!("lib/modules/{VERSION}"),
        &modules,
        "",
        Packing::Gzip,
    );
    root.modules("lib", VERSION, (root, "boot/"))
        .file(&format!("boot/initramfs-{VERSION}.img"), packed)
        .link("boot/grub/menu.lst", "grub.conf")
        .link("etc/grub.conf", "../boot/grub/grub.conf")
        .file(
            "boot/grub/grub.conf",
            format!(
                "default=0\ntimeout=5\nhiddenmenu\ntitle CentOS 6 ({VERSION})\n\troot (hd0,0)\n\
                 \tkernel /boot/vmlinuz-{VERSION} ro root=UUID={ROOT} rhgb quiet\n\
                 \tinitrd /boot/initramfs-{VERSION}.img\n"
            ),
        );
}
