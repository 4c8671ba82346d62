//! Who is calling.

use net::credentials::Keys;
use net::secret::{AccessKey, SecretString};

/// Credentials of a caller. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Each request is signed; temporary keys carry their session token.
    AccessKey(AccessKey),
    /// The same with keys that change: of an agency, or read again from a file.
    Keys(Keys),
    /// A token is fetched with the password, cached and renewed.
    Password {
        /// Name of the IAM user.
        user: String,
        /// The user's password.
        password: SecretString,
        /// Name of the account that the user belongs to.
        domain: String,
    },
    /// A token from elsewhere; it cannot be renewed.
    Token(SecretString),
}
