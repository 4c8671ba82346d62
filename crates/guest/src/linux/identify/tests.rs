use super::*;
use crate::tree::memory::MemoryTree;
use crate::tree::{Entry, Stat, Subvolume};
use crate::volume::{Content, FileSystem, Stack};

fn volume(number: u32, uuid: &str) -> Volume {
    Volume {
        partition: Some(number),
        stack: Stack::Plain,
        size: 1 << 30,
        content: Content::FileSystem(FileSystem::Ext),
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

fn trees(trees: Vec<Rc<dyn Tree>>) -> (Vec<Volume>, Vec<Option<Rc<dyn Tree>>>) {
    let volumes = (1..)
        .zip(&trees)
        .map(|(number, _)| volume(number, &format!("uuid-{number}")))
        .collect();
    (volumes, trees.into_iter().map(Some).collect())
}

fn root(id: &str) -> MemoryTree {
    MemoryTree::new()
        .directory("/bin")
        .file("/etc/hosts", "")
        .file("/etc/os-release", format!("ID={id}\nVERSION_ID=1"))
}

fn menu(uuid: &str) -> String {
    format!("menuentry x {{\nlinux /vmlinuz-1 root=UUID={uuid}\n}}\n")
}

#[test]
fn what_the_fstab_mounts_is_seen_even_where_os_release_lies_in_usr() {
    let top = MemoryTree::new()
        .link("/bin", "usr/bin")
        .link("/etc/os-release", "../usr/lib/os-release")
        .directory("/usr")
        .file(
            "/etc/fstab",
            "UUID=uuid-1 / ext4\nUUID=uuid-2 /usr ext4\n/dev/sda3 /boot ext4\nUUID=no /srv ext4\n",
        );
    let usr = MemoryTree::new().file("/lib/os-release", "ID=sles\nVERSION_ID=15.5");
    let boot = MemoryTree::new().file("/vmlinuz-1", "");
    let (volumes, trees) = trees(vec![Rc::new(top), Rc::new(usr), Rc::new(boot)]);
    let found = identify(&volumes, &trees);
    assert_eq!(found.failed, []);
    let [root] = found.roots.as_slice() else {
        panic!("{} roots", found.roots.len());
    };
    assert_eq!((root.os.id.as_str(), root.volume), ("sles", 0));
    assert!(root.view.exists("/boot/vmlinuz-1").unwrap());
    assert!(!root.view.exists("/srv").unwrap());
}

#[test]
fn a_boot_file_system_on_another_disk_is_an_error_and_not_an_empty_directory() {
    let top = root("a").file("/etc/fstab", "UUID=gone /boot ext4 defaults 0 0\n");
    let (volumes, trees) = trees(vec![Rc::new(top)]);
    let found = identify(&volumes, &trees);
    let error = found.roots[0].view.list("/boot").unwrap_err();
    assert!(error.0.contains("/boot is on UUID=gone"), "{error:?}");
    let boot = found.roots[0].boot(&volumes, None);
    assert!(boot.entries.is_err() && boot.kernels.is_err());
}

#[test]
fn a_boot_file_system_that_no_fstab_names_is_mounted_when_it_is_the_only_one() {
    let boot = || Rc::new(MemoryTree::new().file("/loader/entries/a.conf", ""));
    let (volumes, one) = trees(vec![Rc::new(root("a")), boot()]);
    let found = identify(&volumes, &one);
    assert!(found.roots[0].view.exists("/boot/loader/entries").unwrap());
    let (volumes, two) = trees(vec![Rc::new(root("a")), boot(), boot()]);
    let found = identify(&volumes, &two);
    assert!(!found.roots[0].view.exists("/boot/loader/entries").unwrap());
}

#[test]
fn of_two_systems_the_one_is_started_whose_menu_starts_itself() {
    let first = root("a").file("/boot/grub/grub.cfg", menu("uuid-2"));
    let second = root("b").file("/boot/grub/grub.cfg", menu("uuid-2"));
    let (volumes, both) = trees(vec![Rc::new(first.clone()), Rc::new(second)]);
    let found = identify(&volumes, &both);
    assert_eq!(found.roots.len(), 2);
    assert_eq!(started(&found.roots, &volumes, None), 1);
    let (volumes, both) = trees(vec![Rc::new(first), Rc::new(root("b"))]);
    let found = identify(&volumes, &both);
    assert_eq!(started(&found.roots, &volumes, None), 1);
}

/// A Btrfs; the first subvolume is the default one.
struct Subvolumes(Vec<(&'static str, MemoryTree)>);

impl Tree for Subvolumes {
    fn stat(&self, path: &[u8]) -> Result<Option<Stat>, TreeError> {
        self.0[0].1.stat(path)
    }

    fn read_at(&self, path: &[u8], at: u64, buf: &mut [u8]) -> Result<usize, TreeError> {
        self.0[0].1.read_at(path, at, buf)
    }

    fn list(&self, path: &[u8]) -> Result<Vec<Entry>, TreeError> {
        self.0[0].1.list(path)
    }

    fn read_link(&self, path: &[u8]) -> Result<Vec<u8>, TreeError> {
        self.0[0].1.read_link(path)
    }

    fn subvolumes(&self) -> Result<Vec<Subvolume>, TreeError> {
        let subvolume = |(id, (path, _)): (u64, &(&str, _))| Subvolume {
            id,
            path: path.as_bytes().to_vec(),
            default: id == 0,
        };
        Ok((0..).zip(&self.0).map(subvolume).collect())
    }

    fn subvolume(&self, id: u64) -> Result<Rc<dyn Tree>, TreeError> {
        Ok(Rc::new(self.0[usize::try_from(id).unwrap()].1.clone()))
    }
}

fn btrfs(subvolumes: Vec<(&'static str, MemoryTree)>) -> Vec<(String, Vec<u8>)> {
    let (volumes, trees) = trees(vec![Rc::new(Subvolumes(subvolumes))]);
    let found = identify(&volumes, &trees);
    assert_eq!(found.failed, []);
    found
        .roots
        .into_iter()
        .map(|root| (root.os.id, root.subvolume))
        .collect()
}

#[test]
fn the_default_subvolume_is_the_root_and_snapshots_are_none() {
    let snapshot = "@/.snapshots/1/snapshot";
    let found = btrfs(vec![
        (snapshot, root("new")),
        ("", MemoryTree::new().directory("/@")),
        ("@", MemoryTree::new()),
        ("@/.snapshots/2/snapshot", root("old")),
    ]);
    assert_eq!(found, [("new".to_owned(), snapshot.as_bytes().to_vec())]);
}

#[test]
fn a_subvolume_with_a_usual_name_is_the_root_when_the_default_one_is_none() {
    let found = btrfs(vec![
        ("", MemoryTree::new()),
        ("@home", root("x")),
        ("root", root("f")),
    ]);
    assert_eq!(found, [("f".to_owned(), b"root".to_vec())]);
}

#[test]
fn the_command_line_goes_before_the_fstab_and_the_fstab_before_the_default() {
    let fstab = "UUID=uuid-1 / btrfs subvol=/by-fstab 0 0\n";
    let grub = "menuentry x {\nlinux /boot/vmlinuz rootflags=subvol=by-line,noatime\n}\n";
    let default = root("default").file("/etc/fstab", fstab);
    let others = [("by-fstab", root("fstab")), ("by-line", root("line"))];
    let with = |default| [vec![("@", default)], others.to_vec()].concat();
    assert_eq!(
        btrfs(with(default.clone())),
        [("fstab".to_owned(), b"by-fstab".to_vec())]
    );
    let found = btrfs(with(default.file("/boot/grub2/grub.cfg", grub)));
    assert_eq!(found, [("line".to_owned(), b"by-line".to_vec())]);
}

#[test]
fn a_deployment_of_ostree_is_found_through_the_boot_entry() {
    let deployment = "/ostree/deploy/fedora-coreos/deploy/abc.0";
    let top = MemoryTree::new()
        .link("/ostree/boot.1", "boot.1.1")
        .link(
            "/ostree/boot.1.1/fedora-coreos/xyz/0",
            "../../../deploy/fedora-coreos/deploy/abc.0",
        )
        .link(&format!("{deployment}/bin"), "usr/bin")
        .file(&format!("{deployment}/etc/hosts"), "")
        .file(
            &format!("{deployment}/usr/lib/os-release"),
            "ID=fedora\nVERSION_ID=39",
        )
        .directory("/ostree/deploy/fedora-coreos/deploy/def.0/etc")
        .file("/ostree/deploy/fedora-coreos/var/lib/x", "");
    let entry =
        "title x\nlinux /ostree/vmlinuz-6\noptions ostree=/ostree/boot.1/fedora-coreos/xyz/0\n";
    let boot = MemoryTree::new().file("/loader/entries/ostree-1.conf", entry);
    let (volumes, trees) = trees(vec![Rc::new(top), Rc::new(boot)]);
    let found = identify(&volumes, &trees);
    assert_eq!(found.failed, []);
    let root = &found.roots[0];
    assert_eq!(root.os.version.as_deref(), Some("39"));
    assert!(root.view.exists("/var/lib/x").unwrap());
    assert!(root.view.exists("/boot/loader").unwrap());
}

#[test]
fn the_newer_usr_of_flatcar_counts() {
    let usr = |version: &str| {
        MemoryTree::new()
            .directory("/share/flatcar")
            .directory("/bin")
            .file(
                "/lib/os-release",
                format!("ID=flatcar\nVERSION_ID={version}"),
            )
    };
    let top = MemoryTree::new()
        .link("/bin", "usr/bin")
        .file("/etc/hosts", "");
    let (mut volumes, trees) = trees(vec![
        Rc::new(usr("3510.2.0")),
        Rc::new(usr("3602.1.0")),
        Rc::new(top),
    ]);
    volumes[2].partlabel = Some("ROOT".to_owned());
    let found = identify(&volumes, &trees);
    let versions: Vec<_> = found
        .roots
        .iter()
        .map(|root| root.os.version.as_deref())
        .collect();
    assert_eq!(versions, [Some("3602.1.0")]);
    assert_eq!(found.roots[0].volume, 2);
    // What was updated and did not start is left at a lower priority.
    (volumes[0].priority, volumes[1].priority) = (2, 1);
    let found = identify(&volumes, &trees);
    let version = found.roots[0].os.version.as_deref();
    assert_eq!(version, Some("3510.2.0"));
}

#[test]
fn a_usr_that_no_fstab_names_is_mounted_when_its_partition_says_what_it_is() {
    let top = MemoryTree::new()
        .link("/bin", "usr/bin")
        .link("/etc/os-release", "../usr/lib/os-release")
        .file("/etc/hosts", "");
    let usr = MemoryTree::new()
        .directory("/bin")
        .file("/lib/os-release", "ID=arch");
    let (mut volumes, trees) = trees(vec![Rc::new(top), Rc::new(usr)]);
    assert_eq!(identify(&volumes, &trees).roots[0].os.id, "linux");
    volumes[1].part_type = Some("8484680c-9521-48c6-9c11-b0720656f69e".to_owned());
    let found = identify(&volumes, &trees);
    assert_eq!(found.roots.len(), 1);
    assert_eq!(found.roots[0].os.id, "arch");
}

#[test]
fn file_systems_without_a_system_are_no_roots() {
    let data = MemoryTree::new().file("/etc/hosts", "").file("/data/x", "");
    let (volumes, trees) = trees(vec![Rc::new(data)]);
    assert!(identify(&volumes, &trees).roots.is_empty());
}
