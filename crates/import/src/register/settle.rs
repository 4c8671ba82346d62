//! The active image against what was asked for.

use cloud::{ImportHint, Result, from_ims};
use ims::{Change, Client, Firmware, ImageDetail, ImageStatus, QuickImport};

use crate::observe::Observer;

/// Sets the firmware where creation did not: regions of 2023 do not know the field there, and take
/// it now. Tells when the service chose another minimum disk.
pub(crate) async fn settle(
    client: &Client,
    image: ImageDetail,
    request: &QuickImport,
    observer: &dyn Observer,
) -> Result<ImageDetail> {
    if image.status != ImageStatus::Active {
        return Ok(image);
    }
    if let Some(found) = image.min_disk
        && found != u64::from(request.min_disk)
    {
        observer.warn(format_args!(
            "image {} has min_disk {found} GiB, {} GiB was requested",
            image.id, request.min_disk
        ));
    }
    let wanted = request.firmware.map(|firmware| match firmware {
        Firmware::Bios => "bios",
        Firmware::Uefi => "uefi",
    });
    match wanted {
        // An image without the attribute boots by BIOS.
        Some(wanted) if image.firmware.as_deref().unwrap_or("bios") != wanted => client
            .update_image(&image.id, &[Change::add("hw_firmware_type", wanted)])
            .await
            .map_err(|error| {
                from_ims(&error)
                    .note(format!(
                        "image {} is active, but has the wrong firmware setting",
                        image.id
                    ))
                    .hint(ImportHint::SetFirmware {
                        image: image.id.to_string(),
                        firmware: wanted,
                    })
            }),
        _ => Ok(image),
    }
}
