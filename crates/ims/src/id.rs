//! Ids that become part of a path.

use std::fmt;
use std::str::FromStr;

/// Longest id in characters. Ours: the services' ids have 32 or 36.
const MAX_ID: usize = 128;

/// Why a text is no id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id has 1 to 128 letters, digits, '-', '_' and '.', found {0:?}")]
pub struct BadId(String);

/// Whether `text` can be one segment of a path without any encoding: gateways differ in how they
/// decode before they compare signatures.
pub(crate) fn is_id(text: &str) -> bool {
    (1..=MAX_ID).contains(&text.len())
        && !matches!(text, "." | "..")
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn checked(text: &str) -> Result<String, BadId> {
    if is_id(text) {
        return Ok(text.to_owned());
    }
    Err(BadId(text.chars().take(MAX_ID).collect()))
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                checked(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// Id of an asynchronous job.
    JobId
);
id!(
    /// Id of an image.
    ImageId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_leave_their_segment_of_a_path() {
        for good in [
            "ff8080814dbd65d7014dbe0d84db0013",
            "e9e91bff-14b6-4a0b",
            "a",
        ] {
            assert_eq!(good.parse::<JobId>().unwrap().as_str(), good);
        }
        let long = "a".repeat(129);
        for bad in ["", ".", "..", "a/b", "a?b", "a b", "%2e", "é", "a\n", &long] {
            assert!(bad.parse::<ImageId>().is_err(), "{bad:?}");
        }
    }
}
