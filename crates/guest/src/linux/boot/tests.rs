use std::rc::Rc;

use super::*;
use crate::tree::memory::MemoryTree;
use crate::volume::{Content, FileSystem, Stack};

pub(crate) fn volume(number: u32, uuid: &str, kind: FileSystem) -> Volume {
    Volume {
        partition: Some(number),
        stack: Stack::Plain,
        size: 1 << 30,
        content: Content::FileSystem(kind),
        uuid: Some(uuid.to_owned()),
        label: None,
        partuuid: None,
        partlabel: None,
        part_type: None,
        priority: 0,
        health: Default::default(),
        closed: None,
    }
}

/// The menu of a guest with a root on partition 1 and perhaps a /boot on 2 and an ESP on 3.
fn menu_of(root: MemoryTree, boot: Option<MemoryTree>, esp: Option<MemoryTree>) -> Option<Menu> {
    let volumes = [
        volume(1, "root", FileSystem::Ext),
        volume(2, "boot", FileSystem::Ext),
        volume(3, "esp", FileSystem::Fat),
    ];
    let mut view = View::new(Rc::new(root), 0);
    if let Some(boot) = boot {
        view.mount(b"/boot", Rc::new(boot), 1);
    }
    if let Some(esp) = esp {
        view.mount(b"/boot/efi", Rc::new(esp), 2);
    }
    menu(&Start {
        view: &view,
        volumes: &volumes,
        subvolume: b"@",
        firmware: None,
        machine: None,
    })
    .unwrap()
}

/// Where the default entry's files are, and its root=.
#[track_caller]
fn default(menu: &Menu) -> (String, Vec<String>, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let entry = &menu.entries[menu.default.unwrap()];
    let path = |file: &BootFile| text(file.path.as_deref().unwrap_or(b"missing"));
    (
        entry.kernel.as_ref().map(path).unwrap_or_default(),
        entry.initrds.iter().map(path).collect(),
        text(entry.command_line.value("root").unwrap_or_default()),
    )
}

fn expect(kernel: &str, initrds: &[&str], root: &str) -> (String, Vec<String>, String) {
    let initrds = initrds.iter().map(|path| (*path).to_owned()).collect();
    (kernel.to_owned(), initrds, root.to_owned())
}

fn files(paths: &[&str]) -> MemoryTree {
    paths
        .iter()
        .fold(MemoryTree::new(), |tree, path| tree.file(path, "x"))
}

const DEBIAN: &str = r#"
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
   set next_entry=
else
   set default="DEFAULT"
fi
if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
fi
function load_video {
  insmod all_video
}
set timeout=5
menuentry 'Debian GNU/Linux' --class gnu $menuentry_id_option 'gnulinux-simple-root' {
	load_video
	search --no-floppy --fs-uuid --set=root --hint-bios=hd0,msdos1 boot
	linux	/vmlinuz-6.1 root=UUID=root ro quiet $vt_handoff
	initrd	/initrd.img-6.1
}
submenu 'Advanced options' $menuentry_id_option 'advanced' {
	menuentry 'Debian, with Linux 6.1' $menuentry_id_option 'six' {
		search --fs-uuid --set=root boot
		linux /vmlinuz-6.1 root=UUID=root ro
	}
	menuentry 'Debian, with Linux 5.10' $menuentry_id_option 'five' {
		search --fs-uuid --set=root boot
		linux /vmlinuz-5.10 root=UUID=five ro
		initrd /microcode.img /initrd.img-5.10
	}
}
menuentry 'UEFI Firmware Settings' $menuentry_id_option 'uefi-firmware' {
	fwsetup
}
"#;

fn debian(default: &str, grubenv: &str) -> Menu {
    let boot = files(&[
        "/vmlinuz-6.1",
        "/initrd.img-6.1",
        "/vmlinuz-5.10",
        "/microcode.img",
    ])
    .file("/grub/grub.cfg", DEBIAN.replace("DEFAULT", default))
    .file(
        "/grub/grubenv",
        format!("# GRUB Environment Block\n{grubenv}\n#####"),
    );
    menu_of(MemoryTree::new(), Some(boot), None).unwrap()
}

#[test]
fn grubs_default_is_a_number_a_title_an_id_or_a_path_of_them() {
    let six = expect("/boot/vmlinuz-6.1", &["/boot/initrd.img-6.1"], "UUID=root");
    let alone = expect("/boot/vmlinuz-6.1", &[], "UUID=root");
    let five = expect(
        "/boot/vmlinuz-5.10",
        &["/boot/microcode.img", "missing"],
        "UUID=five",
    );
    for (wanted, grubenv, found) in [
        ("0", "", &six),
        ("Debian GNU/Linux", "", &six),
        ("1>1", "", &five),
        ("advanced>five", "", &five),
        ("Advanced options>Debian, with Linux 6.1", "", &alone),
        ("1", "", &alone),
        ("gone", "", &six),
        ("1>gone", "", &alone),
        ("${saved_entry}", "saved_entry=advanced>five", &five),
        ("${saved_entry}", "", &six),
        ("0", "next_entry=1>1", &five),
    ] {
        assert_eq!(
            &default(&debian(wanted, grubenv)),
            found,
            "{wanted} {grubenv}"
        );
    }
    let menu = debian("uefi-firmware", "");
    assert_eq!(menu.entries[menu.default.unwrap()].kernel, None);
    assert_eq!(menu.timeout.unwrap().seconds, Some(5));
    let entry = &menu.entries[0];
    assert_eq!(
        (entry.line, entry.path.as_slice()),
        (22, b"/boot/grub/grub.cfg".as_slice())
    );
    assert!(entry.text.starts_with(b"linux\t/vmlinuz-6.1"));
}

#[test]
fn paths_on_a_btrfs_begin_with_the_subvolume_or_in_it() {
    let grub = "menuentry a {\nsearch --fs-uuid --set=root root\nlinux /@/boot/vmlinuz-1\n\
                initrd /boot/initrd-1\n}";
    let root = files(&["/boot/vmlinuz-1", "/boot/initrd-1"]).file("/boot/grub2/grub.cfg", grub);
    let menu = menu_of(root, None, None).unwrap();
    assert_eq!(
        default(&menu),
        expect("/boot/vmlinuz-1", &["/boot/initrd-1"], "")
    );
}

#[test]
fn behind_xen_come_the_kernel_and_its_initramfs() {
    let grub = "menuentry a {\nmultiboot2 /boot/xen.gz placeholder\n\
                module2 /boot/vmlinuz-1 placeholder root=UUID=root\n\
                module2 --nounzip /boot/initrd-1\n}";
    let root = files(&["/boot/xen.gz", "/boot/vmlinuz-1", "/boot/initrd-1"])
        .file("/boot/grub2/grub.cfg", grub);
    let menu = menu_of(root, None, None).unwrap();
    let found = expect("/boot/vmlinuz-1", &["/boot/initrd-1"], "UUID=root");
    assert_eq!(default(&menu), found);
    let xen = menu.entries[0].hypervisor.as_ref().unwrap();
    assert_eq!(xen.path.as_deref(), Some(b"/boot/xen.gz".as_slice()));
}

fn bls(grubenv: &str) -> Menu {
    let entry = |version: &str| {
        format!(
            "title Red Hat ({version})\nversion {version}\nlinux /vmlinuz-{version}\n\
             initrd /initramfs-{version}.img $tuned_initrd\noptions $kernelopts $tuned_params\n"
        )
    };
    let boot = files(&[
        "/vmlinuz-4.18.0-9",
        "/initramfs-4.18.0-9.img",
        "/vmlinuz-4.18.0-10",
    ])
    .file(
        "/grub2/grub.cfg",
        "set default=\"${saved_entry}\"\ninsmod blscfg\nblscfg\n",
    )
    .file(
        "/grub2/grubenv",
        format!("{grubenv}\nkernelopts=root=/dev/mapper/rhel-root ro\n"),
    )
    .file("/loader/entries/m-4.18.0-9.conf", entry("4.18.0-9"))
    .file("/loader/entries/m-4.18.0-10.conf", entry("4.18.0-10"))
    .file("/loader/entries/m-0-rescue.conf", entry("0-rescue"));
    menu_of(MemoryTree::new(), Some(boot), None).unwrap()
}

#[test]
fn entries_in_files_are_chosen_by_name_or_are_the_newest() {
    let nine = expect(
        "/boot/vmlinuz-4.18.0-9",
        &["/boot/initramfs-4.18.0-9.img"],
        "/dev/mapper/rhel-root",
    );
    let ten = expect(
        "/boot/vmlinuz-4.18.0-10",
        &["missing"],
        "/dev/mapper/rhel-root",
    );
    assert_eq!(default(&bls("saved_entry=m-4.18.0-9")), nine);
    assert_eq!(default(&bls("saved_entry=Red Hat (4.18.0-9)")), nine);
    assert_eq!(default(&bls("saved_entry=1")), nine);
    assert_eq!(default(&bls("")), ten);
    let entry = &bls("").entries[0];
    assert_eq!(entry.path, b"/boot/loader/entries/m-4.18.0-10.conf");
    assert_eq!((entry.line, entry.initrds[0].line), (5, 4));
}

#[test]
fn entries_in_files_name_paths_from_the_top_of_their_file_system() {
    let on_root = files(&["/boot/vmlinuz-1", "/boot/initrd-1"])
        .file("/boot/grub2/grub.cfg", "blscfg\n")
        .file(
            "/boot/loader/entries/a.conf",
            "linux /boot/vmlinuz-1\ninitrd /boot/initrd-1\noptions root=UUID=root\n",
        );
    let found = expect("/boot/vmlinuz-1", &["/boot/initrd-1"], "UUID=root");
    assert_eq!(default(&menu_of(on_root, None, None).unwrap()), found);
    // Where /boot is a file system of its own, there is no /boot in it.
    let apart = files(&["/vmlinuz-1"])
        .file("/grub2/grub.cfg", "blscfg\n")
        .file(
            "/loader/entries/a.conf",
            "linux /boot/vmlinuz-1\noptions root=UUID=root\n",
        );
    let missing = expect("missing", &[], "UUID=root");
    let menu = menu_of(MemoryTree::new(), Some(apart), None);
    assert_eq!(default(&menu.unwrap()), missing);
}

#[test]
fn the_script_on_the_esp_counts_when_it_has_the_entries() {
    let full = "menuentry a {\nlinuxefi /vmlinuz-1 root=UUID=esp\n}";
    let stub =
        "search.fs_uuid root root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg";
    let old = "menuentry a {\nlinux /boot/vmlinuz-1 root=UUID=old\n}";
    for (script, root) in [(full, "UUID=esp"), (stub, "UUID=old")] {
        let top = files(&["/boot/vmlinuz-1"]).file("/boot/grub2/grub.cfg", old);
        let esp = MemoryTree::new().file("/EFI/redhat/grub.cfg", script);
        let menu = menu_of(top, None, Some(esp)).unwrap();
        assert_eq!(default(&menu), expect("/boot/vmlinuz-1", &[], root));
    }
}

#[test]
fn the_old_grub_counts_titles_and_partitions_from_zero() {
    let conf = "# comment\ndefault=1\ntimeout 15\nhiddenmenu\ntitle First\n\troot (hd0,0)\n\
                \tkernel /boot/vmlinuz-1 root=/dev/sda1\ntitle Second\n\troot (hd0,1)\n\
                \tkernel /vmlinuz-2 ro root=LABEL=/\n\tinitrd (hd0,1)/initrd-2\n";
    let boot = files(&["/vmlinuz-2", "/initrd-2"]).file("/grub/menu.lst", conf);
    let menu = menu_of(MemoryTree::new(), Some(boot), None).unwrap();
    assert_eq!(
        default(&menu),
        expect("/boot/vmlinuz-2", &["/boot/initrd-2"], "LABEL=/")
    );
    assert_eq!(menu.timeout.unwrap().seconds, Some(15));
    let entry = &menu.entries[0];
    assert_eq!(entry.kernel.as_ref().unwrap().path, None);
    assert_eq!(
        (entry.line, entry.title.as_slice()),
        (7, b"First".as_slice())
    );
}

#[test]
fn xen_in_the_old_grub_starts_modules() {
    let conf = "title Xen\nkernel /boot/xen.gz dom0\nmodule /boot/vmlinuz-1 root=/dev/sda1\n\
                module /boot/initrd-1\n";
    let root = files(&["/boot/xen.gz", "/boot/vmlinuz-1", "/boot/initrd-1"])
        .file("/boot/grub/grub.conf", conf);
    let menu = menu_of(root, None, None).unwrap();
    assert_eq!(
        default(&menu),
        expect("/boot/vmlinuz-1", &["/boot/initrd-1"], "/dev/sda1")
    );
    assert!(menu.entries[0].hypervisor.is_some());
}

#[test]
fn extlinux_starts_the_label_that_is_named_or_marked() {
    let conf = "DEFAULT menu.c32\nPROMPT 0\nTIMEOUT 300\n\nLABEL old\n  LINUX vmlinuz-old\n\
                LABEL virt\n  MENU DEFAULT\n  MENU LABEL Linux virt\n  LINUX vmlinuz-virt\n\
                  INITRD ucode.img,initramfs-virt\n  APPEND root=UUID=root quiet\n";
    let boot = files(&["/vmlinuz-virt", "/initramfs-virt", "/ucode.img"]);
    let with = |conf: &str| boot.clone().file("/extlinux.conf", conf);
    let menu = menu_of(MemoryTree::new(), Some(with(conf)), None).unwrap();
    let found = expect(
        "/boot/vmlinuz-virt",
        &["/boot/ucode.img", "/boot/initramfs-virt"],
        "UUID=root",
    );
    assert_eq!(default(&menu), found);
    assert_eq!(menu.timeout.as_ref().unwrap().seconds, Some(30));
    assert_eq!(
        menu.entries[1].initramfs(),
        Some(b"/boot/initramfs-virt".as_slice())
    );
    let named = conf.replace("menu.c32", "old");
    let menu = menu_of(MemoryTree::new(), Some(with(&named)), None).unwrap();
    assert_eq!(default(&menu).0, "missing");
    let appended = "label a\nkernel /vmlinuz-virt\nappend initrd=/initramfs-virt root=UUID=x\n";
    let menu = menu_of(MemoryTree::new(), Some(with(appended)), None).unwrap();
    assert_eq!(
        default(&menu),
        expect("/boot/vmlinuz-virt", &["/boot/initramfs-virt"], "UUID=x")
    );
}

#[test]
fn lilo_adds_what_holds_for_all_images() {
    let conf = "boot=/dev/sda\ndefault=new\nroot=/dev/sda1\nimage=/boot/old\n  label=old\n\
                image=/boot/new\n  label=new\n  append=\"quiet console=ttyS0\"\n";
    let root = files(&["/boot/old", "/boot/new"]).file("/etc/lilo.conf", conf);
    let menu = menu_of(root, None, None).unwrap();
    assert_eq!(default(&menu), expect("/boot/new", &[], "/dev/sda1"));
    assert!(menu.entries[1].command_line.has("console"));
}

/// A program for UEFI with `sections`.
fn program(sections: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x80;
    bytes[0x80..0x86].copy_from_slice(b"PE\0\0\x64\x86");
    bytes[0x86] = u8::try_from(sections.len()).unwrap();
    for (index, (name, content)) in sections.iter().enumerate() {
        let at = 0x98 + index * 40;
        let number = |len: usize| u32::try_from(len).unwrap();
        let (size, place) = (number(content.len()), number(bytes.len()));
        bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
        bytes[at + 8..at + 12].copy_from_slice(&size.to_le_bytes());
        bytes[at + 16..at + 20].copy_from_slice(&size.to_le_bytes());
        bytes[at + 20..at + 24].copy_from_slice(&place.to_le_bytes());
        bytes.extend(content.as_bytes());
    }
    bytes
}

#[test]
fn systemd_boot_takes_the_entry_that_its_default_matches() {
    let esp = |conf: &str| {
        files(&[
            "/EFI/systemd/systemd-bootx64.efi",
            "/vmlinuz-linux",
            "/vmlinuz-lts",
        ])
        .file("/loader/loader.conf", conf)
        .file(
            "/loader/entries/arch.conf",
            "linux /vmlinuz-linux\noptions root=LABEL=a\n",
        )
        .file(
            "/loader/entries/lts.conf",
            "linux /vmlinuz-lts\noptions root=LABEL=b\n",
        )
    };
    let menu = menu_of(
        MemoryTree::new(),
        None,
        Some(esp("timeout 3\ndefault l*.conf\n")),
    );
    let menu = menu.unwrap();
    assert_eq!(
        default(&menu),
        expect("/boot/efi/vmlinuz-lts", &[], "LABEL=b")
    );
    assert_eq!(menu.timeout.unwrap().seconds, Some(3));
    let saved = menu_of(MemoryTree::new(), None, Some(esp("default @saved\n")));
    assert_eq!(saved.unwrap().default, None);
    let none = menu_of(MemoryTree::new(), None, Some(esp("")));
    assert_eq!(default(&none.unwrap()).2, "LABEL=b");
}

#[test]
fn a_unified_image_has_everything_inside() {
    let archive = initramfs::tests::archive(&[("lib/modules/6.6/virtio_blk.ko", "")]);
    let archive = String::from_utf8(archive).unwrap();
    let image = program(&[
        (".uname", "6.6"),
        (".cmdline", "root=LABEL=x console=ttyS0\n"),
        (".linux", "x"),
        (".initrd", &archive),
    ]);
    let esp = MemoryTree::new().file("/EFI/Linux/linux.efi", image);
    let mut view = View::new(Rc::new(MemoryTree::new()), 0);
    view.mount(b"/efi", Rc::new(esp), 1);
    let volumes = [
        volume(1, "root", FileSystem::Ext),
        volume(2, "esp", FileSystem::Fat),
    ];
    let start = Start {
        view: &view,
        volumes: &volumes,
        subvolume: b"",
        firmware: Some("uefi"),
        machine: Some("x86_64"),
    };
    let boot = LinuxBoot::collect(&start, &Allowance::default());
    let kernel = boot.kernel().unwrap();
    assert_eq!(kernel.version.as_deref(), Some("6.6"));
    assert_eq!(kernel.machine, Some("x86_64"));
    assert_eq!(kernel.brings("virtio_blk"), Ok(true));
    assert_eq!(kernel.brings("virtio_net"), Ok(false));
    let line = boot.command_line().unwrap();
    assert_eq!(line.value("root"), Some(b"LABEL=x".as_slice()));
    assert_eq!(
        boot.entry().unwrap().seen().path,
        "/efi/EFI/Linux/linux.efi"
    );
}

#[test]
fn of_unified_images_the_one_that_the_configuration_names_starts() {
    let image = |root: &str| program(&[(".cmdline", root), (".linux", "x")]);
    let default = |conf: &str| {
        let esp = MemoryTree::new()
            .file("/EFI/Linux/arch.efi", image("root=LABEL=a"))
            .file("/EFI/Linux/debian.efi", image("root=LABEL=d"))
            .file("/loader/loader.conf", conf);
        let menu = menu_of(MemoryTree::new(), None, Some(esp)).unwrap();
        let entry = &menu.entries[menu.default.unwrap()];
        entry.command_line.value("root").unwrap().to_vec()
    };
    assert_eq!(default("timeout 3\ndefault arch*\n"), b"LABEL=a");
    assert_eq!(default("default gone.efi\n"), b"LABEL=d");
    assert_eq!(default(""), b"LABEL=d");
}

#[test]
fn a_kernel_has_the_initramfs_that_the_default_entry_gives_it() {
    let module = |name: &str| {
        let path = format!("lib/modules/6.7/{name}.ko");
        initramfs::tests::archive(&[(path.as_str(), "")])
    };
    let dir = "/usr/lib/modules/6.7/kernel/drivers";
    let root = MemoryTree::new()
        .link("/lib", "usr/lib")
        .file(&format!("{dir}/block/virtio_blk.ko"), "")
        .file(&format!("{dir}/virtio/virtio_pci.ko"), "")
        .file("/boot/vmlinuz-linux", kernel::tests::image("6.7", true))
        .file("/boot/own.img", module("ext4"))
        .file("/boot/spare.img", module("virtio_blk"))
        .file(
            "/boot/grub/grub.cfg",
            "set default=1\n\
             menuentry spare {\nlinux /boot/vmlinuz-linux\ninitrd /boot/spare.img\n}\n\
             menuentry own {\nlinux /boot/vmlinuz-linux\ninitrd /boot/own.img\n}\n",
        );
    let start = Start {
        view: &View::new(Rc::new(root), 0),
        volumes: &[volume(1, "root", FileSystem::Ext)],
        subvolume: b"",
        firmware: None,
        machine: None,
    };
    let boot = LinuxBoot::collect(&start, &Allowance::default());
    let kernel = boot.kernel().unwrap();
    assert_eq!(
        kernel.initramfs.as_deref(),
        Some(b"/boot/own.img".as_slice())
    );
    assert_eq!(kernel.brings("virtio_blk"), Ok(false));
    let (path, inside) = kernel.spare.as_ref().unwrap();
    assert_eq!(path, b"/boot/spare.img");
    assert_eq!(inside.module("6.7", "virtio_blk"), Ok(true));
}

#[test]
fn a_timeout_that_is_set_at_run_time_leaves_the_one_before() {
    let grub = "set timeout=20\nset timeout=$later\nmenuentry a {\nlinux /boot/v\n}\n";
    let root = files(&["/boot/v"]).file("/boot/grub/grub.cfg", grub);
    let timeout = menu_of(root, None, None).unwrap().timeout.unwrap();
    assert_eq!((timeout.seconds, timeout.seen.line), (Some(20), Some(1)));
}

#[test]
fn a_default_entry_that_may_be_among_those_not_read_is_not_known() {
    let entries: String = (0..100)
        .map(|number| format!("menuentry e{number} {{\nlinux /boot/v\n}}\n"))
        .collect();
    for (wanted, found) in [("e3", Some(3)), ("e99", None), ("", Some(0))] {
        let script = format!("set default={wanted}\n{entries}");
        let root = files(&["/boot/v"]).file("/boot/grub/grub.cfg", script);
        assert_eq!(
            menu_of(root, None, None).unwrap().default,
            found,
            "{wanted}"
        );
    }
}

#[test]
fn a_script_of_braces_is_no_burden() {
    let text = "menuentry a {\n".repeat(40_000) + "linux /x\n" + &"}\n".repeat(40_000);
    let root = MemoryTree::new().file("/boot/grub/grub.cfg", text);
    let menu = menu_of(root, None, None).unwrap();
    assert!(menu.entries.len() <= crate::budget::MAX_BOOT_ENTRIES);
}

#[test]
fn what_blocks_the_network_driver_is_found_once() {
    let root = MemoryTree::new()
        .link("/lib", "usr/lib")
        .file(
            "/usr/lib/modprobe.d/a.conf",
            "# blacklist virtio_net\nblacklist virtio-net\n",
        )
        .file(
            "/etc/modprobe.d/b.conf",
            "install virtio_net /bin/true\ninstall x /bin/true\n",
        )
        .file("/etc/modprobe.d/c", "blacklist virtio_net\n");
    let view = View::new(Rc::new(root), 0);
    let found = settings::blocked(&view).unwrap();
    let places: Vec<_> = found
        .iter()
        .map(|seen| (seen.path.as_str(), seen.line))
        .collect();
    assert_eq!(
        places,
        [
            ("/etc/modprobe.d/b.conf", Some(1)),
            ("/usr/lib/modprobe.d/a.conf", Some(2))
        ]
    );
}

#[test]
fn no_damage_stops_the_readers_of_menus_and_kernels() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut damaged = |bytes: &[u8]| initramfs::tests::damaged(bytes, &mut random);
    let image = program(&[(".uname", "6.6"), (".cmdline", "root=x"), (".linux", "x")]);
    for _ in 0..200 {
        let old = b"default 0\ntitle a\nroot (hd0,0)\nkernel (hd0,0)/v a=b\ninitrd /i\n";
        let conf = b"default a\nlabel a\nkernel v\nappend initrd=a,b root=c\nmenu default\n";
        let root = MemoryTree::new()
            .file(
                "/boot/vmlinuz-6.1",
                damaged(&kernel::tests::image("6.1", true)),
            )
            .file("/boot/grub/menu.lst", damaged(old))
            .file("/boot/extlinux.conf", damaged(conf))
            .file(
                "/etc/lilo.conf",
                damaged(b"root=a\nimage=/b\nlabel=c\nappend=\"d\"\n"),
            );
        let esp = MemoryTree::new().file("/EFI/Linux/a.efi", damaged(&image));
        let boot = MemoryTree::new()
            .file("/grub/grub.cfg", damaged(DEBIAN.as_bytes()))
            .file("/grub/grubenv", damaged(b"saved_entry=a\nb=c\n"));
        let read = std::panic::catch_unwind(|| {
            drop(menu_of(root.clone(), None, Some(esp.clone())));
            drop(menu_of(root.clone(), Some(boot), Some(esp)));
            drop(kernel::collect(&View::new(Rc::new(root), 0), None, None));
        });
        assert!(read.is_ok(), "seed {seed}");
    }
}
