//! What a user can do about the services' error codes.
//!
//! Source of the codes: Image Management Service API Reference, appendix "Error Codes"; the
//! gateway's from "API Gateway: Error Codes".

/// The hint for `code`, such as `IMG.0009`.
pub(crate) fn for_code(code: &str) -> Option<&'static str> {
    let listed = |(codes, _): &&(&[&str], &str)| codes.contains(&code);
    HINTS.iter().find(listed).map(|(_, hint)| *hint)
}

/// Failures inside the service.
const SUPPORT: &str =
    "the service failed inside: try again later, then give its support the request id";

/// Codes, and what to do about them.
const HINTS: &[(&[&str], &str)] = &[
    (
        &["IMG.0001", "IMG.0007"],
        "the service does not know a field of the request; the API of this region may be older",
    ),
    (
        &["IMG.0002", "IMG.0003", "IMG.0013", "IMG.0062"],
        "image names have 1 to 128 letters, digits, '-', '.', '_' and spaces, with no space at the ends",
    ),
    (
        &["IMG.0004", "IMG.0054"],
        "use a description of at most 1024 plain letters and digits, or none",
    ),
    (
        &["IMG.0005", "IMG.0012", "IMG.0031", "IMG.0137"],
        "check the id of the server, and that it is in this project and region",
    ),
    (
        &["IMG.0006", "IMG.0022", "IMG.0110"],
        "the disk is not in a state to be imaged: detach or repair it, or wait until its tasks have ended",
    ),
    (&["IMG.0008"], "stop the server first"),
    (
        &["IMG.0010", "IMG.0126", "IMG.0136", "IMG.0139"],
        "the server is busy or in a wrong state: wait until its tasks and backups have ended",
    ),
    (&["IMG.0009"], "choose another image name"),
    (
        &["IMG.0015"],
        "delete images that are not needed, or ask for a larger quota",
    ),
    (&["IMG.0017"], "the image file is named BUCKET:KEY"),
    (
        &["IMG.0019", "IMG.0020", "IMG.0127", "IMG.0198"],
        "check the id of the backup, and that it is in this project and region",
    ),
    (
        &["IMG.0023"],
        "check the id of the job; finished jobs are forgotten after a while",
    ),
    (
        &["IMG.0024", "IMG.0117"],
        "the image is for ECS or BMS (data disks: DataImage, installation media: IsoImage)",
    ),
    (
        &["IMG.0026", "IMG.0047", "IMG.0161"],
        "the account needs the right ims:serverImages:create (data disks: ims:dataImages:create), and Tenant Administrator for OBS",
    ),
    (
        &["IMG.0027", "IMG.0066", "IMG.0086", "IMG.0144"],
        "check the id of the image, and that it is in this project and region",
    ),
    (
        &["IMG.0028"],
        "the image is protected: imgferry image set ID --protected false",
    ),
    (
        &["IMG.0029", "IMG.0134"],
        "a backup makes one image only: take another backup",
    ),
    (
        &["IMG.0030", "IMG.0067", "IMG.0104", "IMG.0108", "IMG.0145"],
        "name the project by its id: set HW_PROJECT_ID",
    ),
    (
        &["IMG.0032", "IMG.0033", "IMG.0132"],
        "the backup is not ready, or not one of a system disk: wait, or take another",
    ),
    (
        &["IMG.0035", "IMG.0034"],
        "this attribute cannot be changed",
    ),
    (
        &["IMG.0046"],
        "the image must be active for this: wait until its job has ended",
    ),
    (
        &["IMG.0055"],
        "give a larger minimum disk, for example one GiB more",
    ),
    (
        &["IMG.0056", "IMG.0122"],
        "the service has its own names of operating systems: imgferry os-versions lists those of the region (GET /v1/cloudimages/os_version)",
    ),
    (
        &["IMG.0057"],
        "the object must exist, be ZVHD2 or RAW, be in storage class Standard, and IMS must have the right to read it",
    ),
    (
        &["IMG.0058"],
        "the bucket must be in the region of the image",
    ),
    (
        &["IMG.0059"],
        "the file is too large: at most 1 TiB by quick import, 128 GiB otherwise",
    ),
    (
        &["IMG.0060", "IMG.0194"],
        "too many imports at once: wait until others have ended",
    ),
    (
        &["IMG.0063", "IMG.0111", "IMG.0119", "IMG.0153", "IMG.0164"],
        "no image can be made of this server or disk: choose another",
    ),
    (
        &["IMG.0068", "IMG.0069", "IMG.0109"],
        "check the bucket's name, and that IMS has the right to read it",
    ),
    (
        &["IMG.0070"],
        "the object exists already: choose another key, or delete it",
    ),
    (
        &[
            "IMG.0071", "IMG.0077", "IMG.0079", "IMG.0080", "IMG.0081", "IMG.0128", "IMG.0130",
        ],
        "public, full-ECS and ISO images, and those made of public ones, cannot be exported",
    ),
    (
        &["IMG.0072", "IMG.0158"],
        "quick import takes ZVHD2, or RAW with its bitmap file in the bucket: upload ZVHD2. An export writes qcow2, vhd, zvhd or vmdk",
    ),
    (
        &["IMG.0073", "IMG.0074", "IMG.0075", "IMG.0175"],
        "choose another key: no spaces, and a file name of at most 128 letters, digits, '-', '.' and '_'",
    ),
    (
        &["IMG.0076", "IMG.0178"],
        "name the project of somebody else",
    ),
    (
        &["IMG.0087"],
        "the token is not valid any more: sign in again",
    ),
    (
        &["IMG.0088"],
        "stop sharing with projects that do not need it, or ask for a larger quota",
    ),
    (
        &["IMG.0089", "IMG.0135"],
        "public and full-ECS images cannot be shared",
    ),
    (
        &["IMG.0090"],
        "wait until the image is made, then delete it",
    ),
    (
        &["IMG.0092", "IMG.0094", "IMG.0106"],
        "only the owner can do this, with private images only",
    ),
    (
        &[
            "IMG.0095", "IMG.0096", "IMG.0097", "IMG.0099", "IMG.0100", "IMG.0101", "IMG.0102",
            "IMG.0103", "IMG.0187",
        ],
        "check the encryption key of the image or bucket, and the right to use it",
    ),
    (
        &["IMG.0098", "IMG.0197"],
        "encrypted images cannot be shared: copy it without a key first",
    ),
    (
        &["IMG.0115"],
        "tag keys have at most 36 and values at most 43 characters, without = * < > \\ , | /",
    ),
    (&["IMG.0116"], "an image has at most 10 tags"),
    (&["IMG.0118"], "images for BMS cannot be encrypted"),
    (
        &["IMG.0120", "IMG.0140"],
        "check the ids of the disks: they must exist and belong to one server",
    ),
    (&["IMG.0121"], "it is not there (any more)"),
    (&["IMG.0123"], "the same file is named twice"),
    (
        &["IMG.0133", "IMG.0165"],
        "the account lacks the right to the backup",
    ),
    (&["IMG.0141"], "the firmware is bios or uefi"),
    (
        &["IMG.0148"],
        "the image is being exported: wait until that job has ended",
    ),
    (
        &["IMG.0155", "IMG.0156"],
        "check the enterprise project's id, and the right to use it",
    ),
    (
        &["IMG.0159", "IMG.0166", "IMG.0195"],
        "name the operating system, for example 'CentOS 7.0 64bit'",
    ),
    (
        &["IMG.0160"],
        "images above 128 GB can be exported in the service's own format only: --file-format quick",
    ),
    (&["IMG.0167"], "ISO images cannot do this"),
    (
        &["IMG.0177"],
        "images are shared inside a region only: copy the image to the other region first",
    ),
    (
        &["IMG.0196"],
        "accept the shared image first: imgferry image accept ID",
    ),
    (&["IMG.0212"], "the architecture is x86 or arm"),
    (
        &["IMG.0238", "IMG.0239", "IMG.0241", "IMG.0242"],
        "the account must pass real-name authentication and have means of payment",
    ),
    (&["IMG.1075"], "look at the job for the reason"),
    (
        &[
            "IMG.0014", "IMG.0016", "IMG.0018", "IMG.0036", "IMG.0037", "IMG.0038", "IMG.0039",
            "IMG.0040", "IMG.0045", "IMG.0053", "IMG.0061", "IMG.0064", "IMG.0065", "IMG.0105",
            "IMG.0112", "IMG.0113", "IMG.0114", "IMG.0138", "IMG.0154", "IMG.0176", "IMG.0179",
            "IMG.0181", "IMG.0186", "IMG.0191",
        ],
        SUPPORT,
    ),
    (
        &["IMG.0011"],
        "the service wants forceCreate set to true, which no documented request has: make this image in the console",
    ),
    (
        &["IMG.0021", "IMG.0192"],
        "the service does not know what an id of the request is of: check the ids",
    ),
    (
        &["IMG.0025"],
        "sign in as an IAM user of the project, with programmatic access",
    ),
    (
        &["IMG.0041"],
        "name the project to share with: --project ID",
    ),
    (
        &["IMG.0083", "IMG.0084", "IMG.0085", "IMG.0125"],
        "images are made public in the console, not by this program; data images cannot be",
    ),
    (
        &["IMG.0162", "IMG.0163"],
        "a vendor name has 1 to 12 letters and inner spaces, and Windows images that boot by BIOS only can have one",
    ),
    (
        &[
            "IMG.0168", "IMG.0169", "IMG.0170", "IMG.0171", "IMG.0172", "IMG.0173", "IMG.0174",
        ],
        "an image is replaced only by one of the same name, system, format and kind, that needs no smaller disk or memory; data images are not replaced",
    ),
    (
        &["APIGW.0101"],
        "the endpoint does not offer this call: check the address of the service",
    ),
    (
        &["APIGW.0301"],
        "check access key and secret key (or the password), the region, and this machine's clock",
    ),
    (
        &["APIGW.0302", "APIGW.0303"],
        "the account has no right to this call in this project",
    ),
    (&["APIGW.0308"], "too many requests: wait a while"),
];

/// The hint for a status without a known code.
pub(crate) fn for_status(status: u16) -> Option<&'static str> {
    Some(match status {
        300..=399 => {
            "the address leads elsewhere, and redirects are not followed: give the address of the service itself, with https"
        }
        401 => {
            "check the credentials; an account's main user cannot sign in by password, an IAM user with programmatic access can"
        }
        403 => "the account lacks the right to this call",
        404 => "check the address of the service and the project",
        429 => "too many requests: wait a while",
        500..=599 => "the service is in trouble: try again later",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_table_has_a_hint() {
        // Which codes there are: appendix "Error Codes", in `table`; `newer` has those of later
        // releases.
        let codes: serde_json::Value =
            serde_json::from_str(include_str!("../../../testdata/ims/codes.json")).unwrap();
        let named = |list: &str| codes[list].as_object().unwrap().keys();
        assert_eq!(named("table").count(), 166);
        for code in named("table").chain(named("newer")) {
            assert!(for_code(code).is_some(), "{code}");
        }
        for code in ["IMG.0155", "IMG.0156", "IMG.0158"] {
            assert!(for_code(code).is_some(), "{code}");
        }
        assert_eq!(for_code("IMG.9999"), None);
    }

    #[test]
    fn no_code_has_two_hints() {
        let mut codes: Vec<_> = HINTS.iter().flat_map(|(codes, _)| *codes).collect();
        let all = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), all);
    }
}
