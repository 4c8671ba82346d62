//! What the entries of grain tables say.

use super::layout::ZERO_GRAIN;
use crate::units::SECTOR;

/// How entries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Sectors of the file, in 32 bits.
    Hosted {
        /// Whether an entry of 1 is a grain of zeros.
        zero_grains: bool,
        /// Whether grains are compressed, with markers.
        compressed: bool,
    },
    /// Sectors of the file, in 32 bits; there is nothing else.
    Cowd,
    /// Numbers of grains, in 64 bits.
    SeSparse {
        /// Where the tables and the grains begin, in bytes.
        tables: u64,
        grains: u64,
        /// Whether there is a parent.
        parent: bool,
    },
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grain {
    /// Not in this file.
    Below,
    /// Zeros, whatever lies below.
    Zeros,
    /// As it is, from this offset of the file on.
    Stored(u64),
    /// Compressed, behind a marker at this offset.
    Packed(u64),
}

impl Form {
    /// Whether grains are compressed.
    pub(super) fn is_compressed(self) -> bool {
        matches!(
            self,
            Self::Hosted {
                compressed: true,
                ..
            }
        )
    }

    /// Bytes of an entry.
    pub(super) fn entry_size(self) -> u64 {
        match self {
            Self::Hosted { .. } | Self::Cowd => 4,
            Self::SeSparse { .. } => 8,
        }
    }

    /// What `entry` says.
    ///
    /// # Errors
    /// What is wrong with it.
    #[inline]
    pub(super) fn grain(self, entry: u64) -> Result<Grain, String> {
        match self {
            _ if entry == 0 => Ok(Grain::Below),
            Self::Hosted { zero_grains, .. } if entry == u64::from(ZERO_GRAIN) => match zero_grains
            {
                true => Ok(Grain::Zeros),
                false => Err(
                    "the entry is 1, a grain of zeros, in a file without such grains".to_owned(),
                ),
            },
            // 32 bits: no overflow.
            Self::Hosted {
                compressed: true, ..
            } => Ok(Grain::Packed(entry * SECTOR)),
            Self::Hosted { .. } | Self::Cowd => Ok(Grain::Stored(entry * SECTOR)),
            Self::SeSparse { grains, parent, .. } => se_grain(entry, grains, parent),
        }
    }
}

/// What a seSparse entry says that is not 0.
fn se_grain(entry: u64, grains: u64, parent: bool) -> Result<Grain, String> {
    const VALUE: u64 = (1 << 60) - 1;
    let (kind, value) = (entry >> 60, entry & VALUE);
    match (kind, value) {
        (1, 0) if parent => Err(
            "the guest has unmapped the grain: programs differ in whether it is zeros then or the \
             parent's"
                .to_owned(),
        ),
        (1 | 2, 0) => Ok(Grain::Zeros),
        (3, value) => {
            // The lower bits of the number are in the upper bits of the entry.
            let number = (value >> 48) | (value & ((1 << 48) - 1)) << 12;
            number
                .checked_mul(super::layout::SE_GRAIN_SIZE * SECTOR)
                .and_then(|offset| offset.checked_add(grains))
                .map(Grain::Stored)
                .ok_or_else(|| format!("found {entry:#018x}: the grain is past any file's end"))
        }
        _ => Err(format!("found {entry:#018x}, which means nothing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_sesparse_grains_are_rotated() {
        let of = |entry| se_grain(entry, 1 << 20, true);
        assert_eq!(
            of(3 << 60 | 4095 << 48),
            Ok(Grain::Stored((1 << 20) + 4095 * 4096))
        );
        assert_eq!(of(3 << 60 | 1), Ok(Grain::Stored((1 << 20) + 4096 * 4096)));
        assert_eq!(of(2 << 60), Ok(Grain::Zeros));
        assert!(of(1 << 60).is_err());
        assert_eq!(se_grain(1 << 60, 0, false), Ok(Grain::Zeros));
        for wrong in [
            5,
            1 << 60 | 1,
            2 << 60 | 1,
            4 << 60,
            u64::MAX >> 2 | 3 << 60,
        ] {
            assert!(of(wrong).is_err(), "{wrong:#x}");
        }
    }
}
