//! The files in `testdata/vmdk`: each reads as its writer's own program reads it, or is refused
//! with the words that say why.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use diskimg::{
    BackingPolicy, DiskImage, DiskImageExt as _, Error, ExtentKind, GuestOffset, OpenOptions,
};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::told;

#[derive(Deserialize)]
struct Vector {
    id: String,
    open: String,
    files: Vec<String>,
    virtual_size: Option<u64>,
    raw_sha256: Option<String>,
    digest: Option<String>,
    #[serde(default)]
    says: Vec<String>,
    #[serde(default)]
    allow: bool,
}

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/vmdk")
}

fn vectors() -> Vec<Vector> {
    let text = fs::read(testdata().join("vectors.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

impl Vector {
    /// Unpacks the files into `dir`, and returns the one to open.
    fn unpack(&self, dir: &Path) -> PathBuf {
        for file in &self.files {
            let bytes = fs::read(testdata().join(file)).unwrap();
            let (name, bytes) = match file.strip_suffix(".gz") {
                None => (file.as_str(), bytes),
                Some(name) => {
                    let mut unpacked = Vec::new();
                    flate2::read::GzDecoder::new(&bytes[..])
                        .read_to_end(&mut unpacked)
                        .unwrap();
                    (name, unpacked)
                }
            };
            fs::write(dir.join(name), bytes).unwrap();
        }
        dir.join(&self.open)
    }

    fn options(&self, dir: &Path) -> OpenOptions {
        OpenOptions {
            backing: match self.allow {
                true => BackingPolicy::Inside(dir.to_owned()),
                false => BackingPolicy::Refuse,
            },
            ..OpenOptions::default()
        }
    }
}

/// The content digest and the SHA-256 of the whole disk; the latter only if `whole`.
fn digests(image: &dyn DiskImage, whole: bool) -> Result<(String, String), Error> {
    const BLOCK: u64 = 2 << 20;
    let size = image.virtual_size();
    let mut raw = Sha256::new();
    let mut content = Sha256::new();
    content.update(b"imgferry-content-v1\n");
    content.update(size.to_le_bytes());
    // Which blocks have a byte that is not in a hole.
    let mut stored = vec![false; size.div_ceil(BLOCK) as usize];
    for extent in image.all_extents() {
        let extent = extent?;
        if extent.kind == ExtentKind::Data {
            let last = (extent.end().0 - 1) / BLOCK;
            stored[(extent.start.0 / BLOCK) as usize..=last as usize].fill(true);
        }
    }
    let mut block = vec![0; BLOCK as usize];
    for (index, stored) in (0_u64..).zip(stored) {
        let len = (size - index * BLOCK).min(BLOCK) as usize;
        block.fill(0);
        if stored {
            image.read_at(GuestOffset(index * BLOCK), &mut block[..len])?;
        }
        if whole {
            raw.update(&block[..len]);
        }
        if !diskimg::zero::is_zero(&block) {
            content.update(index.to_le_bytes());
            content.update(Sha256::digest(&block));
        }
    }
    let content = format!("v1:{}", hex::encode(content.finalize()));
    Ok((content, hex::encode(raw.finalize())))
}

#[test]
fn every_file_of_other_programs_reads_as_they_read_it() {
    let mut count = 0;
    for vector in vectors().iter().filter(|vector| vector.says.is_empty()) {
        let id = &vector.id;
        let dir = tempfile::tempdir().unwrap();
        let path = vector.unpack(dir.path());
        let opened = diskimg::open(&path, &vector.options(dir.path()), &[])
            .unwrap_or_else(|error| panic!("{id}: {}", told(&error)));
        let image = opened.image.as_ref();
        assert_eq!(Some(image.virtual_size()), vector.virtual_size, "{id}");
        let (content, raw) = digests(image, vector.raw_sha256.is_some())
            .unwrap_or_else(|error| panic!("{id}: {}", told(&error)));
        assert_eq!(Some(&content), vector.digest.as_ref(), "{id}");
        if let Some(expected) = &vector.raw_sha256 {
            assert_eq!(&raw, expected, "{id}");
        }
        assert_eq!(opened.files.len(), vector.files.len() - 1, "{id}");
        count += 1;
    }
    assert_eq!(count, 22);
}

#[test]
fn every_damaged_or_hostile_file_is_refused_with_the_reason() {
    let mut count = 0;
    for vector in vectors().iter().filter(|vector| !vector.says.is_empty()) {
        let id = &vector.id;
        let dir = tempfile::tempdir().unwrap();
        let path = vector.unpack(dir.path());
        let result = diskimg::open(&path, &vector.options(dir.path()), &[])
            .and_then(|opened| digests(opened.image.as_ref(), true));
        let Err(error) = result else {
            panic!("{id} was accepted");
        };
        let text = told(&error);
        let lower = text.to_lowercase();
        for word in &vector.says {
            assert!(lower.contains(&word.to_lowercase()), "{id}: {word}: {text}");
        }
        let hint = error.hint().map(ToString::to_string).unwrap_or_default();
        assert!(!hint.contains("qemu-img"), "{id}: {hint}");
        count += 1;
    }
    assert_eq!(count, 23);
}
