//! Rules about what else an initramfs brings: what the root lies on, and udev's rules.

use super::drivers::{AtHand, at_hand, those};
use super::subject::{kernel, place};
use crate::linux::boot::rules::boot;
use crate::linux::kernel::Kernel;
use crate::volume::{Content, FileSystem, Stack};
use crate::{Facts, Judgement, Severity};

/// What a root needs: modules, and programs of which one is enough.
struct Need {
    module: &'static str,
    programs: &'static [&'static str],
}

fn needs(facts: &Facts) -> Vec<Need> {
    let mut needs = Vec::new();
    let mut need = |module, programs| needs.push(Need { module, programs });
    let Some(volume) = facts.root.and_then(|root| facts.volumes.get(root)) else {
        return needs;
    };
    match &volume.stack {
        Stack::Plain => {}
        Stack::Logical { .. } => need("dm_mod", &["lvm", "lvm.static", "vgchange"]),
        Stack::Array { level, .. } => need(
            match level {
                0 => "raid0",
                1 => "raid1",
                10 => "raid10",
                4..=6 => "raid456",
                _ => "linear",
            },
            &["mdadm"],
        ),
    }
    let root = boot(facts).and_then(|boot| boot.command_line()?.value("root"));
    if root.is_some_and(|root| root.starts_with(b"/dev/mapper/mpath")) {
        need("dm_multipath", &["multipath", "multipathd"]);
    }
    match volume.content {
        Content::FileSystem(FileSystem::Xfs) => need("xfs", &[]),
        Content::FileSystem(FileSystem::Btrfs) => need("btrfs", &[]),
        _ => {}
    }
    needs
}

pub(super) fn stack(facts: &Facts, judgement: &mut Judgement) {
    let Some(kernel) = kernel(facts, judgement) else {
        return;
    };
    let mut missing: Vec<&str> = Vec::new();
    for Need { module, programs } in needs(facts) {
        let absent = [AtHand::Installed, AtHand::Nowhere];
        missing.extend(those(kernel, &[module], &absent, judgement));
        let inside = match &kernel.inside {
            Some(Ok(inside)) => inside,
            _ => continue,
        };
        match inside.program(programs) {
            Ok(false) => missing.extend(programs.first()),
            Ok(true) => {}
            Err(reason) => judgement.unknown(reason),
        }
    }
    let volume = facts.root.and_then(|root| facts.volumes.get(root));
    if volume.is_some_and(|volume| volume.content == Content::FileSystem(FileSystem::Ext)) {
        missing.extend(ext(kernel, judgement));
    }
    if !missing.is_empty() {
        let text = format!("without {}", missing.join(", "));
        judgement.found(Severity::WillNotBoot, place(kernel).with(text));
    }
}

/// The module for ext file systems, when it is a module and not brought. Old kernels have one for
/// each version of them.
fn ext(kernel: &Kernel, judgement: &mut Judgement) -> Option<&'static str> {
    let mut found = None;
    for name in ["ext4", "ext3"] {
        match at_hand(kernel, name) {
            Ok(AtHand::Yes) => return None,
            Ok(AtHand::Installed) => found = found.or(Some(name)),
            Ok(AtHand::Nowhere) => {}
            Err(reason) => {
                judgement.unknown(reason);
                return None;
            }
        }
    }
    found
}

pub(super) fn net_rules(facts: &Facts, judgement: &mut Judgement) {
    let Some(kernel) = kernel(facts, judgement) else {
        return;
    };
    let Some(inside) = kernel
        .inside
        .as_ref()
        .and_then(|inside| judgement.known(inside))
    else {
        return;
    };
    // A file that only says that rules were removed, or a link to /dev/null, has none.
    let has_rules = |content: &[u8]| {
        let mut lines = content.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
        lines.any(|line| line.contains(&b'=') && !line.starts_with(b"#"))
    };
    for (path, content) in &inside.files {
        let name = path.strip_prefix(b"etc/udev/rules.d/".as_slice());
        let has = |word: &[u8]| {
            name.is_some_and(|name| name.windows(word.len()).any(|part| part == word))
        };
        if has(b"persistent") && has(b"net") && has_rules(content) {
            judgement.found(Severity::NoNetwork, place(kernel).with(path));
        }
    }
    if let Some(reason) = &inside.unread {
        judgement.unknown(reason.clone());
    }
}
