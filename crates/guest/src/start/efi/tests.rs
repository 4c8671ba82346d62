use super::*;
use crate::tree::memory::MemoryTree;
use crate::volume::Stack;
use crate::{Facts, Os};

const UUID: &str = "0f0ae4b1-5d4a-4a43-9e5c-000000000001";

/// A disk whose first partition is `esp`, mounted by a root on the second one.
fn facts(esp: MemoryTree, root: MemoryTree) -> Facts {
    let mut first = Volume::new(Some(1), Stack::Plain);
    first.content = Content::FileSystem(FileSystem::Fat);
    let mut second = Volume::new(Some(2), Stack::Plain);
    second.uuid = Some(UUID.into());
    let esp: Rc<dyn Tree> = Rc::new(esp);
    let root: Rc<dyn Tree> = Rc::new(root);
    let mut view = View::new(Rc::clone(&root), 1);
    view.mount(b"/boot/efi", Rc::clone(&esp), 0);
    let volumes = vec![first, second];
    let mut facts = Facts {
        efi: Some(collect(
            Some(&view),
            &volumes,
            &[Some(esp), Some(root)],
            None,
        )),
        volumes,
        os: Some(Os {
            arch: Some("x86_64".into()),
            ..Os::default()
        }),
        ..Facts::default()
    };
    facts.wanted.firmware = Some("uefi".into());
    facts
}

/// The broken rules with the first place that was seen, and the undecided ones.
fn judge(facts: &Facts) -> (Vec<(&'static str, String)>, Vec<&'static str>) {
    let mut found = Vec::new();
    let mut unknown = Vec::new();
    for rule in rules::RULES {
        let (findings, undecided) = rule.judge(facts);
        found.extend(
            findings
                .iter()
                .map(|finding| (rule.id, finding.seen[0].path.clone())),
        );
        unknown.extend(undecided.map(|_| rule.id));
    }
    (found, unknown)
}

fn esp(files: &[&str]) -> MemoryTree {
    let tree = MemoryTree::without_case();
    files
        .iter()
        .fold(tree, |tree, file| tree.file(&format!("/EFI/{file}"), *file))
}

fn broken(esp: MemoryTree) -> Vec<(&'static str, String)> {
    let (found, unknown) = judge(&facts(esp, MemoryTree::new()));
    assert!(unknown.is_empty(), "{unknown:?}");
    found
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[test]
fn a_loader_of_a_vendor_needs_a_fallback_for_the_same_processor() {
    let vendor = [
        "debian/shimx64.efi",
        "debian/grubx64.efi",
        "debian/mmx64.efi",
    ];
    let seen = "/boot/efi/EFI/debian/grubx64.efi".to_owned();
    assert_eq!(
        broken(esp(&vendor)),
        [("boot-efi-no-fallback", seen.clone())]
    );
    let arm = [&vendor[..], &["BOOT/BOOTAA64.EFI"]].concat();
    assert_eq!(broken(esp(&arm)), [("boot-efi-no-fallback", seen)]);
    let same = [&vendor[..], &["BOOT/BOOTX64.EFI"]].concat();
    assert_eq!(broken(esp(&same)), []);
}

#[test]
fn shim_as_the_fallback_needs_what_it_starts() {
    let seen = || "/boot/efi/EFI/boot/bootx64.efi".to_owned();
    let shim = || {
        let code = [b"MZ".as_slice(), &utf16("grubx64.efi")].concat();
        esp(&["debian/grubx64.efi"]).file("/EFI/BOOT/BOOTX64.EFI", code)
    };
    assert_eq!(broken(shim()), [("boot-efi-fallback-broken", seen())]);
    assert_eq!(broken(shim().file("/EFI/BOOT/grubx64.efi", "")), []);
    let chooser = || shim().file("/EFI/BOOT/fbx64.efi", "");
    assert_eq!(broken(chooser()), [("boot-efi-fallback-broken", seen())]);
    assert_eq!(broken(chooser().file("/EFI/debian/BOOTX64.CSV", "")), []);
    // A copy of the vendor's shim is shim as well.
    let copy = esp(&["debian/grubx64.efi"])
        .file("/EFI/debian/shimx64.efi", "shim")
        .file("/EFI/BOOT/BOOTX64.EFI", "shim");
    assert_eq!(broken(copy), [("boot-efi-fallback-broken", seen())]);
}

#[test]
fn a_script_that_looks_for_a_file_system_elsewhere_is_found() {
    let with = |script: &str| {
        esp(&["BOOT/BOOTX64.EFI"]).file("/EFI/debian/grub.cfg", script.replace("ID", UUID))
    };
    for good in [
        "search.fs_uuid ID root hd0,gpt2",
        "search --no-floppy --fs-uuid --set=dev ID",
        "search --no-floppy --fs-uuid --set=dev $other",
        "search --label nothing",
        "configfile x",
        "search --hint hd0,gpt3 --fs-uuid --set=root ID",
        // An entry for another disk runs only if somebody chooses it.
        "menuentry 'other' {\n  search --fs-uuid --set=root 6E31-0001\n}\n",
    ] {
        assert_eq!(broken(with(good)), [], "{good}");
    }
    let seen = "/boot/efi/EFI/debian/grub.cfg".to_owned();
    for bad in [
        "search.fs_uuid 6E31-0001 root",
        "search --fs-uuid --set=dev \"6E31-0001\"",
    ] {
        assert_eq!(
            broken(with(bad)),
            [("boot-efi-config-lost", seen.clone())],
            "{bad}"
        );
    }
    // What an earlier system has left does no harm beside a script that is right.
    let both = with("search.fs_uuid ID root")
        .file("/EFI/centos/grub.cfg", "search.fs_uuid 6E31-0001 root");
    let report = super::rules::RULES
        .iter()
        .flat_map(|rule| rule.judge(&facts(both.clone(), MemoryTree::new())).0)
        .map(|finding| (finding.id, finding.severity));
    assert_eq!(
        report.collect::<Vec<_>>(),
        [("boot-efi-config-lost", crate::Severity::Advice)]
    );
    let mut facts = facts(with("search.fs_uuid 6E31-0001 root"), MemoryTree::new());
    facts.volumes[1].content = Content::Encrypted("LUKS");
    assert_eq!(judge(&facts), (vec![], vec!["boot-efi-config-lost"]));
}

#[test]
fn keys_of_the_guest_matter_where_shim_checks_them() {
    let root = || MemoryTree::new().file("/var/lib/dkms/nvidia/1/x.ko", "");
    let shim = esp(&["BOOT/BOOTX64.EFI", "ubuntu/shimx64.efi"]);
    let (found, _) = judge(&facts(shim, root()));
    assert_eq!(found, [("boot-secure-boot", "/var/lib/dkms".to_owned())]);
    let (found, _) = judge(&facts(esp(&["BOOT/BOOTX64.EFI"]), root()));
    assert!(found.is_empty());
}

#[test]
fn a_script_that_cannot_be_read_leaves_its_rule_undecided() {
    let tree = esp(&["BOOT/BOOTX64.EFI"]).broken("/EFI/debian/grub.cfg");
    let (found, unknown) = judge(&facts(tree, MemoryTree::new()));
    assert!(found.is_empty());
    assert_eq!(unknown, ["boot-efi-config-lost"]);
}

#[test]
fn a_server_with_a_bios_is_not_held_against_these_rules() {
    let mut facts = facts(esp(&["debian/grubx64.efi"]), MemoryTree::new());
    facts.wanted.firmware = Some("bios".into());
    assert_eq!(judge(&facts), (vec![], vec![]));
}
