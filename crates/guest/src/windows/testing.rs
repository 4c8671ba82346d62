//! A made-up Windows for tests of collectors and rules.

use std::rc::Rc;

use diskimg::partitions::{BootMode, Partition, PartitionTable, Scheme};

use super::disk::Disk;
use crate::tree::Tree;
use crate::tree::memory::MemoryTree;
use crate::view::View;
use crate::volume::{Content, FileSystem, Health, Stack, Volume};
use crate::{Facts, Finding, Seen, Severity, Unknown, Wanted};
use testkit::guest::hive::{Data, HiveBuilder};

/// A key below the control set of [`Sample`].
pub(super) fn control(path: &str) -> String {
    format!(r"ControlSet002\{path}")
}

/// Parts of a Windows, to be changed before it is looked at.
pub(super) struct Sample {
    pub(super) system: HiveBuilder,
    pub(super) software: HiveBuilder,
    pub(super) sam: HiveBuilder,
    /// The drive with Windows, without hives.
    pub(super) drive: MemoryTree,
    /// The partition that the firmware starts from.
    pub(super) boot: Option<MemoryTree>,
    pub(super) table: PartitionTable,
    pub(super) volumes: Vec<Volume>,
    pub(super) wanted: Wanted,
}

impl Sample {
    /// A server that nothing is wrong with.
    pub(super) fn sound() -> Self {
        let drive = ["partmgr", "viostor", "vioscsi", "netkvm"].iter().fold(
            MemoryTree::without_case()
                .file("/Windows/System32/cmd.exe", program(0x8664))
                .file("/Windows/System32/ntoskrnl.exe", program(0x8664))
                .file("/hiberfil.sys", [0; 16]),
            |drive, name| drive.file(&format!("/windows/system32/drivers/{name}.sys"), ""),
        );
        Self {
            system: system(),
            software: software(),
            sam: HiveBuilder::new().value(
                r"SAM\Domains\Account\Users\000001F4",
                "F",
                Data::bytes(&account(0x0210)),
            ),
            drive,
            boot: Some(
                MemoryTree::without_case()
                    .file("/bootmgr", "code")
                    .file("/Boot/BCD", store().build()),
            ),
            table: table(),
            volumes: vec![volume(1), volume(2)],
            wanted: Wanted::default(),
        }
    }

    pub(super) fn system(mut self, change: impl FnOnce(HiveBuilder) -> HiveBuilder) -> Self {
        self.system = change(self.system);
        self
    }

    pub(super) fn software(mut self, change: impl FnOnce(HiveBuilder) -> HiveBuilder) -> Self {
        self.software = change(self.software);
        self
    }

    pub(super) fn drive(mut self, change: impl FnOnce(MemoryTree) -> MemoryTree) -> Self {
        self.drive = change(self.drive);
        self
    }

    pub(super) fn facts(self) -> Facts {
        let hives = "/Windows/System32/config";
        let drive = self
            .drive
            .file(&format!("{hives}/SYSTEM"), self.system.build())
            .file(&format!("{hives}/SOFTWARE"), self.software.build())
            .file(&format!("{hives}/SAM"), self.sam.build());
        let drive: Rc<dyn Tree> = Rc::new(drive);
        let boot = self.boot.map(|boot| Rc::new(boot) as Rc<dyn Tree>);
        let view = View::new(Rc::clone(&drive), 1);
        let directory = super::directory(&view).unwrap().unwrap();
        let disk = Disk {
            volumes: &self.volumes,
            trees: &[boot, Some(drive)],
            root: 1,
            table: Some(&self.table),
        };
        let (os, windows) = super::collect(&view, &directory, &disk);
        Facts {
            wanted: self.wanted,
            os: Some(os),
            windows: Some(windows),
            volumes: self.volumes,
            root: Some(1),
            ..Facts::default()
        }
    }

    /// What rule `id` says.
    pub(super) fn judge(self, id: &str) -> (Vec<Finding>, Option<Unknown>) {
        let facts = self.facts();
        let rule = crate::rules().find(|rule| rule.id == id).unwrap();
        rule.judge(&facts)
    }

    /// The severity of the only finding of rule `id`, and what was seen.
    pub(super) fn finding(self, id: &str) -> Option<(Severity, Vec<Seen>)> {
        let (findings, unknown) = self.judge(id);
        assert_eq!(unknown, None, "{id}");
        assert!(findings.len() < 2, "{findings:?}");
        findings
            .into_iter()
            .next()
            .map(|one| (one.severity, one.seen))
    }

    /// Asserts that rule `id` finds something at `path` with `text`.
    pub(super) fn has(self, id: &str, severity: Severity, path: &str, text: &str) {
        let found = self.finding(id);
        let (is, seen) = found.unwrap_or_else(|| panic!("{id} finds nothing"));
        assert_eq!(is, severity, "{id}");
        let named = |seen: &Seen| {
            seen.path.contains(path) && seen.text.as_deref().unwrap_or_default().contains(text)
        };
        assert!(seen.iter().any(named), "{id}: {seen:?}");
    }
}

fn system() -> HiveBuilder {
    let devices = [
        ("VEN_1AF4&DEV_1001&SUBSYS_00021AF4&REV_00", "oem3.inf"),
        ("VEN_1AF4&DEV_1048", "oem4.inf"),
        ("VEN_8086&DEV_2922", "mshdc.inf"),
    ];
    let hive = devices.iter().fold(HiveBuilder::new(), |hive, (id, inf)| {
        let path = format!(r"DriverDatabase\DeviceIds\PCI\{id}");
        hive.value(&path, inf, Data::bytes(&[1, 0xff, 0, 0]))
    });
    let hive = [
        ("partmgr", 0),
        ("viostor", 0),
        ("vioscsi", 0),
        ("netkvm", 3),
    ]
    .iter()
    .fold(hive, |hive, (name, start)| {
        let path = control(&format!(r"Services\{name}"));
        let file = format!(r"System32\drivers\{name}.sys");
        hive.value(&path, "Start", Data::number(*start)).value(
            &path,
            "ImagePath",
            Data::text(&file),
        )
    });
    let disks = r"Control\Class\{4d36e967-e325-11ce-bfc1-08002be10318}";
    hive.value("Select", "Current", Data::number(2))
        .value("Setup", "SystemSetupInProgress", Data::number(0))
        .value(&control(disks), "UpperFilters", Data::texts(&["partmgr"]))
        .value(
            &control(r"Services\partmgr\Parameters"),
            "SanPolicy",
            Data::number(1),
        )
        .value(
            &control(r"Control\Terminal Server"),
            "fDenyTSConnections",
            Data::number(0),
        )
        .value(
            &control(r"Control\TimeZoneInformation"),
            "RealTimeIsUniversal",
            Data::number(1),
        )
        .value(
            &control(r"Control\Session Manager\Memory Management"),
            "PagingFiles",
            Data::texts(&[r"?:\pagefile.sys", r"C:\pagefile.sys 0 0"]),
        )
        .value(&control(r"Services\TermService"), "Start", Data::number(3))
        .value(
            &control(r"Services\cloudbase-init"),
            "Start",
            Data::number(2),
        )
}

fn software() -> HiveBuilder {
    let version = r"Microsoft\Windows NT\CurrentVersion";
    HiveBuilder::new()
        .value(
            version,
            "ProductName",
            Data::text("Windows Server 2019 Standard"),
        )
        .value(version, "EditionID", Data::text("ServerStandard"))
        .value(version, "InstallationType", Data::text("Server"))
        .value(version, "CurrentMajorVersionNumber", Data::number(10))
        .value(version, "CurrentMinorVersionNumber", Data::number(0))
        .value(version, "CurrentVersion", Data::text("6.3"))
        .value(version, "CurrentBuild", Data::text("1.511.1 () (Obsolete)"))
        .value(version, "CurrentBuildNumber", Data::text("17763"))
        .value(version, "ProductId", Data::text("00429-00000-00001-AA123"))
        .value(version, "SystemRoot", Data::text(r"C:\Windows"))
}

/// A store of boot entries.
pub(super) fn store() -> HiveBuilder {
    HiveBuilder::new().key(r"Objects\{9dea862c-5cdd-4e70-acc1-f32b344d4795}\Elements")
}

/// The start of a program for `machine`.
pub(super) fn program(machine: u16) -> Vec<u8> {
    let mut bytes = vec![0; 0x100];
    bytes[0x3c] = 0x80;
    bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
    bytes[0x84..0x86].copy_from_slice(&machine.to_le_bytes());
    bytes
}

/// What the accounts' hive says of one with these flags.
pub(super) fn account(flags: u16) -> Vec<u8> {
    let mut bytes = vec![0; 80];
    bytes[0x38..0x3a].copy_from_slice(&flags.to_le_bytes());
    bytes
}

fn table() -> PartitionTable {
    let partition = |number, bootable| Partition {
        number,
        start: u64::from(number) << 20,
        size: 1 << 20,
        kind: "Windows data",
        type_id: "0x07".into(),
        label: None,
        uuid: None,
        bootable,
        attributes: 0,
        content: None,
    };
    PartitionTable {
        scheme: Scheme::Mbr,
        sector_size: 512,
        id: Some("0x5eedc0de".into()),
        entries: vec![partition(1, true), partition(2, false)],
        content: None,
        boot: BootMode::Bios,
        boot_reason: String::new(),
        warnings: Vec::new(),
        least_size: 3 << 20,
        boot_code: true,
    }
}

pub(super) fn volume(number: u32) -> Volume {
    Volume {
        partition: Some(number),
        stack: Stack::Plain,
        size: 1 << 20,
        content: Content::FileSystem(FileSystem::Ntfs),
        uuid: None,
        label: None,
        partuuid: Some(format!("5eedc0de-{number:02}")),
        partlabel: None,
        part_type: None,
        priority: 0,
        health: Health::default(),
        closed: None,
    }
}
