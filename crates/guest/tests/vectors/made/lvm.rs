//! A CentOS 7 on XFS and LVM, whose metadata wraps: drivers in the rescue initramfs alone, and
//! names of devices and network cards of its old machine.

use std::process::Command;

use testkit::guest::lvm::{Layout, head, text};
use testkit::guest::program::kernel;

use super::disk::Disk;
use super::image::{MIB, Workshop, run};
use super::linux::{Packing, initramfs, microcode, with_virtio};
use super::tree::Tree;

const BOOT: &str = "0f0ae4b1-5d4a-4a43-9e5c-000000000011";
const ROOT: &str = "0f0ae4b1-5d4a-4a43-9e5c-000000000012";
const VERSION: &str = "3.10.0-1160.el7.x86_64";
const RESCUE: &str = "0-rescue-0123456789abcdef0123456789abcdef";
const UUID: &str = "kqmJ2a10011001100110011001abcdef";
const EXTENT: usize = 4 * MIB as usize;
/// Stretches of the root: extents, and the first.
const STRETCHES: [(usize, usize); 2] = [(60, 8), (20, 80)];
/// First byte of the physical volume.
const START: u64 = 133_120 * 512;

pub(super) fn make(workshop: &Workshop) -> Option<()> {
    let root = workshop.tree("root");
    let boot = workshop.tree("boot");
    fill(&root);
    network(&root);
    start(&root, &boot);
    let size = 512 * MIB;
    let disk = Disk::new(
        workshop,
        size,
        "label: dos\nlabel-id: 0x000b1e55\nstart=2048, size=131072, type=83, bootable\n\
         start=133120, type=8e\n",
    );
    disk.grub(1);
    let features = "^metadata_csum,^64bit";
    disk.put(&workshop.ext4("ext4", 64 * MIB, &boot, BOOT, features), MIB);
    let mut layout = Layout::usual((size - START) as usize);
    let volumes: &[_] = &[("lv-root", &STRETCHES[..]), ("swap", &[(8, 0)])];
    let text = text("vg-sys", UUID, layout, EXTENT, volumes);
    layout.text = layout.area - 512;
    disk.write(START, &head(UUID, layout, &text));
    let features = "bigtime=0,reflink=0,rmapbt=0,inobtcount=0";
    let image = workshop.xfs("xfs", 320 * MIB, &root, ROOT, features);
    let place = |extent: usize| START + (layout.data + extent * EXTENT) as u64;
    let mut from = 0;
    for (extents, first) in STRETCHES {
        let length = (extents * EXTENT) as u64;
        disk.put_part(&image, from, length, place(first));
        from += length;
    }
    let swap = workshop.zeros("swap", 32 * MIB);
    run(Command::new("mkswap").arg(&swap));
    disk.put(&swap, place(0));
    Some(())
}

fn fill(root: &Tree) {
    root.system()
        .login()
        .sshd("sshd")
        .host_keys()
        .file("etc/machine-id", "0123456789abcdef0123456789abcdef\n")
        .link("etc/os-release", "../usr/lib/os-release")
        .link("etc/redhat-release", "centos-release")
        .file(
            "usr/lib/os-release",
            "NAME=\"CentOS Linux\"\nVERSION=\"7 (Core)\"\nID=\"centos\"\n\
             ID_LIKE=\"rhel fedora\"\nVERSION_ID=\"7\"\n\
             PRETTY_NAME=\"CentOS Linux 7 (Core)\"\n",
        )
        .file(
            "etc/centos-release",
            "CentOS Linux release 7.9.2009 (Core)\n",
        )
        .directory("etc/vmware-tools")
        .service("vmtoolsd", "usr/bin/vmtoolsd")
        .service("NetworkManager", "usr/sbin/NetworkManager")
        .file(
            "etc/fstab",
            "/dev/mapper/vg--sys-lv--root / xfs defaults 0 0\n/dev/sda1 /boot ext4 defaults 1 2\n\
             /dev/mapper/vg--sys-swap swap swap defaults 0 0\n/dev/sdb1 /data xfs defaults 0 0\n",
        );
}

fn network(root: &Tree) {
    let scripts = "etc/sysconfig/network-scripts";
    root.file("etc/sysconfig/network", "")
        .file(
            &format!("{scripts}/ifcfg-lo"),
            "DEVICE=lo\nIPADDR=127.0.0.1\nONBOOT=yes\n",
        )
        .file(
            &format!("{scripts}/ifcfg-ens192"),
            "TYPE=Ethernet\nBOOTPROTO=none\nNAME=ens192\n\
             UUID=0f0ae4b1-5d4a-4a43-9e5c-0000000000aa\nDEVICE=ens192\n\
             HWADDR=00:50:56:aa:bb:cc\nONBOOT=yes\nIPADDR=192.0.2.10\nPREFIX=24\n\
             GATEWAY=192.0.2.1\nDNS1=192.0.2.2\n",
        )
        .file(
            "etc/udev/rules.d/70-persistent-net.rules",
            "# PCI device 0x15ad:0x07b0 (vmxnet3)\nSUBSYSTEM==\"net\", ACTION==\"add\", \
             DRIVERS==\"?*\", ATTR{address}==\"00:50:56:aa:bb:cc\", ATTR{type}==\"1\", \
             KERNEL==\"eth*\", NAME=\"eth0\"\n",
        );
}

fn start(root: &Tree, boot: &Tree) {
    let archive = |modules: &[String]| {
        let packed = initramfs(
            &format!("usr/lib/modules/{VERSION}"),
            modules,
            ".xz",
            Packing::Gzip,
        );
        [microcode(), packed].concat()
    };
    let old = ["drivers/md/dm-mod.ko", "fs/xfs/xfs.ko"];
    root.modules("usr/lib", VERSION, (boot, ""));
    boot.file(
        &format!("initramfs-{VERSION}.img"),
        archive(&old.map(str::to_owned)),
    )
    .file(&format!("vmlinuz-{RESCUE}"), kernel(VERSION))
    .file(
        &format!("initramfs-{RESCUE}.img"),
        archive(&with_virtio(&old)),
    );
    let mut environment =
        format!("# GRUB Environment Block\nsaved_entry=CentOS Linux ({VERSION}) 7 (Core)\n");
    environment.push_str(&"#".repeat(1024 - environment.len()));
    let entry = |kernel: &str, title: &str| {
        format!(
            "menuentry \"CentOS Linux ({title}) 7 (Core)\" {{\n\
             \tsearch --no-floppy --fs-uuid --set=root {BOOT}\n\
             \tlinux16 /vmlinuz-{kernel} root=/dev/mapper/vg--sys-lv--root ro \
             rd.lvm.lv=vg-sys/lv-root rd.lvm.lv=vg-sys/swap rhgb quiet\n\
             \tinitrd16 /initramfs-{kernel}.img\n}}\n"
        )
    };
    boot.file("grub2/grubenv", environment).file(
        "grub2/grub.cfg",
        format!(
            "set default=\"${{saved_entry}}\"\n{}{}",
            entry(VERSION, VERSION),
            entry(RESCUE, RESCUE)
        ),
    );
}
