//! The body of a quick import: exactly the fields that were set.

use serde::Serialize;

use crate::import::{Architecture, Firmware, ImageKind, LicenseType, OsType, QuickImport};
use crate::tag::Tags;

/// Fields of POST /v2/cloudimages/quickimport/action.
#[derive(Serialize)]
pub(crate) struct QuickImportBody<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    image_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    os_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    os_type: Option<OsType>,
    min_disk: u32,
    /// Left out for ECS, the default: regions differ in which values they know.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    architecture: Option<Architecture>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hw_firmware_type: Option<Firmware>,
    #[serde(skip_serializing_if = "Option::is_none")]
    license_type: Option<LicenseType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enterprise_project_id: Option<&'a str>,
    #[serde(flatten)]
    tags: Option<Tags>,
}

/// `import` as the service takes it.
pub(crate) fn quick_import(import: &QuickImport) -> QuickImportBody<'_> {
    QuickImportBody {
        name: &import.name,
        description: import.description.as_deref(),
        image_url: import.image_url.to_string(),
        os_version: import.os_version.as_deref(),
        os_type: import.os_type,
        min_disk: import.min_disk,
        kind: match import.kind {
            ImageKind::Ecs => import.form.default_type.then_some("ECS"),
            ImageKind::Bms => Some("BMS"),
            ImageKind::DataImage => Some("DataImage"),
        },
        architecture: import.architecture,
        hw_firmware_type: import.firmware,
        license_type: import.license_type,
        enterprise_project_id: import.enterprise_project_id.as_deref(),
        tags: match import.form.tags_as_text {
            true => Tags::texts(&import.tags),
            false => Tags::pairs(&import.tags),
        },
    }
}
