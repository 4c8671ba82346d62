//! cpio archives in the format `newc`, as an initramfs has them.

/// An archive of `files`, below the directory `etc`.
#[must_use]
pub fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut entry = |name: &str, mode: u32, content: &str| {
        let mut fields = [0; 13];
        fields[1] = mode as usize;
        fields[6] = content.len();
        fields[11] = name.len() + 1;
        out.extend(b"070701");
        for field in fields {
            out.extend(format!("{field:08X}").bytes());
        }
        out.extend(name.bytes().chain([0]));
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(content.bytes());
        out.resize(out.len().next_multiple_of(4), 0);
    };
    entry("etc", 0o040_755, "");
    for (name, content) in files {
        entry(name, 0o100_644, content);
    }
    entry("TRAILER!!!", 0, "");
    out.resize(out.len().next_multiple_of(512), 0);
    out
}
