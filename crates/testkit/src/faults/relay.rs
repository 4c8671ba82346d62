//! One request through the proxy: passed on, or treated as a fault says.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

use super::fault::Fault;
use super::seen::Seen;

/// Longest head that is taken, in bytes.
const MAX_HEAD: usize = 64 << 10;
/// Longest answer that a fault looks into, in bytes.
const MAX_ANSWER: u64 = 64 << 20;
/// Bytes that are passed on at a time.
const CHUNK: usize = 64 << 10;

/// A request whose head was read.
pub(super) struct Request {
    pub(super) seen: Seen,
    /// Bytes of the body taken from the client so far.
    pub(super) taken: Arc<AtomicU64>,
    client: TcpStream,
    /// The head for the server: as it came, but for one request per connection.
    head: Vec<u8>,
    /// What of the body came with the head.
    early: Vec<u8>,
    /// Bytes of the body in all.
    body_len: u64,
    /// Whether a bit of the body is to change on the way.
    damage: bool,
}

impl Request {
    /// Reads the head. `None` when there is none to be had.
    pub(super) async fn read(mut client: TcpStream) -> Option<Self> {
        let mut received = Vec::new();
        let end = loop {
            if let Some(end) = find(&received, b"\r\n\r\n") {
                break end + 4;
            }
            let read = client.read_buf(&mut received).await.ok()?;
            if read == 0 || received.len() > MAX_HEAD {
                return None;
            }
        };
        let early = received.split_off(end);
        let text = String::from_utf8_lossy(&received).into_owned();
        let mut lines = text.trim_end().split("\r\n");
        let first = lines.next()?;
        let mut words = first.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let mut head = format!("{first}\r\n");
        let mut headers = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':')?;
            headers.push((name.to_owned(), value.trim().to_owned()));
            // Waiting for the server's word on the body would be one more thing to relay.
            if !["connection", "expect"].contains(&name.to_ascii_lowercase().as_str()) {
                head.push_str(line);
                head.push_str("\r\n");
            }
        }
        head.push_str("Connection: close\r\n\r\n");
        let seen = Seen::new(method, target, headers);
        let body_len = match seen.header("content-length") {
            Some(length) => length.parse().ok()?,
            None => 0,
        };
        if seen.header("expect").is_some() && early.is_empty() && body_len > 0 {
            client
                .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
                .await
                .ok()?;
        }
        Some(Self {
            seen,
            taken: Arc::default(),
            client,
            head: head.into_bytes(),
            early,
            body_len,
            damage: false,
        })
    }

    /// Does what `fault` says, or passes the request on.
    pub(super) async fn act(mut self, server: SocketAddr, fault: Option<Fault>) -> io::Result<()> {
        match fault {
            None => self.pass_on(server).await,
            Some(Fault::DamagedBody) => {
                self.damage = true;
                self.pass_on(server).await
            }
            Some(Fault::Slow(delay)) => {
                tokio::time::sleep(delay).await;
                self.pass_on(server).await
            }
            Some(Fault::Answer {
                status,
                code,
                headers,
            }) => {
                self.swallow().await?;
                let answer = self.own_answer(status, code, &headers);
                self.finish(&answer).await
            }
            Some(Fault::SignInPage(status)) => {
                self.swallow().await?;
                let answer = self.sign_in_page(status);
                self.finish(&answer).await
            }
            Some(Fault::ResetBefore) => self.reset(),
            Some(Fault::ResetInBody) => {
                let mut upstream = self.begin(server).await?;
                let half = self.body_len / 2;
                self.send_body(&mut upstream, half).await?;
                upstream.set_zero_linger()?;
                self.reset()
            }
            Some(Fault::ResetAfter) => {
                self.ask(server).await?;
                self.reset()
            }
            Some(Fault::StallInBody) => self.hold().await,
            Some(Fault::Stall) => {
                self.swallow().await?;
                self.wait_for_hangup().await
            }
            Some(Fault::StallAfter) => {
                self.ask(server).await?;
                self.wait_for_hangup().await
            }
            Some(Fault::StallInAnswer) => {
                let answer = self.ask(server).await?;
                self.client.write_all(first_half(&answer)).await?;
                self.client.flush().await?;
                self.wait_for_hangup().await
            }
            Some(Fault::TruncatedAnswer) => {
                let answer = self.ask(server).await?;
                let half = first_half(&answer).to_vec();
                self.finish(&half).await
            }
            Some(Fault::WrongEtag) => {
                let mut answer = self.ask(server).await?;
                spoil_etags(&mut answer);
                self.finish(&answer).await
            }
            Some(Fault::PageAfter(status)) => {
                self.ask(server).await?;
                let answer = self.sign_in_page(status);
                self.finish(&answer).await
            }
            Some(Fault::Twice) => {
                let body = self.take_body().await?;
                self.early.clone_from(&body);
                self.ask(server).await?;
                self.early = body;
                let answer = self.ask(server).await?;
                self.finish(&answer).await
            }
            Some(Fault::LostAnswer) => {
                self.ask(server).await?;
                let answer = self.own_answer(500, "InternalError", &[]);
                self.finish(&answer).await
            }
        }
    }

    /// Passes everything on, both ways, as it comes.
    async fn pass_on(mut self, server: SocketAddr) -> io::Result<()> {
        let mut upstream = self.begin(server).await?;
        let (mut answer, mut to_server) = upstream.split();
        let (mut from_client, mut to_client) = self.client.split();
        let mut left = self.body_len.saturating_sub(self.early.len() as u64);
        let mut spoil = |bytes: &mut [u8]| {
            if let Some(byte) = bytes.first_mut().filter(|_| self.damage) {
                *byte ^= 1;
                self.damage = false;
            }
        };
        spoil(&mut self.early);
        to_server.write_all(&self.early).await?;
        self.taken
            .fetch_add(self.early.len() as u64, Ordering::Relaxed);
        let mut up = vec![0; CHUNK];
        let mut down = vec![0; CHUNK];
        loop {
            tokio::select! {
                read = from_client.read(&mut up), if left > 0 => {
                    let read = read?;
                    if read == 0 {
                        // The client gave up; so does the proxy, and the server sees half a body.
                        return Ok(());
                    }
                    left = left.saturating_sub(read as u64);
                    self.taken.fetch_add(read as u64, Ordering::Relaxed);
                    spoil(up.get_mut(..read).unwrap_or_default());
                    if to_server.write_all(up.get(..read).unwrap_or_default()).await.is_err() {
                        // The server answered before it read everything.
                        left = 0;
                    }
                }
                read = answer.read(&mut down) => {
                    let read = read?;
                    if read == 0 {
                        return to_client.shutdown().await;
                    }
                    to_client.write_all(down.get(..read).unwrap_or_default()).await?;
                }
            }
        }
    }

    /// Connects to the server and sends the head.
    async fn begin(&self, server: SocketAddr) -> io::Result<TcpStream> {
        let mut upstream = TcpStream::connect(server).await?;
        upstream.set_nodelay(true)?;
        upstream.write_all(&self.head).await?;
        Ok(upstream)
    }

    /// Passes on the first `len` bytes of the body.
    async fn send_body(&mut self, upstream: &mut TcpStream, len: u64) -> io::Result<()> {
        let mut left = len;
        let early = std::mem::take(&mut self.early);
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(early.len());
        let now = early.get(..take).unwrap_or_default();
        upstream.write_all(now).await?;
        self.count(&mut left, now.len());
        let mut chunk = vec![0; CHUNK];
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let read = self
                .client
                .read(chunk.get_mut(..room).unwrap_or_default())
                .await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            upstream
                .write_all(chunk.get(..read).unwrap_or_default())
                .await?;
            self.count(&mut left, read);
        }
        Ok(())
    }

    /// The whole body.
    async fn take_body(&mut self) -> io::Result<Vec<u8>> {
        let mut body = std::mem::take(&mut self.early);
        let early = u64::try_from(body.len()).unwrap_or(u64::MAX);
        let rest = self.body_len.saturating_sub(early);
        let client = &mut self.client;
        client.take(rest).read_to_end(&mut body).await?;
        Ok(body)
    }

    fn count(&self, left: &mut u64, bytes: usize) {
        *left = left.saturating_sub(bytes as u64);
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Passes the whole request on, and takes the whole answer.
    async fn ask(&mut self, server: SocketAddr) -> io::Result<Vec<u8>> {
        let mut upstream = self.begin(server).await?;
        self.send_body(&mut upstream, self.body_len).await?;
        let mut answer = Vec::new();
        upstream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        Ok(answer)
    }

    /// Reads the rest of the body and forgets it.
    async fn swallow(&mut self) -> io::Result<()> {
        let mut left = self.body_len;
        let early = self.early.len();
        self.count(&mut left, early);
        let mut chunk = vec![0; CHUNK];
        while left > 0 {
            let read = self.client.read(&mut chunk).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.count(&mut left, read);
        }
        Ok(())
    }

    /// An answer of the proxy's own.
    fn own_answer(&self, status: u16, code: &str, headers: &[(&'static str, String)]) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {status} Fault\r\n");
        head.push_str(&format!("x-amz-request-id: FAULT-{}\r\n", self.seen.nth));
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = if code.is_empty() || self.seen.method == "HEAD" {
            String::new()
        } else {
            format!("<Error><Code>{code}</Code><Message>As scripted.</Message></Error>")
        };
        head.push_str(&format!(
            "Content-Type: application/xml\r\nContent-Length: {}\r\nConnection: \
             close\r\n\r\n{body}",
            body.len()
        ));
        head.into_bytes()
    }

    /// What a network answers in the place of any server until its user has signed in.
    fn sign_in_page(&self, status: u16) -> Vec<u8> {
        let page = "<html><body>Please sign in.</body></html>";
        let location = match status {
            300..=399 => "Location: http://sign-in.example.com/\r\n",
            _ => "",
        };
        let head = format!(
            "HTTP/1.1 {status} Page\r\nContent-Type: text/html; charset=utf-8\r\n{location}Content-Length: {}\r\n\
             Connection: close\r\n\r\n",
            page.len()
        );
        match self.seen.method.as_str() {
            "HEAD" => head.into_bytes(),
            _ => (head + page).into_bytes(),
        }
    }

    async fn finish(mut self, answer: &[u8]) -> io::Result<()> {
        self.client.write_all(answer).await?;
        self.client.shutdown().await
    }

    /// Ends the client's connection with a reset.
    fn reset(self) -> io::Result<()> {
        // With lingering off, closing sends RST.
        self.client.set_zero_linger()
    }

    /// Reads nothing and says nothing until the client resets the connection, or the test ends.
    async fn hold(self) -> io::Result<()> {
        let ended = self.client.ready(Interest::ERROR).await;
        ended.map(drop)
    }

    /// Says nothing until the client gives up.
    async fn wait_for_hangup(mut self) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        while self.client.read(&mut chunk).await? > 0 {}
        Ok(())
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

/// The head and half of the body; of an answer without a body, half of the head.
fn first_half(answer: &[u8]) -> &[u8] {
    let head = find(answer, b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    let cut = match answer.len().saturating_sub(head) {
        0 => head / 2,
        body => head + body / 2,
    };
    answer.get(..cut).unwrap_or_default()
}

/// Makes the 32 hex digits after each `etag` zeros; lengths stay as they are.
fn spoil_etags(answer: &mut [u8]) {
    let lower = answer.to_ascii_lowercase();
    let mut from = 0;
    while let Some(at) = lower.get(from..).and_then(|rest| find(rest, b"etag")) {
        let closing = (from + at)
            .checked_sub(1)
            .is_some_and(|before| lower.get(before) == Some(&b'/'));
        from += at + 4;
        if closing {
            // What follows the end of an element is no longer its.
            continue;
        }
        let Some(rest) = answer.get_mut(from..) else {
            return;
        };
        let is_hex = |window: &[u8]| window.iter().all(u8::is_ascii_hexdigit);
        // Past a colon, quotes or a bracket, in the one form or the other.
        let near = rest.len().min(64);
        let Some(start) = rest
            .get(..near)
            .and_then(|near| near.windows(32).position(is_hex))
        else {
            continue;
        };
        if let Some(digits) = rest.get_mut(start..start + 32) {
            digits.fill(b'0');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_are_spoilt_in_headers_and_documents_and_nothing_else_is() {
        let mut answer = b"HTTP/1.1 200 OK\r\nETag: \"d41d8cd98f00b204e9800998ecf8427e\"\r\n\r\n<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e-3&quot;</ETag>d41d8cd98f00b204e9800998ecf8427e".to_vec();
        spoil_etags(&mut answer);
        let zeros = "0".repeat(32);
        assert_eq!(
            String::from_utf8(answer).unwrap(),
            format!(
                "HTTP/1.1 200 OK\r\nETag: \"{zeros}\"\r\n\r\n<ETag>&quot;{zeros}-3&quot;</ETag>d41d8cd98f00b204e9800998ecf8427e"
            )
        );
    }

    #[test]
    fn half_an_answer_is_never_a_whole_one() {
        let with_body = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd";
        assert!(first_half(with_body).ends_with(b"\r\n\r\nab"));
        let without = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        assert!(find(first_half(without), b"\r\n\r\n").is_none());
    }
}
