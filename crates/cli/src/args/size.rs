//! Sizes as people write them.

use diskimg::units::{GIB, KIB, MIB, TIB};

/// The least size of a part, between what OBS and what S3 demand.
pub(super) fn parse_min_part(text: &str) -> Result<u64, String> {
    let size = parse_size(text)?;
    let allowed = obs::OBS_MIN_PART_SIZE..=obs::MIN_PART_SIZE;
    if allowed.contains(&size) {
        Ok(size)
    } else {
        Err("expected a size from 100KiB to 5MiB".into())
    }
}

/// A size such as `512MiB`, `2G` or `1073741824`. Units are powers of 1024.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let expected = || "expected a size, such as 512MiB or 2G".to_owned();
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => KIB,
        "m" | "mb" | "mib" => MIB,
        "g" | "gb" | "gib" => GIB,
        "t" | "tb" | "tib" => TIB,
        _ => return Err(expected()),
    };
    let number: u64 = number.parse().map_err(|_| expected())?;
    number
        .checked_mul(unit)
        .ok_or_else(|| "the size is too large".into())
}
