//! The kernel that rules judge.

use crate::linux::boot::rules::boot;
use crate::linux::kernel::Kernel;
use crate::linux::source::files;
use crate::{Facts, Judgement, Seen};

/// The kernel that starts; the rule is unknown without one.
pub(super) fn kernel<'a>(facts: &'a Facts, judgement: &mut Judgement) -> Option<&'a Kernel> {
    let boot = boot(facts)?;
    let kernels = judgement.known(&boot.kernels)?;
    judgement.known(&boot.entries)?;
    let kernel = boot.kernel();
    // Without any kernel there is a rule that says so.
    if kernel.is_none() && !kernels.is_empty() {
        judgement.unknown("which kernel starts is not known");
    }
    let version = kernel.and_then(|kernel| kernel.version.as_deref());
    judgement.word("version", version.unwrap_or_default(), "$(uname -r)");
    judgement.value("initramfs", files(kernel.map(place).iter()));
    kernel
}

/// The initramfs of `kernel`, or the kernel that has none.
pub(super) fn place(kernel: &Kernel) -> Seen {
    Seen::at(kernel.initramfs.as_ref().unwrap_or(&kernel.path))
}
