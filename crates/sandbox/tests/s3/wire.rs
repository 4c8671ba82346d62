//! Requests as they go over the wire, for what no SDK sends: signed here, with nothing added.

use hmac::{Hmac, KeyInit as _, Mac as _};
use net::secret::ExposeSecret as _;
use sandbox::Sandbox;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use time::macros::format_description;

/// A request to sign and to send.
pub(crate) struct Wire<'a> {
    pub(crate) method: &'a str,
    /// Path and query, encoded.
    pub(crate) target: &'a str,
    pub(crate) headers: Vec<(&'a str, String)>,
    pub(crate) body: &'a [u8],
    /// Tell the time in `Date` and not in `x-amz-date`.
    pub(crate) dated: bool,
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
                "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
                key.id
            ),
        ));
        if !self.no_length {
            headers.push(("content-length", self.body.len().to_string()));
        }
        exchange(&host, self.method, self.target, &headers, self.body).await
    }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    hmac.update(text.as_bytes());
    hmac.finalize().into_bytes().to_vec()
}

/// Sends exactly these bytes; the answer.
async fn exchange(
    host: &str,
    method: &str,
    target: &str,
    headers: &[(&str, String)],
    body: &[u8],
) -> Answer {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let head = format!("{method} {target} HTTP/1.1\r\n{lines}connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}
