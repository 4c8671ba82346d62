//! Bytes by chance, read as a package. The first one says whether the checksums of tar headers are
//! corrected; the rest is the archive.

#![no_main]

use std::path::Path;
use std::sync::Arc;

use diskimg::{FileOffset, MemorySource, ReadAt};
use libfuzzer_sys::fuzz_target;
use ova::Package;

const BLOCK: usize = 512;

fuzz_target!(|input: &[u8]| {
    let Some((flags, archive)) = input.split_first() else {
        return;
    };
    let mut archive = archive.to_vec();
    if flags & 1 == 1 {
        for block in archive.chunks_exact_mut(BLOCK) {
            if block[257..262] == *b"ustar" {
                let header = testkit::ova::sealed(block.try_into().expect("a block"));
                block.copy_from_slice(&header);
            }
        }
    }
    let len = archive.len() as u64;
    let source: Arc<dyn ReadAt> = Arc::new(MemorySource(archive));
    let Ok(Some(package)) = Package::of(source, Path::new("vm.ova")) else {
        return;
    };
    let manifest = package.manifest();
    for disk in package.disks() {
        assert!(disk.size() <= len);
        let Ok(source) = disk.source(&diskimg::Stop::never()) else {
            continue;
        };
        let mut first = vec![0; source.len().min(1 << 20) as usize];
        source.read_exact_at(FileOffset(0), &mut first).expect("the beginning");
        if let Ok(Some(manifest)) = &manifest {
            let _ = manifest.of(disk).map(|verification| verification.run(&|| false));
        }
    }
});
