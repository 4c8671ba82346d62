//! Files that QEMU wrote, and files that another program wrote by the format's description, with
//! what is on them and what is wrong with them: `testdata/vdi/vectors.json`.

use std::path::{Path, PathBuf};

use diskimg::{Format, OpenOptions, partitions};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use testkit::conformance;

use crate::read_all;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/vdi")
}

fn text<'a>(vector: &'a serde_json::Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap()
}

/// Unpacks the file of `vector` to `dir`.
fn unpack(vector: &serde_json::Value, dir: &Path) -> PathBuf {
    let name = text(vector, "file");
    let packed = std::fs::read(testdata().join(format!("{name}.gz"))).unwrap();
    let mut bytes = vec![0; vector["bytes"].as_u64().unwrap() as usize];
    let len = libdeflater::Decompressor::new()
        .gzip_decompress(&packed, &mut bytes)
        .unwrap();
    assert_eq!(len, bytes.len(), "{name}");
    assert_eq!(hex::encode(Sha256::digest(&bytes)), text(vector, "sha256"));
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The content digest of a disk, by its definition.
fn content_digest(content: &[u8]) -> String {
    const BLOCK: usize = 2 << 20;
    let mut digest = Sha256::new();
    digest.update(b"imgferry-content-v1\n");
    digest.update((content.len() as u64).to_le_bytes());
    for (index, block) in content.chunks(BLOCK).enumerate() {
        if !diskimg::zero::is_zero(block) {
            let mut block = block.to_vec();
            block.resize(BLOCK, 0);
            digest.update((index as u64).to_le_bytes());
            digest.update(Sha256::digest(&block));
        }
    }
    format!("v1:{}", hex::encode(digest.finalize()))
}

#[test]
fn every_vector_reads_as_it_should_or_is_refused_for_its_reason() {
    let vectors = std::fs::read(testdata().join("vectors.json")).unwrap();
    let vectors: Vec<serde_json::Value> = serde_json::from_slice(&vectors).unwrap();
    let dir = TempDir::new().unwrap();
    let (mut read, mut refused) = (0, 0);
    for vector in &vectors {
        let id = text(vector, "id");
        let opened = diskimg::open(&unpack(vector, dir.path()), &OpenOptions::default(), &[]);
        if text(vector, "expect") == "reads" {
            let opened = opened.unwrap();
            assert_eq!(opened.format, Format::Vdi, "{id}");
            let image = opened.image.as_ref();
            assert_eq!(Some(image.virtual_size()), vector["virtual_size"].as_u64());
            assert_eq!(image.details().warnings, [""; 0], "{id}");
            for piece in [1 << 20, 65_537] {
                let content = read_all(image, piece).unwrap();
                let found = hex::encode(Sha256::digest(&content));
                assert_eq!(found, text(vector, "raw_sha256"), "{id}");
                assert_eq!(content_digest(&content), text(vector, "digest"), "{id}");
                conformance(image, &content);
            }
            let table = partitions::read(image).unwrap();
            let expected = vector["partitions"]["entries"].as_array().unwrap();
            assert_eq!(table.entries.len(), expected.len(), "{id}");
            read += 1;
        } else {
            let error = opened.expect_err(id).to_string().to_lowercase();
            for word in vector["says"].as_array().unwrap() {
                let word = word.as_str().unwrap().to_lowercase();
                assert!(error.contains(&word), "{id}: {error} lacks {word}");
            }
            refused += 1;
        }
    }
    assert_eq!((read, refused), (3, 4));
}
