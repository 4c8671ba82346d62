//! Bodies of quick imports, field by field. The documented examples are in `documented`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "tests"
)]

mod common;

use common::{JOB, PROJECT, import, signing, started};
use ims::{Architecture, Firmware, ImageKind, LicenseType, QuickImport};
use serde_json::{Value, json};
use testkit::http::{Recorded, Server};

async fn sent(import: &QuickImport) -> Recorded {
    let server = Server::start().await.unwrap();
    server.push(started());
    let job = signing(&server).quick_import(import).await.unwrap();
    assert_eq!(job.as_str(), JOB);
    server.requests().remove(0)
}

async fn body(import: &QuickImport) -> Value {
    serde_json::from_slice(&sent(import).await.body).unwrap()
}

#[tokio::test]
async fn only_what_was_set_is_sent() {
    assert_eq!(
        body(&import()).await,
        json!({
            "name": "ims_test_file",
            "image_url": "ims-image:centos70.zvhd2",
            "os_version": "CentOS 7.0 64bit",
            "min_disk": 40,
        })
    );
}

#[tokio::test]
async fn every_field_of_a_system_image_has_its_documented_name_and_words() {
    let all = QuickImport {
        kind: ImageKind::Bms,
        os_version: Some("Windows Server 2016 Standard 64bit".into()),
        description: Some(String::new()),
        tags: vec![("env".into(), String::new())],
        architecture: Some(Architecture::Arm),
        firmware: Some(Firmware::Uefi),
        enterprise_project_id: Some("0".into()),
        license_type: Some(LicenseType::Byol),
        ..import()
    };
    assert_eq!(
        body(&all).await,
        json!({
            "name": "ims_test_file",
            "description": "",
            "image_url": "ims-image:centos70.zvhd2",
            "os_version": "Windows Server 2016 Standard 64bit",
            "min_disk": 40,
            "type": "BMS",
            "architecture": "arm",
            "hw_firmware_type": "uefi",
            "license_type": "byol",
            "enterprise_project_id": "0",
            "image_tags": [{"key": "env", "value": ""}],
        })
    );
    let other = QuickImport {
        architecture: Some(Architecture::X86),
        firmware: Some(Firmware::Bios),
        license_type: Some(LicenseType::Platform),
        ..import()
    };
    let body = body(&other).await;
    assert_eq!(body["architecture"], "x86");
    assert_eq!(body["hw_firmware_type"], "bios");
    assert_eq!(body["license_type"], "platform");
}

#[tokio::test]
async fn the_call_is_the_documented_one() {
    let request = sent(&import()).await;
    assert_eq!(request.method, "POST");
    assert_eq!(request.target, "/v2/cloudimages/quickimport/action");
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("x-project-id"), Some(PROJECT));
}

#[tokio::test]
async fn a_broken_rule_is_refused_before_anything_is_sent() {
    let server = Server::start().await.unwrap();
    let data = QuickImport {
        kind: ImageKind::DataImage,
        ..import()
    };
    let error = signing(&server).quick_import(&data).await.unwrap_err();
    assert_eq!(error.kind(), ims::ErrorKind::Invalid);
    assert!(error.to_string().contains("os_version"), "{error}");
    let unnamed = QuickImport {
        os_version: None,
        ..import()
    };
    let error = signing(&server).quick_import(&unnamed).await.unwrap_err();
    assert_eq!(error.code(), Some("IMG.0159"));
    assert!(server.requests().is_empty());
}
