//! What Linux systems have in common.

use std::io::Write as _;

use testkit::guest::archive::archive;
use testkit::guest::program::{elf, kernel};

use super::tree::Tree;

const X86_64: u16 = 0x3e;
const UNITS: &str = "usr/lib/systemd/system";
const WANTS: &str = "etc/systemd/system/multi-user.target.wants";
const VIRTIO: [&str; 6] = [
    "virtio/virtio",
    "virtio/virtio_ring",
    "virtio/virtio_pci",
    "block/virtio_blk",
    "net/virtio_net",
    "scsi/virtio_scsi",
];

/// What an initramfs packs its archive with.
#[derive(Clone, Copy)]
pub(super) enum Packing {
    Gzip,
    Zstd,
}

impl Tree {
    /// Directories and programs of every system with a merged `/usr`.
    pub(super) fn system(&self) -> &Self {
        for name in ["bin", "sbin", "lib", "lib64"] {
            self.link(name, &format!("usr/{name}"));
            self.directory(&format!("usr/{name}"));
        }
        for name in [
            "dev", "proc", "sys", "run", "tmp", "root", "home", "mnt", "boot", "var/log", "var/lib",
        ] {
            self.directory(name);
        }
        self.program("usr/bin/bash")
            .program("usr/bin/ls")
            .program("usr/lib/systemd/systemd")
            .link("usr/bin/sh", "bash")
            .link("usr/sbin/init", "../lib/systemd/systemd")
            .file("etc/hosts", "127.0.0.1 localhost\n")
            .file("etc/hostname", "test\n")
            .file("etc/machine-id", "")
    }

    pub(super) fn program(&self, path: &str) -> &Self {
        self.file(path, elf(X86_64)).mode(path, 0o755)
    }

    /// root with a password.
    pub(super) fn login(&self) -> &Self {
        let hash = format!("$6$saltsalt${}", "a".repeat(86));
        let shadow = format!("root:{hash}:19700:0:99999:7:::\ndaemon:*:19700:0:99999:7:::\n");
        self.file(
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\n",
        )
        .file("etc/shadow", shadow)
        .mode("etc/shadow", 0o640)
        .file("etc/group", "root:x:0:\nsudo:x:27:\nwheel:x:10:\n")
    }

    /// A service that starts.
    pub(super) fn service(&self, unit: &str, program: &str) -> &Self {
        let text = format!("[Service]\nExecStart=/{program}\n");
        self.program(program)
            .file(&format!("{UNITS}/{unit}.service"), text)
            .wanted(WANTS, &format!("{unit}.service"))
    }

    fn wanted(&self, by: &str, unit: &str) -> &Self {
        self.link(&format!("{by}/{unit}"), &format!("/{UNITS}/{unit}"))
    }

    pub(super) fn sshd(&self, unit: &str) -> &Self {
        self.service(unit, "usr/sbin/sshd").file(
            "etc/ssh/sshd_config",
            "PermitRootLogin yes\nPasswordAuthentication yes\n",
        )
    }

    pub(super) fn host_keys(&self) -> &Self {
        for kind in ["rsa", "ed25519"] {
            let path = format!("etc/ssh/ssh_host_{kind}_key");
            self.file(&path, "not a key\n");
            self.file(&format!("{path}.pub"), format!("ssh-{kind} AAAA test\n"));
        }
        self
    }

    pub(super) fn cloud_init(&self, version: &str, sources: &str) -> &Self {
        let wants = "etc/systemd/system/cloud-init.target.wants";
        for unit in [
            "cloud-init-local",
            "cloud-init",
            "cloud-config",
            "cloud-final",
        ] {
            let unit = format!("{unit}.service");
            self.file(&format!("{UNITS}/{unit}"), "[Unit]\n");
            self.wanted(wants, &unit);
        }
        self.file("usr/bin/cloud-init", "#!/usr/bin/python3\n")
            .mode("usr/bin/cloud-init", 0o755)
            .file(
                "usr/lib/python3/dist-packages/cloudinit/version.py",
                format!("__VERSION__ = \"{version}\"\n"),
            )
            .file(
                "etc/cloud/cloud.cfg",
                "users:\n  - default\ndisable_root: false\nssh_pwauth: true\n\
                 cloud_init_modules:\n  - growpart\n  - ssh\n",
            )
            .file(
                "etc/cloud/cloud.cfg.d/90_dpkg.cfg",
                format!("datasource_list: [ {sources} ]\n"),
            )
            .file(&format!("{UNITS}/cloud-init.target"), "[Unit]\n")
            .wanted(WANTS, "cloud-init.target")
    }

    /// Drivers of virtio as modules below `root`, and a configuration of the kernel that says so.
    pub(super) fn modules(&self, root: &str, version: &str, boot: (&Tree, &str)) -> &Self {
        let top = format!("{root}/modules/{version}");
        let files: Vec<String> = VIRTIO
            .iter()
            .map(|driver| format!("kernel/drivers/{driver}.ko.xz"))
            .collect();
        for file in &files {
            self.file(&format!("{top}/{file}"), b"\x7fELF");
        }
        self.file(&format!("{top}/modules.dep"), files.join(":\n") + ":\n");
        self.file(&format!("{top}/modules.builtin"), "");
        let options = [
            "VIRTIO",
            "VIRTIO_PCI",
            "VIRTIO_BLK",
            "VIRTIO_NET",
            "SCSI_VIRTIO",
        ];
        let config: String = options
            .iter()
            .map(|option| format!("CONFIG_{option}=m\n"))
            .collect();
        let (tree, directory) = boot;
        tree.file(&format!("{directory}config-{version}"), config)
            .file(&format!("{directory}vmlinuz-{version}"), kernel(version));
        self
    }
}

/// Modules of an initramfs, without and with those of virtio.
pub(super) fn with_virtio(others: &[&str]) -> Vec<String> {
    let virtio = VIRTIO.iter().map(|driver| format!("drivers/{driver}.ko"));
    virtio
        .chain(others.iter().map(|path| (*path).to_owned()))
        .collect()
}

/// An archive with `modules` of a kernel, whose directory is `top`.
pub(super) fn initramfs(top: &str, modules: &[String], suffix: &str, packing: Packing) -> Vec<u8> {
    let paths: Vec<String> = modules
        .iter()
        .map(|module| format!("{top}/kernel/{module}{suffix}"))
        .collect();
    let mut files = vec![("init", "#!/bin/sh\n"), ("usr/sbin/lvm", "x")];
    files.extend(paths.iter().map(|path| (path.as_str(), "\u{7f}ELF")));
    let content = archive(&files);
    match packing {
        Packing::Zstd => zstd::encode_all(&*content, 1).unwrap(),
        Packing::Gzip => {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(&content).unwrap();
            encoder.finish().unwrap()
        }
    }
}

/// Early microcode, as it stands in front of an archive.
pub(super) fn microcode() -> Vec<u8> {
    archive(&[("kernel/x86/microcode/GenuineIntel.bin", "code")])
}
