//! Descriptions of trees, as `mkfs.xfs -p` reads them.

#![allow(clippy::unwrap_used, reason = "test helper")]

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Writes the description of the tree at `top` to `to`. It has no sticky bits, no devices, and no
/// names with blanks.
///
/// # Panics
/// When the tree cannot be read or the description cannot be written.
pub fn write(top: &Path, to: &Path) {
    let mut file = File::create(to).unwrap();
    writeln!(file, "-\n0 0\nd--{:03o} 0 0", mode(top) & 0o777).unwrap();
    directory(&mut file, top);
    writeln!(file, "$").unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode()
}

fn directory(file: &mut File, top: &Path) {
    for entry in fs::read_dir(top).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let about = fs::symlink_metadata(&path).unwrap();
        let mode = mode(&path);
        let bits = |kind: char| {
            let user = if mode & 0o4000 == 0 { '-' } else { 'u' };
            let group = if mode & 0o2000 == 0 { '-' } else { 'g' };
            format!("{name} {kind}{user}{group}{:03o} 0 0", mode & 0o777)
        };
        if about.is_dir() {
            writeln!(file, "{}", bits('d')).unwrap();
            directory(file, &path);
            writeln!(file, "$").unwrap();
        } else if about.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            writeln!(file, "{} {}", bits('l'), target.display()).unwrap();
        } else {
            writeln!(file, "{} {}", bits('-'), path.display()).unwrap();
        }
    }
}
