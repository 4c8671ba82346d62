//! What the SDK signs with, the key in hand, and what it signs.

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use aws_runtime::auth::PayloadSigningOverride;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
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

/// Signs a request with the SHA-256 of its body as it is known, in hexadecimal: it was computed
/// together with that of other bodies, and once for all attempts.
#[derive(Debug)]
pub(crate) struct SignedBody(pub(crate) String);

impl Intercept for SignedBody {
    fn name(&self) -> &'static str {
        "SignedBody"
    }

    fn modify_before_signing(
        &self,
        _: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let signed = PayloadSigningOverride::Precomputed(self.0.clone());
        config.interceptor_state().store_put(signed);
        Ok(())
    }
}
