//! A Windows Server 2019 with VMware's drivers, asleep, started by BIOS.

use testkit::guest::hive::{Data, HiveBuilder};
use testkit::guest::program::pe;

use super::disk::Disk;
use super::image::{MIB, Workshop};
use super::tree::Tree;

const HIVES: &str = "Windows/System32/config";

pub(super) fn make(workshop: &Workshop) -> Option<()> {
    let drive = workshop.tree("drive");
    programs(&drive);
    drive
        .file(&format!("{HIVES}/SYSTEM"), system().build())
        .file(&format!("{HIVES}/SOFTWARE"), software().build())
        .file(&format!("{HIVES}/SAM"), accounts().build());
    let start = workshop.tree("start");
    let element = r"Objects\{9dea862c-5cdd-4e70-acc1-f32b344d4795}\Elements\12000004";
    let store = HiveBuilder::new()
        .value("Description", "KeyName", Data::text("BCD00000000"))
        .value(element, "Element", Data::text("Windows Boot Manager"));
    start
        .file("Boot/BCD", store.build())
        .file("bootmgr", "not a boot manager");
    let disk = Disk::new(
        workshop,
        384 * MIB,
        "label: dos\nlabel-id: 0x5eedc0de\nstart=2048, size=98304, type=7, bootable\n\
         start=100352, size=655360, type=7\n",
    );
    disk.write(0, b"\x33\xc0\x8e\xd0\xbc\x00\x7c\x8e\xc0\x8e\xd8");
    let reserved = workshop.ntfs("reserved", 48 * MIB, &start, "System Reserved")?;
    disk.put(&reserved, MIB);
    disk.put(&workshop.ntfs("c", 320 * MIB, &drive, "")?, 49 * MIB);
    Some(())
}

fn programs(drive: &Tree) {
    let mut asleep = b"HIBR".to_vec();
    asleep.resize(MIB as usize, 0);
    drive
        .directory("Users/Administrator")
        .directory("Program Files/Common Files")
        .file("hiberfil.sys", asleep)
        .file("pagefile.sys", vec![0; MIB as usize]);
    for name in ["cmd.exe", "ntoskrnl.exe", "winload.exe", "winload.efi"] {
        drive.file(&format!("Windows/System32/{name}"), pe(0x8664));
    }
    for name in ["partmgr", "storahci", "pvscsi"] {
        drive.file(&format!("Windows/System32/drivers/{name}.sys"), pe(0x8664));
    }
}

fn system() -> HiveBuilder {
    let control = |path: &str| format!(r"ControlSet001\Control\{path}");
    let service = |path: &str| format!(r"ControlSet001\Services\{path}");
    let card = r"Tcpip\Parameters\Interfaces\{8f1c5d1e-0000-4000-8000-000000000001}";
    let class = r"Class\{4d36e967-e325-11ce-bfc1-08002be10318}";
    let numbers = [
        ("Select".into(), "Current", 1),
        ("Select".into(), "Default", 1),
        ("Setup".into(), "SystemSetupInProgress", 0),
        ("Setup".into(), "OOBEInProgress", 0),
        (control(r"Session Manager\Power"), "HiberbootEnabled", 1),
        (control("Terminal Server"), "fDenyTSConnections", 1),
        (control("TimeZoneInformation"), "RealTimeIsUniversal", 1),
        (service(r"partmgr\Parameters"), "SanPolicy", 4),
        (service("TermService"), "Start", 3),
        (service("VMTools"), "Start", 2),
        (service(card), "EnableDHCP", 0),
    ];
    let hive = numbers
        .iter()
        .fold(HiveBuilder::new(), |hive, (path, name, number)| {
            hive.value(path, name, Data::number(*number))
        });
    let hive = ["partmgr", "storahci", "pvscsi"]
        .iter()
        .fold(hive, |hive, name| {
            let path = service(name);
            let image = format!(r"System32\drivers\{name}.sys");
            hive.value(&path, "Start", Data::number(0))
                .value(&path, "Type", Data::number(1))
                .value(&path, "ImagePath", Data::text(&image))
        });
    let (environment, memory) = (
        control(r"Session Manager\Environment"),
        control(r"Session Manager\Memory Management"),
    );
    hive.value(&environment, "PROCESSOR_ARCHITECTURE", Data::text("AMD64"))
        .value(&memory, "PagingFiles", Data::texts(&[r"?:\pagefile.sys"]))
        .value(&control(class), "UpperFilters", Data::texts(&["partmgr"]))
        .value(&service(card), "IPAddress", Data::texts(&["192.0.2.10"]))
        .value("MountedDevices", r"\DosDevices\C:", Data::bytes(&[0; 12]))
}

fn software() -> HiveBuilder {
    let version = r"Microsoft\Windows NT\CurrentVersion";
    let texts = [
        ("ProductName", "Windows Server 2019 Standard Evaluation"),
        ("EditionID", "ServerStandardEval"),
        ("InstallationType", "Server"),
        ("CurrentVersion", "6.3"),
        ("CurrentBuild", "17763"),
        ("CurrentBuildNumber", "17763"),
        ("ProductId", "00429-00000-00001-AA123"),
        ("SystemRoot", r"C:\Windows"),
    ];
    let state = r"Microsoft\Windows\CurrentVersion\Setup\State";
    texts
        .iter()
        .fold(HiveBuilder::new(), |hive, (name, text)| {
            hive.value(version, name, Data::text(text))
        })
        .value(version, "CurrentMajorVersionNumber", Data::number(10))
        .value(version, "CurrentMinorVersionNumber", Data::number(0))
        .value(state, "ImageState", Data::text("IMAGE_STATE_COMPLETE"))
}

fn accounts() -> HiveBuilder {
    let mut account = [0; 80];
    account[0x38..0x3a].copy_from_slice(&0x0210_u16.to_le_bytes());
    let path = r"SAM\Domains\Account\Users\000001F4";
    HiveBuilder::new().value(path, "F", Data::bytes(&account))
}
