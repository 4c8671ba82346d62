//! Packages with bytes changed by chance: whatever comes of them, nothing panics, and every disk is
//! inside of its package.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "tests"
)]

use std::path::Path;
use std::sync::Arc;

use diskimg::{FileOffset, MemorySource, ReadAt};
use ova::Package;
use testkit::ova::{Machine, Tar};

/// Opens it, and reads what it says is there. Says whether it was a package.
fn look(bytes: Vec<u8>) -> bool {
    let len = bytes.len() as u64;
    let source: Arc<dyn ReadAt> = Arc::new(MemorySource(bytes));
    let Ok(Some(package)) = Package::of(source, Path::new("vm.ova")) else {
        return false;
    };
    let manifest = package.manifest();
    for disk in package.disks() {
        assert!(disk.size() <= len);
        if let Ok(source) = disk.source(&diskimg::Stop::never()) {
            let mut all = vec![0; usize::try_from(source.len()).unwrap()];
            source.read_exact_at(FileOffset(0), &mut all).unwrap();
            assert!(source.read_exact_at(FileOffset(1), &mut all).is_err() || all.is_empty());
        }
        if let Ok(Some(manifest)) = &manifest {
            let _ = manifest
                .of(disk)
                .map(|verification| verification.run(&|| false));
        }
    }
    true
}

#[test]
fn packages_with_changed_bytes_do_no_harm() {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/ova");
    let mut opened = 0;
    for name in ["open-vmdk.ova", "virtualbox.ova", "web.ova", "gz.ova"] {
        let whole = std::fs::read(dir.join(name)).unwrap();
        for _ in 0..400 {
            let mut bytes = whole.clone();
            // Headers and the descriptor are in front.
            let front = bytes.len().min(14 << 10);
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..front);
                bytes[at] = match random.bool() {
                    true => random.u8(..),
                    false => *random.choice(b"0<>\"/&7 ").unwrap(),
                };
            }
            if random.u8(..) < 64 {
                bytes.truncate(random.usize(..bytes.len()));
            }
            opened += usize::from(look(bytes));
        }
    }
    assert!(opened > 0, "some still open");
}

/// The seeds of the fuzz target: a byte of flags, then the archive. `UPDATE_SEEDS=1` writes them
/// anew.
#[test]
fn the_seeds_of_packages_are_packages() {
    let two = Machine {
        firmware: Some("efi"),
        ..Machine::new("vm", &[("a.vmdk", 1 << 20), ("b.img", 1 << 20)])
    };
    let one = Machine::new("vm", &[("folder/long%20name.img", 4096)]);
    let pax = Tar::new()
        .pax(&[("path", "vm.ovf"), ("comment", "x")])
        .file("short", one.descriptor().as_bytes())
        .pax(&[("size", "7")])
        .member("folder/long name.img", b'0', b"0", b"content")
        .end();
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/ova");
    for (name, archive) in [("two-disks", two.archive(&[b"KDMV", b"raw"])), ("pax", pax)] {
        let seed = [vec![1], archive.clone()].concat();
        let path = seeds.join(name);
        if std::env::var_os("UPDATE_SEEDS").is_some() {
            std::fs::write(&path, &seed).unwrap();
        }
        assert!(std::fs::read(&path).unwrap() == seed, "{}", path.display());
        assert!(look(archive), "{name}");
    }
}
