//! What the SDK signs with: the key in hand.

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use net::credentials::Keys;
use net::secret::ExposeSecret;

/// The key as it is when a request is signed.
#[derive(Clone, Debug)]
pub(crate) struct CurrentKey(pub(crate) Keys);

impl ProvideCredentials for CurrentKey {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let key = self.0.current().await;
            let key = key.map_err(CredentialsError::provider_error)?;
            let token = key.session_token.as_ref();
            Ok(Credentials::new(
                key.id.clone(),
                key.secret.expose_secret(),
                token.map(|token| token.expose_secret().to_owned()),
                None,
                "imgferry",
            ))
        })
    }
}
