//! https, with a certificate that the sandbox makes at each start.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

use crate::error::Error;

/// Takes connections for `localhost` and `addresses`, and writes the certificate to `file` for
/// clients to trust. The key is kept nowhere.
pub(crate) fn acceptor(file: &Path, addresses: &[IpAddr]) -> Result<TlsAcceptor, Error> {
    let mut names = vec!["localhost".to_owned()];
    names.extend(addresses.iter().map(IpAddr::to_string));
    let made = rcgen::generate_simple_self_signed(names).map_err(|e| Error::Tls(e.into()))?;
    fs::write(file, made.cert.pem()).map_err(|e| Error::io("write", file, e))?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Tls(e.into()))?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
        .map_err(|e| Error::Tls(e.into()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
