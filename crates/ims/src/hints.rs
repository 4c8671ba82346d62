//! What a user can do about the services' error codes.
//!
//! Source of the codes: Image Management Service API Reference, appendix "Error Codes"; the gateway's from
//! "API Gateway: Error Codes".

/// The hint for `code`, such as `IMG.0009`.
pub(crate) fn for_code(code: &str) -> Option<&'static str> {
    Some(match code {
        "IMG.0001" | "IMG.0007" => {
            "the service does not know a field of the request; the API of this region may be older"
        }
        "IMG.0002" | "IMG.0003" | "IMG.0062" => {
            "image names have 1 to 128 letters, digits, '-', '.', '_' and spaces, with no space at the ends"
        }
        "IMG.0004" | "IMG.0054" => {
            "use a description of at most 1024 plain letters and digits, or none"
        }
        "IMG.0009" => "choose another image name",
        "IMG.0015" => "delete images that are not needed, or ask for a larger quota",
        "IMG.0017" => "the image file is named BUCKET:KEY",
        "IMG.0026" | "IMG.0047" => {
            "the account needs the right ims:serverImages:create (data disks: ims:dataImages:create), and Tenant Administrator for OBS"
        }
        "IMG.0030" | "IMG.0067" | "IMG.0104" | "IMG.0145" => {
            "name the project by its id: set HW_PROJECT_ID"
        }
        "IMG.0055" => "give a larger minimum disk, for example one GiB more",
        "IMG.0056" | "IMG.0122" => {
            "the service has its own names of operating systems: GET /v1/cloudimages/os_version lists those of the region"
        }
        "IMG.0057" => {
            "the object must exist, be ZVHD2 or RAW, be in storage class Standard, and IMS must have the right to read it"
        }
        "IMG.0058" => "the bucket must be in the region of the image",
        "IMG.0059" => "the file is too large: at most 1 TiB by quick import, 128 GiB otherwise",
        "IMG.0060" | "IMG.0194" => "too many imports at once: wait until others have ended",
        "IMG.0068" | "IMG.0069" | "IMG.0109" => {
            "check the bucket's name, and that IMS has the right to read it"
        }
        "IMG.0072" | "IMG.0158" => {
            "quick import takes ZVHD2, or RAW with its bitmap file in the bucket: upload ZVHD2"
        }
        "IMG.0074" | "IMG.0075" | "IMG.0175" => {
            "choose another key: no spaces, and a file name of at most 128 letters, digits, '-', '.' and '_'"
        }
        "IMG.0095" | "IMG.0097" | "IMG.0099" | "IMG.0100" | "IMG.0187" => {
            "check the encryption key of the image or bucket, and the right to use it"
        }
        "IMG.0115" => {
            "tag keys have at most 36 and values at most 43 characters, without = * < > \\ , | /"
        }
        "IMG.0116" => "an image has at most 10 tags",
        "IMG.0123" => "the same file is named twice",
        "IMG.0141" => "the firmware is bios or uefi",
        "IMG.0212" => "the architecture is x86 or arm",
        "IMG.0155" | "IMG.0156" => "check the enterprise project's id, and the right to use it",
        "IMG.0159" | "IMG.0166" => "name the operating system, for example 'CentOS 7.0 64bit'",
        "IMG.0238" | "IMG.0239" | "IMG.0241" | "IMG.0242" => {
            "the account must pass real-name authentication and have means of payment"
        }
        "IMG.1075" => "look at the job for the reason",
        "APIGW.0101" => "the endpoint does not offer this call: check the address of the service",
        "APIGW.0301" => {
            "check access key and secret key (or the password), the region, and this machine's clock"
        }
        "APIGW.0302" | "APIGW.0303" => "the account has no right to this call in this project",
        "APIGW.0308" => "too many requests: wait a while",
        _ => return None,
    })
}

/// The hint for a status without a known code.
pub(crate) fn for_status(status: u16) -> Option<&'static str> {
    Some(match status {
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
    fn every_code_that_an_import_can_meet_has_a_hint() {
        for number in [
            1, 2, 3, 4, 7, 9, 15, 17, 26, 54, 55, 56, 57, 58, 59, 60, 62, 67, 68, 69, 72, 74, 75,
            95, 97, 99, 100, 104, 109, 115, 116, 122, 123, 141, 145, 155, 156, 158, 159, 166, 175,
            187, 194, 212, 238, 239, 241, 242, 1075,
        ] {
            let code = format!("IMG.{number:04}");
            assert!(for_code(&code).is_some(), "{code}");
        }
        assert_eq!(for_code("IMG.9999"), None);
    }
}
