//! What the cloud calls the operating system on the disk.

use ::guest::How;
use ims::{Firmware, ImageKind};

use super::observe::Context;
use super::piece::Pieces;
use super::spec::ImportSpec;

/// Chooses the name of the operating system from the region's own list, where the user has given
/// none.
pub(crate) async fn name_os(spec: &ImportSpec, cx: Context<'_>, pieces: &mut Pieces) {
    let os = pieces.guest.as_ref().and_then(|report| report.os.as_ref());
    let Some(os) = os.filter(|_| spec.registers() && spec.os_version.is_none()) else {
        return;
    };
    let request = &mut pieces.system.request;
    if request.kind == ImageKind::DataImage {
        return;
    }
    let images = cx.session.images();
    // A list that cannot be had is reported by the checks, which ask for it too.
    let Ok(known) = images.os_versions(None).await else {
        return;
    };
    let fitting = match request.firmware {
        Some(Firmware::Uefi) => images
            .os_versions(Some("uefi,x86"))
            .await
            .unwrap_or_default(),
        _ => Vec::new(),
    };
    let names = |list: Vec<ims::OsVersion>| -> Vec<String> {
        list.into_iter().map(|version| version.os_version).collect()
    };
    let (known, fitting) = (names(known), names(fitting));
    if let Some(choice) = ::guest::choose(os, &known, &fitting) {
        let found = os.name.as_deref().unwrap_or(&os.id);
        cx.observer.notice(format_args!(
            "the disk holds {found}; it is registered as {:?}{}",
            choice.value,
            match choice.how {
                How::Exact => "",
                How::Nearest => ", the nearest name that the region has",
                How::Other => ": the region has no name for it",
            }
        ));
        request.os_version = Some(choice.value);
    }
}
