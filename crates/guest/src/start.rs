//! What the firmware starts: boot sectors for a BIOS, the EFI system partition for UEFI.

pub(crate) mod bios;
pub(crate) mod efi;
pub(crate) mod firmware;
