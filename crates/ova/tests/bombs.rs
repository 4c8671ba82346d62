//! Packages that are small and would cost much: each is refused or read within two seconds of
//! processor time and 256 MiB.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test helper: a failed assertion fails the test"
)]

use std::path::Path;
use std::sync::Arc;

use diskimg::MemorySource;
use ova::Package;
use testkit::hostile::PATIENCE;
use testkit::measure::{address_space, cpu_time, peak_address_space};
use testkit::ova::{Machine, Tar, header, octal};

const MEMORY: u64 = 256 << 20;

/// Reads the package; says what it was refused for.
fn survive(what: &str, bytes: Vec<u8>) -> String {
    let source = Arc::new(MemorySource(bytes));
    let (started, before) = (cpu_time(), address_space());
    let opened = Package::of(source, Path::new("vm.ova"));
    let said = match &opened {
        Ok(None) => "no package".to_owned(),
        Ok(Some(package)) => match package.manifest() {
            Ok(_) => "read".to_owned(),
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    let (took, grew) = (cpu_time() - started, peak_address_space() - before);
    assert!(took < PATIENCE, "{what}: {took:?}");
    assert!(grew < MEMORY, "{what}: {} MiB", grew >> 20);
    said
}

fn with_descriptor(descriptor: &str) -> Vec<u8> {
    let tar = Tar::new().file("vm.ovf", descriptor.as_bytes());
    tar.file("d.vmdk", b"disk").end()
}

fn descriptor() -> String {
    Machine::new("vm", &[("d.vmdk", 4)]).descriptor()
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn bombs_are_cheap() {
    let tar = |count: usize, kind: u8| {
        let member = header("m", kind, &octal(0));
        let all = (0..count).fold(Tar::new(), |tar, _| tar.block(&member));
        all.file("vm.ovf", descriptor().as_bytes()).end()
    };
    assert!(survive("members", tar(100_000, b'0')).contains("10000 members"));
    assert!(survive("long names", tar(100_000, b'L')).contains("40000 headers"));
    assert!(survive("pax", tar(100_000, b'x')).contains("40000 headers"));
    assert!(survive("few", tar(9000, b'0')).contains("d.vmdk"));

    let huge = Tar::new().member("vm.ovf", b'0', &octal(5 << 20), &vec![b'<'; 5 << 20]);
    assert!(survive("long", huge.end()).contains("at most"));
    let inside = |more: &str| {
        let whole = descriptor().replace("</Envelope>", &format!("{more}</Envelope>"));
        with_descriptor(&whole)
    };
    let wide: String = (0..40_000).map(|n| format!(" a{n}='{n}'")).collect();
    assert!(survive("attributes", inside(&format!("<a{wide}/>"))).contains("attributes"));
    let names: String = (0..1500)
        .map(|n| format!("<a xmlns:n{n}='urn:{n}'>"))
        .collect();
    assert!(survive("namespaces", inside(&names)).contains("levels"));
    let beside: String = (0..1500)
        .map(|n| format!("<a xmlns:n{n}='urn:{n}'/>"))
        .collect();
    assert!(survive("namespaces", inside(&beside)).contains("namespace"));
    assert!(survive("levels", inside(&"<a>".repeat(200_000))).contains("levels"));
    assert!(survive("elements", inside(&"<a/>".repeat(200_000))).contains("elements"));
    let items = "<Item><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>17</rasd:ResourceType><rasd:HostResource>/disk/x</rasd:HostResource></Item>".repeat(24_000);
    let section = "<VirtualHardwareSection>";
    let many = descriptor().replace(section, &format!("{section}{items}"));
    assert!(survive("disks", with_descriptor(&many)).contains("256 disks"));
    let known = " id='' key='' type='' href=''";
    let attributes = format!("<Info{known}/>").repeat(90_000);
    assert!(survive("known", inside(&attributes)).contains("read"));

    let line = format!("SHA1(d.vmdk)= {}\n", "0".repeat(40));
    let manifest = line.repeat(19_000);
    let tar = Tar::new()
        .file("vm.ovf", descriptor().as_bytes())
        .file("vm.mf", manifest.as_bytes())
        .file("d.vmdk", b"disk");
    assert_eq!(survive("manifest", tar.end()), "read");
    let names: String = (0..19_000)
        .map(|n| format!("SHA1(f{n})= {}\n", "0".repeat(40)))
        .collect();
    let tar = Tar::new()
        .file("vm.ovf", descriptor().as_bytes())
        .file("vm.mf", names.as_bytes())
        .file("d.vmdk", b"disk");
    assert!(survive("manifest", tar.end()).contains("not in the package"));
    let tar = Tar::new()
        .file("vm.ovf", descriptor().as_bytes())
        .file("vm.mf", &vec![b'x'; 2 << 20])
        .file("d.vmdk", b"disk");
    assert!(survive("manifest", tar.end()).contains("at most"));
}
