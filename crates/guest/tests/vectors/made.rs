//! Disks like those of `testdata/guest`, made anew by the tools of their file systems: what is
//! found on them must be the same. `UPDATE_DISKS=1` keeps them there in place of the old ones.
//!
//! Nothing on them boots, and no file of a distribution is on them. A disk whose tools are missing
//! is skipped.

mod cut_off;
mod disk;
mod image;
mod linux;
mod lvm;
mod ready;
mod tree;
mod windows;

use std::process::Command;

use self::image::Workshop;
use super::{check_image, folder};

/// Makes a disk in the workshop; nothing if this machine cannot, which it says.
type Maker = fn(&Workshop) -> Option<()>;

fn check_made(name: &str, tools: &[&str], make: Maker) {
    let mut tools = tools.iter().chain(&["sfdisk"]);
    if tools.any(|tool| testkit::missing(tool)) {
        return;
    }
    let workshop = Workshop::new();
    if make(&workshop).is_none() {
        return;
    }
    let disk = workshop.path("disk");
    check_image(name, &disk);
    if std::env::var_os("UPDATE_DISKS").is_some() {
        let mut convert = Command::new("qemu-img");
        let options = "compression_type=zstd,cluster_size=65536";
        convert.args([
            "convert", "-q", "-c", "-f", "raw", "-O", "qcow2", "-o", options,
        ]);
        convert.arg(&disk);
        convert.arg(folder().join(format!("{name}.qcow2")));
        image::run(&mut convert);
    }
}

#[test]
fn a_debian_made_anew_has_nothing_to_complain_about() {
    check_made(
        "debian12-ready",
        &["mke2fs", "mkfs.vfat", "mcopy"],
        ready::make,
    );
}

#[test]
fn a_centos_6_made_anew_is_read_without_its_journal() {
    check_made("centos6-dirty", &["mke2fs", "debugfs"], cut_off::make);
}

#[test]
fn a_centos_7_made_anew_on_xfs_and_lvm_lacks_drivers() {
    check_made("centos7-lvm", &["mke2fs", "mkfs.xfs", "mkswap"], lvm::make);
}

#[test]
fn a_windows_server_made_anew_has_no_drivers_and_sleeps() {
    check_made("windows2019", &["mkntfs", "ntfs-3g"], windows::make);
}
