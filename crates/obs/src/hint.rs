//! What the user can do about an error, as data. `Display` gives it in general words; a program
//! with an option for it says that instead.

use std::borrow::Cow;
use std::fmt;

/// What the user can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Advice that holds for every program.
    Text(Cow<'static, str>),
    /// The bucket is elsewhere: use its endpoint and its region, as far as the answer names them.
    UseRegion {
        /// The endpoint of the bucket.
        endpoint: Option<String>,
        /// The region of the bucket.
        region: Option<String>,
    },
    /// The bucket was not found: check its name and the region.
    CheckBucket,
    /// The signature is wrong: check the secret key, and that the endpoint names no bucket.
    CheckSecretKey,
    /// The endpoint is not encrypted: use https, or allow plain http.
    AllowHttp,
    /// The endpoint is an IP address: use its name, or put the bucket into the path.
    NameEndpoint,
    /// No certificate covers a bucket with dots: use another bucket, or put it into the path.
    AvoidDots,
    /// The server takes the bucket's name in the host only.
    PutBucketInHost,
    /// The memory for parts does not suffice: give this many bytes.
    GiveMemory(u64),
}

impl Hint {
    /// The same with its texts, which servers may have written, passed through `masked`.
    pub(crate) fn with_texts(self, masked: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Text(text) => Self::Text(masked(&text).into()),
            Self::UseRegion { endpoint, region } => Self::UseRegion {
                endpoint: endpoint.as_deref().map(&masked),
                region: region.as_deref().map(&masked),
            },
            other => other,
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(text) => text,
            Self::UseRegion { endpoint, region } => {
                f.write_str("the bucket is in another region: use its endpoint")?;
                endpoint.iter().try_for_each(|at| write!(f, " {at}"))?;
                f.write_str(" and its region")?;
                return region.iter().try_for_each(|name| write!(f, " {name}"));
            }
            Self::CheckBucket => "check the bucket's name and its region",
            Self::CheckSecretKey => {
                "check HW_SECRET_KEY, and that the endpoint does not contain the bucket's name"
            }
            Self::AllowHttp => "use an https endpoint, or allow plain http",
            Self::NameEndpoint => "use the endpoint's name, or put the bucket into the path",
            Self::AvoidDots => {
                "use a bucket without dots, or put the bucket into the path where the server \
                 allows it"
            }
            Self::PutBucketInHost => "this server takes the bucket's name in the host only",
            Self::GiveMemory(bytes) => {
                return write!(f, "allow {} MiB for parts", bytes.div_ceil(1 << 20));
            }
        })
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<&'static str> for Hint {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}
