//! What the caller can do about an error: advice as data, and the table of the services' codes.
//!
//! Source of the codes: Image Management Service API Reference, appendix "Error Codes"; the
//! gateway's from "API Gateway: Error Codes".

use std::borrow::Cow;
use std::fmt;

use self::Advice::{AcceptShared, ExportQuick, ListOsVersions, NameProject, Say, Unprotect};

/// What the caller can do about an error. `Display` says it in general words; a program that has an
/// option or a command for it can say that instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Advice that holds for every program.
    Text(Cow<'static, str>),
    /// The image is protected: remove the protection.
    Unprotect,
    /// The service has its own names of operating systems: list those of the region.
    ListOsVersions,
    /// Only the service's own format holds so large an image: export in that.
    ExportQuick,
    /// The image is shared, and not accepted yet: accept it.
    AcceptShared,
    /// Nobody is named to share the image with: name their project.
    NameProject,
    /// Something else answered instead of the identity service: sign in to the network, name the
    /// proxy, or check the service's address.
    NotIam,
    /// Something else answered instead of the image service: the same.
    NotIms,
    /// The address has no TLS: use https, or allow plain http.
    AllowHttp,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(text) => text,
            Self::Unprotect => "the image is protected: remove its protection first",
            Self::ListOsVersions => {
                "the service has its own names of operating systems: \
                 GET /v1/cloudimages/os_version lists those of the region"
            }
            Self::ExportQuick => {
                "images above 128 GB can be exported in the service's own format only"
            }
            Self::AcceptShared => "accept the shared image first",
            Self::NameProject => "name the project to share with",
            Self::NotIam | Self::NotIms => {
                "open a web page in a browser and sign in to the network, or name its proxy in \
                 HTTPS_PROXY; if neither is needed here, check the address of the service"
            }
            Self::AllowHttp => "use an https endpoint, or allow plain http",
        })
    }
}

impl From<&'static str> for Hint {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

/// A hint in the table.
#[derive(Clone, Copy)]
enum Advice {
    Say(&'static str),
    Unprotect,
    ListOsVersions,
    ExportQuick,
    AcceptShared,
    NameProject,
}

/// The hint for `code`, such as `IMG.0009`.
pub(crate) fn for_code(code: &str) -> Option<Hint> {
    let listed = |(codes, _): &&(&[&str], Advice)| codes.contains(&code);
    HINTS.iter().find(listed).map(|(_, advice)| match *advice {
        Say(text) => Hint::Text(text.into()),
        Unprotect => Hint::Unprotect,
        ListOsVersions => Hint::ListOsVersions,
        ExportQuick => Hint::ExportQuick,
        AcceptShared => Hint::AcceptShared,
        NameProject => Hint::NameProject,
    })
}

/// Failures inside the service.
const SUPPORT: &str =
    "the service failed inside: try again later, then give its support the request id";

/// Codes, and what to do about them.
const HINTS: &[(&[&str], Advice)] = &[
    (
        &["IMG.0001", "IMG.0007"],
        Say(
            "the service does not know a field of the request; the API of this region may be older",
        ),
    ),
    (
        &["IMG.0002", "IMG.0003", "IMG.0013", "IMG.0062"],
        Say(
            "image names have 1 to 128 letters, digits, '-', '.', '_' and spaces, with no space at the ends",
        ),
    ),
    (
        &["IMG.0004", "IMG.0054"],
        Say("use a description of at most 1024 plain letters and digits, or none"),
    ),
    (
        &["IMG.0005", "IMG.0012", "IMG.0031", "IMG.0137"],
        Say("check the id of the server, and that it is in this project and region"),
    ),
    (
        &["IMG.0006", "IMG.0022", "IMG.0110"],
        Say(
            "the disk is not in a state to be imaged: detach or repair it, or wait until its tasks have ended",
        ),
    ),
    (&["IMG.0008"], Say("stop the server first")),
    (
        &["IMG.0010", "IMG.0126", "IMG.0136", "IMG.0139"],
        Say("the server is busy or in a wrong state: wait until its tasks and backups have ended"),
    ),
    (&["IMG.0009"], Say("choose another image name")),
    (
        &["IMG.0015"],
        Say("delete images that are not needed, or ask for a larger quota"),
    ),
    (&["IMG.0017"], Say("the image file is named BUCKET:KEY")),
    (
        &["IMG.0019", "IMG.0020", "IMG.0127", "IMG.0198"],
        Say("check the id of the backup, and that it is in this project and region"),
    ),
    (
        &["IMG.0023"],
        Say("check the id of the job; finished jobs are forgotten after a while"),
    ),
    (
        &["IMG.0024", "IMG.0117"],
        Say("the image is for ECS or BMS (data disks: DataImage, installation media: IsoImage)"),
    ),
    (
        &["IMG.0026", "IMG.0047", "IMG.0161"],
        Say(
            "the account needs the right ims:serverImages:create (data disks: ims:dataImages:create), and Tenant Administrator for OBS",
        ),
    ),
    (
        &["IMG.0027", "IMG.0066", "IMG.0086", "IMG.0144"],
        Say("check the id of the image, and that it is in this project and region"),
    ),
    (&["IMG.0028"], Unprotect),
    (
        &["IMG.0029", "IMG.0134"],
        Say("a backup makes one image only: take another backup"),
    ),
    (
        &["IMG.0030", "IMG.0067", "IMG.0104", "IMG.0108", "IMG.0145"],
        Say("check the id of the project, and that the project is in this region"),
    ),
    (
        &["IMG.0032", "IMG.0033", "IMG.0132"],
        Say("the backup is not ready, or not one of a system disk: wait, or take another"),
    ),
    (
        &["IMG.0035", "IMG.0034"],
        Say("this attribute cannot be changed"),
    ),
    (
        &["IMG.0046"],
        Say("the image must be active for this: wait until its job has ended"),
    ),
    (
        &["IMG.0055"],
        Say(
            "check the minimum disk: it must hold the disk, and be within the limits of the service",
        ),
    ),
    (&["IMG.0056", "IMG.0122"], ListOsVersions),
    (
        &["IMG.0057"],
        Say(
            "the object must exist, be ZVHD2 or RAW, be in storage class Standard, and IMS must have the right to read it",
        ),
    ),
    (
        &["IMG.0058"],
        Say("the bucket must be in the region of the image"),
    ),
    (
        &["IMG.0059"],
        Say("the file is too large: at most 1 TiB by quick import, 128 GiB otherwise"),
    ),
    (
        &["IMG.0060"],
        Say("too many jobs at the same time: wait until others have ended"),
    ),
    // The table names the service's support here, and no waiting: what is too large is the request.
    (
        &["IMG.0194"],
        Say(
            "one request imports too many images: at most three data images go with a system image, the others need requests of their own",
        ),
    ),
    (
        &["IMG.0063", "IMG.0111", "IMG.0119", "IMG.0153", "IMG.0164"],
        Say("no image can be made of this server or disk: choose another"),
    ),
    (
        &["IMG.0068", "IMG.0069", "IMG.0109"],
        Say("check the bucket's name, and that IMS has the right to read it"),
    ),
    (
        &["IMG.0070"],
        Say("the object already exists: choose another key, or delete it"),
    ),
    (
        &[
            "IMG.0071", "IMG.0077", "IMG.0079", "IMG.0080", "IMG.0081", "IMG.0128", "IMG.0130",
        ],
        Say("public, full-ECS and ISO images, and those made of public ones, cannot be exported"),
    ),
    (
        &["IMG.0072", "IMG.0158"],
        Say(
            "quick import takes ZVHD2, or RAW with its bitmap file in the bucket: upload ZVHD2. An export writes qcow2, vhd, zvhd or vmdk",
        ),
    ),
    (
        &["IMG.0073", "IMG.0074", "IMG.0075", "IMG.0175"],
        Say(
            "choose another key: no spaces, and a file name of at most 128 letters, digits, '-', '.' and '_'",
        ),
    ),
    (
        &["IMG.0076", "IMG.0178"],
        Say("name the project of somebody else"),
    ),
    (
        &["IMG.0087"],
        Say("the token is not valid any more: sign in again"),
    ),
    (
        &["IMG.0088"],
        Say("stop sharing with projects that do not need it, or ask for a larger quota"),
    ),
    (
        &["IMG.0089", "IMG.0135"],
        Say("public and full-ECS images cannot be shared"),
    ),
    (
        &["IMG.0090"],
        Say("wait until the image is made, then delete it"),
    ),
    (
        &["IMG.0092", "IMG.0094", "IMG.0106"],
        Say("only the owner can do this, with private images only"),
    ),
    (
        &[
            "IMG.0095", "IMG.0096", "IMG.0097", "IMG.0099", "IMG.0100", "IMG.0101", "IMG.0102",
            "IMG.0103", "IMG.0187",
        ],
        Say("check the encryption key of the image or bucket, and the right to use it"),
    ),
    (
        &["IMG.0098", "IMG.0197"],
        Say("encrypted images cannot be shared: copy it without a key first"),
    ),
    (
        &["IMG.0115"],
        Say("tag keys have at most 36 and values at most 43 characters, without = * < > \\ , | /"),
    ),
    (&["IMG.0116"], Say("an image has at most 10 tags")),
    (&["IMG.0118"], Say("images for BMS cannot be encrypted")),
    (
        &["IMG.0120", "IMG.0140"],
        Say("check the ids of the disks: they must exist and belong to one server"),
    ),
    (&["IMG.0121"], Say("it is not there (any more)")),
    (&["IMG.0123"], Say("the same file is named twice")),
    (
        &["IMG.0133", "IMG.0165"],
        Say("the account lacks the right to the backup"),
    ),
    (&["IMG.0141"], Say("the firmware is bios or uefi")),
    (
        &["IMG.0148"],
        Say("the image is being exported: wait until that job has ended"),
    ),
    (
        &["IMG.0155", "IMG.0156"],
        Say("check the enterprise project's id, and the right to use it"),
    ),
    (
        &["IMG.0159", "IMG.0166", "IMG.0195"],
        Say("name the operating system, for example 'CentOS 7.0 64bit'"),
    ),
    (&["IMG.0160"], ExportQuick),
    (&["IMG.0167"], Say("ISO images cannot do this")),
    (
        &["IMG.0177"],
        Say("images are shared inside a region only: copy the image to the other region first"),
    ),
    (&["IMG.0196"], AcceptShared),
    (&["IMG.0212"], Say("the architecture is x86 or arm")),
    (
        &["IMG.0238", "IMG.0239", "IMG.0241", "IMG.0242"],
        Say("the account must pass real-name authentication and have means of payment"),
    ),
    (&["IMG.1075"], Say("look at the job for the reason")),
    (
        &[
            "IMG.0014", "IMG.0016", "IMG.0018", "IMG.0036", "IMG.0037", "IMG.0038", "IMG.0039",
            "IMG.0040", "IMG.0045", "IMG.0053", "IMG.0061", "IMG.0064", "IMG.0065", "IMG.0105",
            "IMG.0112", "IMG.0113", "IMG.0114", "IMG.0138", "IMG.0154", "IMG.0176", "IMG.0179",
            "IMG.0181", "IMG.0186", "IMG.0191",
        ],
        Say(SUPPORT),
    ),
    (
        &["IMG.0011"],
        Say(
            "the service wants forceCreate set to true, which no documented request has: make this image in the console",
        ),
    ),
    (
        &["IMG.0021", "IMG.0192"],
        Say("the service does not know what an id of the request is of: check the ids"),
    ),
    (
        &["IMG.0025"],
        Say("sign in as an IAM user of the project, with programmatic access"),
    ),
    (&["IMG.0041"], NameProject),
    (
        &["IMG.0083", "IMG.0084", "IMG.0085", "IMG.0125"],
        Say("images are made public in the console, not by this program; data images cannot be"),
    ),
    (
        &["IMG.0162", "IMG.0163"],
        Say(
            "a vendor name has 1 to 12 letters and inner spaces, and Windows images that boot by BIOS only can have one",
        ),
    ),
    (
        &[
            "IMG.0168", "IMG.0169", "IMG.0170", "IMG.0171", "IMG.0172", "IMG.0173", "IMG.0174",
        ],
        Say(
            "an image is replaced only by one of the same name, system, format and kind, that needs no smaller disk or memory; data images are not replaced",
        ),
    ),
    (
        &["APIGW.0101"],
        Say("the endpoint does not offer this call: check the address of the service"),
    ),
    (
        &["APIGW.0301"],
        Say(
            "check access key and secret key (or the password), the region, and this machine's clock",
        ),
    ),
    (
        &["APIGW.0302", "APIGW.0303"],
        Say("the account has no right to this call in this project"),
    ),
    (&["APIGW.0308"], Say("too many requests: wait a while")),
];

/// The hint for a status without a known code.
pub(crate) fn for_status(status: u16) -> Option<Hint> {
    let text = match status {
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
    };
    Some(Hint::Text(text.into()))
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

    /// Only the program knows what its options and commands are called.
    #[test]
    fn no_hint_names_an_option_or_a_command_of_a_program() {
        let listed = HINTS.iter().flat_map(|(codes, _)| *codes);
        let hints = listed.filter_map(|code| for_code(code)).chain([
            Hint::NotIam,
            Hint::NotIms,
            Hint::AllowHttp,
        ]);
        for hint in hints {
            let text = hint.to_string();
            assert!(!text.contains("--") && !text.contains("imgferry"), "{text}");
        }
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
