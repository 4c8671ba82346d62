//! What programs tell: the processor they are for, and which one starts all others.

use crate::tree::Result;
use crate::view::View;

/// Programs that every system has, one of them at least.
const PROGRAMS: &[&str] = &[
    "/usr/bin/bash",
    "/bin/bash",
    "/bin/ls",
    "/bin/sh",
    "/usr/bin/busybox",
    "/bin/busybox",
];

/// The processor that the system's programs are for; `None` when none of them is there.
pub(super) fn machine(view: &View) -> Result<Option<&'static str>> {
    for path in PROGRAMS {
        if let Some(file) = view.open(path)? {
            let mut head = [0; 20];
            let read = file.read_at(0, &mut head)?;
            if let Some(machine) = head.get(..read).and_then(elf_machine) {
                return Ok(Some(machine));
            }
        }
    }
    Ok(None)
}

/// The processor that a program beginning with `head` is for.
pub(super) fn elf_machine(head: &[u8]) -> Option<&'static str> {
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let bytes = [*head.get(18)?, *head.get(19)?];
    let number = match head.get(5)? {
        2 => u16::from_be_bytes(bytes),
        _ => u16::from_le_bytes(bytes),
    };
    Some(match (number, head.get(4)?) {
        (0x03, _) => "i386",
        (0x3e, _) => "x86_64",
        (0xb7, _) => "aarch64",
        (0x28, _) => "arm",
        (0x15, _) => "ppc64",
        (0x14, _) => "ppc",
        (0x16, _) => "s390",
        (0xf3, 2) => "riscv64",
        (0xf3, _) => "riscv",
        (0x102, _) => "loongarch",
        _ => "unknown",
    })
}

/// Which program starts all others.
pub(super) fn init(view: &View) -> Result<Option<&'static str>> {
    let target = ["/sbin/init", "/usr/sbin/init"]
        .iter()
        .find_map(|path| view.read_link(path).transpose())
        .transpose()?
        .unwrap_or_default();
    let leads_to = |name: &str| {
        let last = target.rsplit(|&byte| byte == b'/').next();
        last == Some(name.as_bytes())
    };
    let has = |path: &str| view.exists(path);
    Ok(if leads_to("systemd") {
        Some("systemd")
    } else if leads_to("openrc-init") || has("/sbin/openrc")? {
        Some("openrc")
    } else if leads_to("busybox") {
        Some("busybox")
    } else if has("/sbin/initctl")? && has("/etc/init")? {
        Some("upstart")
    } else if has("/usr/lib/systemd/systemd")? || has("/lib/systemd/systemd")? {
        Some("systemd")
    } else if has("/etc/inittab")? {
        Some("sysvinit")
    } else {
        None
    })
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::tree::memory::MemoryTree;

    /// The head of a program.
    fn elf(machine: u16, wide: bool) -> Vec<u8> {
        let mut head = vec![0; 64];
        head[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 1 + u8::from(wide), 1]);
        head[18..20].copy_from_slice(&machine.to_le_bytes());
        head
    }

    #[test]
    fn the_first_program_that_is_one_tells_the_processor() {
        let tree = MemoryTree::new()
            .file("/usr/bin/bash", "#!")
            .link("/bin", "usr/bin")
            .file("/usr/bin/busybox", elf(0xb7, true))
            .link("/usr/bin/sh", "busybox");
        assert_eq!(machine(&View::new(Rc::new(tree), 0)), Ok(Some("aarch64")));
        assert_eq!(elf_machine(&elf(0x3e, true)), Some("x86_64"));
        assert_eq!(elf_machine(&elf(3, false)), Some("i386"));
        assert_eq!(elf_machine(b"\x7fELF"), None);
    }

    #[test]
    fn init_is_told_by_its_link_or_its_files() {
        let of = |tree: MemoryTree| init(&View::new(Rc::new(tree), 0)).unwrap();
        let new = MemoryTree::new;
        let systemd = new().link("/sbin/init", "../lib/systemd/systemd");
        assert_eq!(of(systemd), Some("systemd"));
        let upstart = new().file("/sbin/initctl", "").directory("/etc/init");
        assert_eq!(of(upstart.file("/etc/inittab", "")), Some("upstart"));
        assert_eq!(of(new().file("/etc/inittab", "")), Some("sysvinit"));
        let alpine = new().link("/sbin/init", "/bin/busybox");
        assert_eq!(of(alpine.clone()), Some("busybox"));
        assert_eq!(of(alpine.file("/sbin/openrc", "")), Some("openrc"));
        assert_eq!(of(new()), None);
    }
}
