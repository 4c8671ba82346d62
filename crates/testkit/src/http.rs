//! A scripted HTTP/1.1 server on a real socket: a queue of answers, and a record of every request.
//!
//! Each request gets its own connection, so that an answer can be a reset, a stall or a body that
//! ends too early. A request that nobody scripted is answered with status 599 and says so.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Largest request that is taken, in bytes; tests send far less.
const MAX_REQUEST_BYTES: usize = 16 << 20;

/// What the server does with one request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A complete answer.
    Answer(Answer),
    /// The connection is reset after the request was read.
    Reset,
    /// Nothing is sent and the connection stays open.
    Stall,
    /// The head and half of the body, then the connection ends.
    Truncated(Answer),
}

/// Status, headers and body of an answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers beside `Content-Length` and `Connection`.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// Time between request and answer.
    pub delay: Duration,
    /// Leaves `Content-Length` out: the body ends with the connection.
    pub no_length: bool,
}

impl Reply {
    /// An answer without a body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::text(status, "")
    }

    /// A JSON answer.
    #[must_use]
    pub fn json(status: u16, body: &str) -> Self {
        Self::text(status, body).header("Content-Type", "application/json")
    }

    /// An answer with a body of any kind.
    #[must_use]
    pub fn text(status: u16, body: &str) -> Self {
        Self::Answer(Answer {
            status,
            body: body.as_bytes().to_vec(),
            ..Answer::default()
        })
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Self::Answer(answer) | Self::Truncated(answer) = &mut self {
            answer.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Leaves `Content-Length` out.
    #[must_use]
    pub fn without_length(mut self) -> Self {
        if let Self::Answer(answer) | Self::Truncated(answer) = &mut self {
            answer.no_length = true;
        }
        self
    }

    /// Answers only after `delay`.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        if let Self::Answer(answer) | Self::Truncated(answer) = &mut self {
            answer.delay = delay;
        }
        self
    }

    /// The same answer, cut in the middle of its body.
    #[must_use]
    pub fn truncated(self) -> Self {
        match self {
            Self::Answer(answer) => Self::Truncated(answer),
            other => other,
        }
    }
}

/// A request as it arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Method.
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    /// Headers in order, names as sent.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Recorded {
    /// The first header called `name`, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The target without its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(self.target.as_str(), |(path, _)| path)
    }

    /// The body as text; bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

type Once = Box<dyn FnOnce(&Recorded) -> Reply + Send>;
type Always = Box<dyn FnMut(&Recorded) -> Option<Reply> + Send>;

#[derive(Default)]
struct Script {
    queue: VecDeque<Once>,
    otherwise: Option<Always>,
    requests: Vec<Recorded>,
}

/// The server; ends when dropped.
pub struct Server {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Starts on a free port of the loopback interface. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When no socket can be opened.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let script = Arc::<Mutex<Script>>::default();
        let shared = Arc::clone(&script);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Ok(Self {
            address,
            script,
            task,
        })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers the next request that no earlier entry answers.
    pub fn push(&self, reply: Reply) {
        self.push_fn(move |_| reply);
    }

    /// Answers it by what it contains.
    pub fn push_fn(&self, answer: impl FnOnce(&Recorded) -> Reply + Send + 'static) {
        self.script.lock().queue.push_back(Box::new(answer));
    }

    /// Asked for each request before the queue; `None` leaves the request to the queue.
    pub fn route(&self, answer: impl FnMut(&Recorded) -> Option<Reply> + Send + 'static) {
        self.script.lock().otherwise = Some(Box::new(answer));
    }

    /// All requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.script.lock().requests.clone()
    }

    /// Number of answers that nobody has asked for yet.
    #[must_use]
    pub fn unused(&self) -> usize {
        self.script.lock().queue.len()
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Mutex<Script>>) {
    let Some(request) = read_request(&mut stream).await else {
        return;
    };
    let reply = {
        let mut script = script.lock();
        script.requests.push(request.clone());
        let routed = script.otherwise.as_mut().and_then(|f| f(&request));
        match routed {
            Some(reply) => reply,
            None => match script.queue.pop_front() {
                Some(answer) => answer(&request),
                None => Reply::text(599, "the test scripted no answer for this request"),
            },
        }
    };
    match reply {
        Reply::Answer(answer) => {
            let _ = send(&mut stream, &answer, answer.body.len()).await;
        }
        Reply::Truncated(answer) => {
            let _ = send(&mut stream, &answer, answer.body.len() / 2).await;
        }
        Reply::Reset => {
            // With lingering off, closing sends RST.
            let _ = stream.set_zero_linger();
        }
        Reply::Stall => std::future::pending().await,
    }
}

async fn send(stream: &mut TcpStream, answer: &Answer, body_bytes: usize) -> io::Result<()> {
    if !answer.delay.is_zero() {
        tokio::time::sleep(answer.delay).await;
    }
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !answer.no_length {
        head.push_str(&format!("Content-Length: {}\r\n", answer.body.len()));
    }
    head.push_str("Connection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream
        .write_all(answer.body.get(..body_bytes).unwrap_or_default())
        .await?;
    stream.shutdown().await
}

async fn read_request(stream: &mut TcpStream) -> Option<Recorded> {
    let mut received = Vec::new();
    let head_end = loop {
        if let Some(at) = received.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        read_more(stream, &mut received).await?;
    };
    let head = String::from_utf8_lossy(received.get(..head_end)?).into_owned();
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let mut request = Recorded {
        method: first.next()?.to_owned(),
        target: first.next()?.to_owned(),
        ..Recorded::default()
    };
    for line in lines {
        let (name, value) = line.split_once(':')?;
        request
            .headers
            .push((name.to_owned(), value.trim().to_owned()));
    }
    let length: usize = request
        .header("content-length")
        .map_or(Some(0), |text| text.parse().ok())?;
    let body_start = head_end + 4;
    while received.len() < body_start + length {
        read_more(stream, &mut received).await?;
    }
    request.body = received.get(body_start..body_start + length)?.to_vec();
    Some(request)
}

async fn read_more(stream: &mut TcpStream, received: &mut Vec<u8>) -> Option<()> {
    let read = stream.read_buf(received).await.ok()?;
    (read > 0 && received.len() <= MAX_REQUEST_BYTES).then_some(())
}
