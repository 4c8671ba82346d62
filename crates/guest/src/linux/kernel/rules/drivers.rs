//! Rules about drivers.

use super::subject::{kernel, place};
use crate::known::Known;
use crate::linux::boot::rules::boot;
use crate::linux::kernel::{Driver, Kernel};
use crate::text::printable;
use crate::{Facts, Judgement, Seen, Severity};

/// Whether a driver is there when the root is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AtHand {
    Yes,
    /// It is installed, and the initramfs does not bring it.
    Installed,
    /// It is nowhere.
    Nowhere,
}

pub(super) fn at_hand(kernel: &Kernel, name: &str) -> Known<AtHand> {
    let driver = kernel.driver(name);
    if driver == Ok(Driver::BuiltIn) || kernel.brings(name) == Ok(true) {
        return Ok(AtHand::Yes);
    }
    let driver = driver?;
    kernel.brings(name)?;
    Ok(match driver {
        Driver::Module => AtHand::Installed,
        Driver::BuiltIn => AtHand::Yes,
        Driver::Missing => AtHand::Nowhere,
    })
}

/// The modules among `names` that are as `wanted`. What could not be told makes the rule unknown.
pub(super) fn those<'a>(
    kernel: &Kernel,
    names: &[&'a str],
    wanted: &[AtHand],
    judgement: &mut Judgement,
) -> Vec<&'a str> {
    let is_wanted = |name: &&&str| match at_hand(kernel, name) {
        Ok(found) => wanted.contains(&found),
        Err(reason) => {
            judgement.unknown(reason);
            false
        }
    };
    names.iter().filter(is_wanted).copied().collect()
}

pub(super) fn missing(facts: &Facts, judgement: &mut Judgement) {
    let Some(kernel) = kernel(facts, judgement) else {
        return;
    };
    let names = ["virtio_blk", "virtio_pci"];
    let missing = names.iter().filter(|name| match kernel.driver(name) {
        Ok(driver) => driver == Driver::Missing && kernel.brings(name) != Ok(true),
        Err(reason) => {
            if kernel.brings(name) != Ok(true) {
                judgement.unknown(reason);
            }
            false
        }
    });
    let missing: Vec<&str> = missing.copied().collect();
    if !missing.is_empty() {
        let dir = match &kernel.version {
            Some(version) => Seen::at(format!("/lib/modules/{version}")),
            None => Seen::at(&kernel.path),
        };
        judgement.found(Severity::WillNotBoot, dir.with(missing.join(", ")));
    }
}

pub(super) fn initramfs(facts: &Facts, judgement: &mut Judgement) {
    let Some(kernel) = kernel(facts, judgement) else {
        return;
    };
    let names = ["virtio_blk", "virtio_pci", "virtio_ring", "virtio"];
    let missing = those(kernel, &names, &[AtHand::Installed], judgement);
    if missing.is_empty() {
        return;
    }
    let text = format!("without {}", missing.join(", "));
    judgement.found(Severity::WillNotBoot, place(kernel).with(text));
    let version = kernel.version.as_deref().unwrap_or_default();
    let spare = kernel.spare.as_ref().filter(|(_, inside)| {
        missing
            .iter()
            .all(|name| inside.module(version, name) == Ok(true))
    });
    let others = boot(facts).and_then(|boot| boot.kernels.as_ref().ok());
    let helps = |other: &&Kernel| {
        let here = |name: &&str| at_hand(other, name) == Ok(AtHand::Yes);
        other.path != kernel.path && names.iter().all(here)
    };
    let other = others.into_iter().flatten().find(helps);
    if let Some((path, _)) = spare {
        judgement.note(format!(
            "{} has them; another boot entry starts it.",
            printable(path)
        ));
    } else if let Some(other) = other {
        judgement.note(format!("That of {} has them.", printable(&other.path)));
    }
}

pub(super) fn scsi(facts: &Facts, judgement: &mut Judgement) {
    let Some(kernel) = kernel(facts, judgement) else {
        return;
    };
    let absent = [AtHand::Installed, AtHand::Nowhere];
    if !those(kernel, &["virtio_scsi"], &absent, judgement).is_empty() {
        judgement.found(Severity::Advice, place(kernel).with("without virtio_scsi"));
    }
}

pub(super) fn net(facts: &Facts, judgement: &mut Judgement) {
    const NAME: &str = "virtio_net";
    let Some(boot) = boot(facts) else {
        return;
    };
    for seen in judgement.known(&boot.blocked).into_iter().flatten() {
        judgement.found(Severity::NoNetwork, seen.clone());
    }
    let blocks = |name: &str| {
        let line = boot.command_line();
        line.is_some_and(|line| {
            line.values(name).any(|value| {
                value
                    .split(|&byte| byte == b',')
                    .any(|module| module == NAME.as_bytes())
            })
        })
    };
    if let Some(entry) = boot.entry()
        && (blocks("modprobe.blacklist") || blocks("module_blacklist"))
    {
        judgement.found(Severity::NoNetwork, entry.seen());
    }
    let Some(kernel) = kernel(facts, judgement) else {
        return;
    };
    match kernel.driver(NAME) {
        Ok(Driver::Missing) if kernel.brings(NAME) != Ok(true) => {
            let version = kernel.version.as_deref().unwrap_or_default();
            let seen = Seen::at(format!("/lib/modules/{version}")).with(NAME);
            judgement.found(Severity::NoNetwork, seen);
        }
        Ok(_) => {}
        Err(reason) => judgement.unknown(reason),
    }
}

pub(super) fn xen_drivers(facts: &Facts, judgement: &mut Judgement) {
    if !facts.wanted.xen {
        return;
    }
    let Some(kernel) = kernel(facts, judgement) else {
        return;
    };
    let names = ["xen_blkfront", "xen_netfront"];
    let absent = [AtHand::Installed, AtHand::Nowhere];
    let missing = those(kernel, &names, &absent, judgement);
    if !missing.is_empty() {
        let text = format!("without {}", missing.join(", "));
        judgement.found(Severity::Advice, place(kernel).with(text));
    }
}
