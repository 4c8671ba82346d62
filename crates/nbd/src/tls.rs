//! TLS to a server whose certificate is verified, always.

use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use diskimg::{Error, ErrorKind, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::uri::NbdUri;
use crate::wire::{Stream, Wire};

/// Largest file of certificates, in bytes. Ours: several times the one of a system.
const MAX_CA_BYTES: u64 = 4 << 20;

/// How the connections of an export are encrypted.
#[derive(Clone)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// For the server of `uri`, whose certificate must be signed by one of the file at `ca`, or by
    /// one that this machine trusts.
    pub(crate) fn new(uri: &NbdUri, ca: Option<&Path>) -> Result<Self> {
        let name = uri.certificate_name().map(str::to_owned).ok_or_else(|| {
            Error::unsupported("a Unix socket says no host that a certificate could be for")
                .with_hint("add the name in the certificate to the URI: &tls-hostname=NAME")
        })?;
        let name = ServerName::try_from(name.clone()).map_err(|_| {
            Error::unsupported(format!(
                "{} is no name that a certificate can be for",
                diskimg::printable(&name)
            ))
        })?;
        let roots = match ca {
            Some(path) => roots_of(path).map_err(|error| error.in_file(path))?,
            None => roots_of_machine()?,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::unsupported("TLS cannot be set up").caused_by(e))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            config: Arc::new(config),
            name,
        })
    }

    /// Encrypts `wire`. The server's certificate is verified by the time this returns.
    pub(crate) fn over(&self, wire: Wire) -> io::Result<Transport> {
        let connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone())
            .map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, wire);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Transport::Tls(Box::new(stream)))
    }
}

fn roots_of(path: &Path) -> Result<RootCertStore> {
    let file = diskimg::source::open_regular(path)
        .map_err(|error| Error::io("the certificates cannot be opened", error))?;
    let mut text = Vec::new();
    file.take(MAX_CA_BYTES)
        .read_to_end(&mut text)
        .map_err(|error| Error::io("the certificates cannot be read", error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| no_certificates(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| no_certificates(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(no_certificates("it holds none".to_owned())),
        false => Ok(roots),
    }
}

fn no_certificates(found: String) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("certificates in PEM form are expected (-----BEGIN CERTIFICATE-----): {found}"),
    )
}

fn roots_of_machine() -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match roots.is_empty() {
        true => Err(Error::unsupported(
            "this machine trusts no certificates, so none can be verified",
        )
        .with_hint("name the file of the one that signed the server's: --tls-ca FILE")),
        false => Ok(roots),
    }
}

/// A connection, encrypted or not.
pub(crate) enum Transport {
    Plain(Wire),
    Tls(Box<StreamOwned<ClientConnection, Wire>>),
}

impl Stream for Transport {
    fn allow(&mut self, time: Duration) {
        match self {
            Self::Plain(wire) => wire.allow(time),
            Self::Tls(stream) => stream.sock.allow(time),
        }
    }
}

impl Read for Transport {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.read(buf),
            Self::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Transport {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.write(buf),
            Self::Tls(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(wire) => wire.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}
