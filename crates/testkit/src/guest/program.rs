//! Heads of kernels and programs: as much as tells what they are.

#![allow(clippy::indexing_slicing, reason = "test helper")]

/// A 64-bit ELF program for `machine`.
#[must_use]
pub fn elf(machine: u16) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend([3, 0]);
    bytes.extend(machine.to_le_bytes());
    bytes.extend(1_u32.to_le_bytes());
    bytes.resize(64, 0);
    bytes.extend(b"not a program");
    bytes
}

/// A PE program for `machine`.
#[must_use]
pub fn pe(machine: u16) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x80;
    bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
    bytes[0x84..0x86].copy_from_slice(&machine.to_le_bytes());
    bytes[0x86] = 1;
    bytes[0x94] = 240;
    bytes[0x96] = 0x22;
    bytes[0x98..0x9a].copy_from_slice(&0x20b_u16.to_le_bytes());
    bytes
}

/// An x86 kernel that calls itself `version`.
#[must_use]
pub fn kernel(version: &str) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    bytes[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    bytes[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    bytes[0x20e..0x210].copy_from_slice(&0x400_u16.to_le_bytes());
    let text = format!("{version} (none@none) #1 SMP");
    bytes[0x600..0x600 + text.len()].copy_from_slice(text.as_bytes());
    bytes
}
