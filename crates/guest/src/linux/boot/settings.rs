//! Settings outside of boot entries that decide how the system starts.

use crate::Seen;
use crate::budget::MAX_FILE;
use crate::tree::Result;
use crate::view::View;
use crate::volume::Device;

/// The devices in the configuration of initramfs-tools from which a hibernated system resumes.
pub(super) fn resume(view: &View) -> Result<Vec<(Device, Seen)>> {
    let path = "/etc/initramfs-tools/conf.d/resume";
    let content = view.read(path, MAX_FILE)?.unwrap_or_default();
    Ok(lines(&content)
        .filter_map(|(line, text)| {
            let value = text.strip_prefix(b"RESUME=")?.trim_ascii();
            let inner = value
                .strip_prefix(b"\"")
                .and_then(|rest| rest.strip_suffix(b"\""));
            let device = Device::parse(inner.unwrap_or(value));
            Some((device, Seen::line(path, line, text)))
        })
        .collect())
}

/// Lines of modprobe's configuration that keep `virtio_net` from being loaded.
pub(super) fn blocked(view: &View) -> Result<Vec<Seen>> {
    let mut paths = vec![b"/etc/modprobe.conf".to_vec()];
    for dir in ["/etc/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"] {
        for entry in view.list(dir)? {
            if entry.name.ends_with(b".conf") {
                paths.push([dir.as_bytes(), b"/", &entry.name].concat());
            }
        }
    }
    let mut found: Vec<Seen> = Vec::new();
    for path in paths {
        let content = view.read(&path, MAX_FILE)?.unwrap_or_default();
        let real = view.real(&path)?.map_or(path, |(real, _)| real);
        for (line, text) in lines(&content) {
            let mut words = text
                .split(u8::is_ascii_whitespace)
                .filter(|word| !word.is_empty());
            let (command, module, action) = (words.next(), words.next(), words.next());
            let ours = module.is_some_and(|name| name == b"virtio_net" || name == b"virtio-net");
            let nothing = || {
                let program = action.and_then(|path| path.rsplit(|&byte| byte == b'/').next());
                program == Some(b"true") || program == Some(b"false")
            };
            let blocks = match command {
                Some(b"blacklist") => true,
                Some(b"install") => nothing(),
                _ => false,
            };
            let seen = Seen::line(&real, line, text);
            // /lib is a link to /usr/lib in most systems.
            if ours && blocks && !found.contains(&seen) {
                found.push(seen);
            }
        }
    }
    Ok(found)
}

/// Lines without blanks around them, but comments and empty ones.
fn lines(content: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    (1..)
        .zip(content.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii))
        .filter(|(_, text)| !text.is_empty() && !text.starts_with(b"#"))
}
