use super::*;
use crate::Severity::Degraded;
use crate::windows::testing::{Sample, control};
use testkit::guest::hive::Data;

/// A server with a page file on `E:`, which is at `place`.
fn paged(place: Option<&[u8]>) -> Sample {
    Sample::sound().system(|hive| {
        let hive = hive.value(
            &control(MEMORY),
            "PagingFiles",
            Data::texts(&[r"E:\pagefile.sys"]),
        );
        match place {
            Some(place) => hive.value("MountedDevices", r"\DosDevices\E:", Data::bytes(place)),
            None => hive,
        }
    })
}

#[test]
fn a_page_file_must_be_on_a_partition_of_this_disk() {
    let id = "windows-pagefile";
    let at = |signature: u32, start: u64| {
        [signature.to_le_bytes().as_slice(), &start.to_le_bytes()].concat()
    };
    paged(None).has(id, Degraded, "Memory Management", r"E:\pagefile.sys");
    paged(Some(&at(0xbad, 2 << 20))).has(id, Degraded, "Memory", "E:");
    paged(Some(&at(0x5eed_c0de, 9 << 20))).has(id, Degraded, "Memory", "E:");
    assert_eq!(paged(Some(&at(0x5eed_c0de, 2 << 20))).finding(id), None);
    assert!(paged(Some(b"something else")).judge(id).1.is_some());
}

#[test]
fn a_page_file_is_found_by_the_guid_of_its_partition() {
    let id = "windows-pagefile";
    let place = b"DMIO:ID:\x78\x56\x34\x12\xbc\x9a\xf0\xde\x01\x02\x03\x04\x05\x06\x07\x08";
    let mut sample = paged(Some(place));
    sample.volumes[0].partuuid = Some("12345678-9abc-def0-0102-030405060708".into());
    assert_eq!(sample.finding(id), None);
    paged(Some(place)).has(id, Degraded, "Memory", "E:");
}
