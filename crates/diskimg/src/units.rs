//! Offsets with a type each, so that a guest address can never be used as a file address.

use std::fmt;

/// Size of the sector that all formats count in, in bytes.
pub const SECTOR: u64 = 512;
/// 2^10 bytes.
pub const KIB: u64 = 1 << 10;
/// 2^20 bytes.
pub const MIB: u64 = 1 << 20;
/// 2^30 bytes.
pub const GIB: u64 = 1 << 30;
/// 2^40 bytes.
pub const TIB: u64 = 1 << 40;

/// A byte offset on the disk that the guest sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestOffset(pub u64);

/// A byte offset in an image file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileOffset(pub u64);

macro_rules! offset {
    ($name:ident) => {
        impl $name {
            /// The offset `len` bytes further on, or `None` past 2^64.
            #[must_use]
            pub const fn checked_add(self, len: u64) -> Option<Self> {
                match self.0.checked_add(len) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

offset!(GuestOffset);
offset!(FileOffset);

/// Whether `len` bytes from `offset` end at or before `end`; never overflows.
#[must_use]
pub fn fits(offset: u64, len: u64, end: u64) -> bool {
    offset.checked_add(len).is_some_and(|last| last <= end)
}

/// `value` rounded up to a multiple of `unit`, or `None` past 2^64. `unit` must not be zero.
#[must_use]
pub fn round_up(value: u64, unit: u64) -> Option<u64> {
    value.checked_next_multiple_of(unit)
}

/// A size for people, rounded down: `1.5 GiB`, `512 bytes`.
#[must_use]
pub fn human(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")];
    for (unit, name) in UNITS {
        if bytes >= unit {
            let hundredths = u128::from(bytes) * 100 / u128::from(unit);
            let (whole, part) = (hundredths / 100, hundredths % 100);
            return match part {
                0 => format!("{whole} {name}"),
                p if p % 10 == 0 => format!("{whole}.{} {name}", p / 10),
                p => format!("{whole}.{p:02} {name}"),
            };
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fits_never_overflows() {
        assert!(fits(0, 10, 10));
        assert!(!fits(1, 10, 10));
        assert!(!fits(u64::MAX, 1, u64::MAX));
    }

    #[test]
    fn sizes_read_as_people_write_them() {
        assert_eq!(human(511), "511 bytes");
        assert_eq!(human(GIB), "1 GiB");
        assert_eq!(human(GIB + GIB / 2), "1.5 GiB");
        assert_eq!(human(MIB + MIB / 20), "1.04 MiB");
        assert_eq!(human(u64::MAX), "16777215.99 TiB");
    }
}
