//! What the figures were measured on.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use serde::Serialize;

/// Facts about the machine. What the system does not report is left out.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Model of the processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Cores that this process may use.
    pub cores: usize,
    /// Installed memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Operating system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// Version of the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Architecture that the program was built for.
    pub architecture: &'static str,
    /// Type of the file system that output goes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_file_system: Option<String>,
    /// Type of the file system that the image is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_file_system: Option<String>,
    /// Version of this program.
    pub imgferry_version: &'static str,
    /// Version of the compressor.
    pub encoder_version: String,
}

impl Machine {
    /// Facts about this machine; output goes to `dir`.
    pub(crate) fn this(dir: &Path, image: Option<&Path>) -> Self {
        let read = |path: &str| fs::read_to_string(path).ok();
        let mounts = read("/proc/self/mountinfo").unwrap_or_default();
        let file_system = |path: &Path| {
            let path = fs::canonicalize(path).ok()?;
            file_system_of(&path, &mounts)
        };
        Self {
            cpu: read("/proc/cpuinfo").and_then(|text| cpu_model(&text)),
            cores: cores(),
            memory_bytes: read("/proc/meminfo").and_then(|text| bytes(&text, "MemTotal")),
            os: read("/etc/os-release").and_then(|text| os_name(&text)),
            kernel: read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
            architecture: std::env::consts::ARCH,
            output_file_system: file_system(dir),
            image_file_system: image.and_then(file_system),
            imgferry_version: env!("CARGO_PKG_VERSION"),
            encoder_version: zvhd2::encoder_version(),
        }
    }
}

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The value of `name : value`, the first of them.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
        .filter(|value| !value.is_empty())
}

fn cpu_model(cpuinfo: &str) -> Option<String> {
    // ARM has a part number where x86 has a name.
    field(cpuinfo, "model name")
        .or_else(|| field(cpuinfo, "CPU part").map(|part| format!("part {part}")))
}

/// The value of `name`, which the kernel gives in KiB.
fn bytes(text: &str, name: &str) -> Option<u64> {
    let kib: u64 = field(text, name)?.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

fn os_name(release: &str) -> Option<String> {
    let value = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches('"').to_owned())
}

/// Type of the file system that is mounted nearest above `path`, by the lines of `mountinfo`.
fn file_system_of(path: &Path, mounts: &str) -> Option<String> {
    mounts
        .lines()
        .filter_map(|line| {
            let (front, back) = line.split_once(" - ")?;
            let point = PathBuf::from(unescaped(front.split(' ').nth(4)?));
            let kind = back.split(' ').next()?.to_owned();
            path.starts_with(&point)
                .then(|| (point.components().count(), kind))
        })
        // The last of several at one place hides the others.
        .max_by_key(|(depth, _)| *depth)
        .map(|(_, kind)| kind)
}

/// `mountinfo` writes spaces and the like as three octal digits.
fn unescaped(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .into_iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_as_the_kernel_writes_them() {
        let cpuinfo =
            "processor\t: 0\nmodel name\t: AMD EPYC\nprocessor\t: 1\nmodel name\t: other\n";
        assert_eq!(cpu_model(cpuinfo).unwrap(), "AMD EPYC");
        assert_eq!(cpu_model("CPU part\t: 0xd40\n").unwrap(), "part 0xd40");
        assert_eq!(cpu_model("flags\t: none\n"), None);
        assert_eq!(
            bytes("MemTotal:       2048 kB\n", "MemTotal"),
            Some(2 << 20)
        );
        assert_eq!(bytes("MemFree: 1 kB\n", "MemTotal"), None);
        assert_eq!(
            os_name("ID=x\nPRETTY_NAME=\"Debian 12\"\n").unwrap(),
            "Debian 12"
        );
    }

    #[test]
    fn the_file_system_is_that_of_the_nearest_mount() {
        let mounts = "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
                      30 22 0:20 / /tmp rw shared:1 - tmpfs tmpfs rw\n\
                      31 22 0:21 / /mnt/a\\040b rw - xfs /dev/vdb rw\n\
                      garbage\n";
        let of = |path: &str| file_system_of(Path::new(path), mounts);
        assert_eq!(of("/home/x").unwrap(), "ext4");
        assert_eq!(of("/tmp/x/y").unwrap(), "tmpfs");
        assert_eq!(of("/tmpfiles").unwrap(), "ext4");
        assert_eq!(of("/mnt/a b/c").unwrap(), "xfs");
        assert_eq!(file_system_of(Path::new("/x"), ""), None);
    }
}
