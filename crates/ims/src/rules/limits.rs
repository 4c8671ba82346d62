//! Ranges that differ between clouds.

use std::ops::RangeInclusive;

use crate::clouds::Cloud;

/// Ranges of the minimum disk, in GiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskLimits {
    /// Of system images.
    pub system: RangeInclusive<u32>,
    /// Of data images.
    pub data: RangeInclusive<u32>,
    /// Least usual for Linux; below, some releases refuse.
    pub usual_linux: u32,
    /// The same for Windows.
    pub usual_windows: u32,
}

impl DiskLimits {
    /// The ranges of a cloud; the widest that any has, where it is not known.
    ///
    /// Sources: the reference of eu-west-0 (2023: 1 to 1024 for both, no least), the one of Open
    /// Telekom Cloud (2026: 1 to 1024, data 1 to 2048), Huawei Cloud's (2024: at least 10 for Linux
    /// and 20 for Windows; its console and other releases: 40).
    #[must_use]
    pub const fn of(cloud: Option<Cloud>) -> Self {
        let (data, usual_linux, usual_windows) = match cloud {
            Some(Cloud::FlexibleEngine) => (1024, 1, 1),
            Some(Cloud::Otc | Cloud::OtcSwiss) => (2048, 1, 1),
            Some(Cloud::Huawei | Cloud::HuaweiEu) => (2048, 40, 40),
            Some(Cloud::SberCloud) | None => (2048, 10, 20),
        };
        Self {
            system: 1..=1024,
            data: 1..=data,
            usual_linux,
            usual_windows,
        }
    }
}
