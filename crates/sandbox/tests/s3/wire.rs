//! Requests as they go over the wire, for what no SDK sends: signed here, with nothing added.

use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use net::secret::ExposeSecret as _;
use sandbox::Sandbox;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use time::macros::format_description;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::{TlsConnector, rustls};

/// A request to sign and to send.
pub(crate) struct Wire<'a> {
    pub(crate) method: &'a str,
    /// Path and query, encoded.
    pub(crate) target: &'a str,
    pub(crate) headers: Vec<(&'a str, String)>,
    pub(crate) body: &'a [u8],
    /// Tell the time in `Date` and not in `x-amz-date`.
    pub(crate) dated: bool,
    /// Leave the date out after signing with it.
    pub(crate) strip_date: bool,
    /// Leave out `Content-Length`.
    pub(crate) no_length: bool,
}

/// Status and body.
pub(crate) type Answer = (u16, String);

impl<'a> Wire<'a> {
    pub(crate) fn new(method: &'a str, target: &'a str, body: &'a [u8]) -> Self {
        Self {
            method,
            target,
            headers: Vec::new(),
            body,
            dated: false,
            strip_date: false,
            no_length: false,
        }
    }

    pub(crate) fn header(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Signs with version 4 and `UNSIGNED-PAYLOAD`, unless another `x-amz-content-sha256` is given.
    pub(crate) async fn send(&self, sandbox: &Sandbox) -> Answer {
        let key = sandbox.access_key();
        let now = OffsetDateTime::now_utc();
        let long = format_description!("[year][month][day]T[hour][minute][second]Z");
        let long = now.format(long).unwrap();
        let day = &long[..8];
        let endpoint = sandbox.obs_endpoint();
        let host = format!(
            "{}:{}",
            endpoint.host_str().unwrap(),
            endpoint.port().unwrap()
        );
        let mut headers = self.headers.clone();
        headers.push(("host", host.clone()));
        match self.dated {
            false => headers.push(("x-amz-date", long.clone())),
            true => {
                let date = now.format(&Rfc2822).unwrap();
                headers.push(("date", date.replace("+0000", "GMT")));
            }
        }
        if !headers
            .iter()
            .any(|(name, _)| *name == "x-amz-content-sha256")
        {
            headers.push(("x-amz-content-sha256", "UNSIGNED-PAYLOAD".to_owned()));
        }
        headers.sort();
        let hash = headers
            .iter()
            .find(|(name, _)| *name == "x-amz-content-sha256");
        let hash = &hash.unwrap().1;
        let (path, query) = self.target.split_once('?').unwrap_or((self.target, ""));
        let mut pairs: Vec<String> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| match pair.contains('=') {
                true => pair.to_owned(),
                false => format!("{pair}="),
            })
            .collect();
        pairs.sort();
        let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines: String = headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let canonical = [self.method, path, &pairs.join("&"), &lines, &names, hash].join("\n");
        let scope = format!("{day}/{}/s3/aws4_request", sandbox.region());
        let mut signing = format!("AWS4{}", key.secret.expose_secret()).into_bytes();
        for part in scope.split('/') {
            signing = hmac(&signing, part);
        }
        let canonical = hex::encode(Sha256::digest(canonical));
        let text = format!("AWS4-HMAC-SHA256\n{long}\n{scope}\n{canonical}");
        let signature = hex::encode(hmac(&signing, &text));
        headers.push((
            "authorization",
            format!(
                "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, \
                 Signature={signature}",
                key.id
            ),
        ));
        if self.strip_date {
            headers.retain(|(name, _)| *name != "date");
        }
        if !self.no_length {
            headers.push(("content-length", self.body.len().to_string()));
        }
        let lines: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let (method, target) = (self.method, self.target);
        let head = format!("{method} {target} HTTP/1.1\r\n{lines}connection: close\r\n\r\n");
        let request = [head.as_bytes(), self.body].concat();
        let stream = TcpStream::connect(&host).await.unwrap();
        match sandbox.certificate() {
            None => exchange(stream, &request).await,
            Some(file) => exchange(encrypted(stream, file).await, &request).await,
        }
    }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    hmac.update(text.as_bytes());
    hmac.finalize().into_bytes().to_vec()
}

/// A TLS connection to who has the certificate in `file`.
async fn encrypted(stream: TcpStream, file: &std::path::Path) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(file).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.unwrap()
}

/// Sends exactly these bytes; the answer.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Answer {
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}
