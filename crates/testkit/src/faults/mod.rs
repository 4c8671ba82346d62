//! A proxy in front of an S3 server that goes wrong on order.
//!
//! ```text
//!  client ──▶ Proxy ──▶ server            script(&Seen) -> Option<Fault>, asked once per request
//!               │
//!               └─ answers itself, resets, stalls, cuts answers off, loses them, changes their ETags
//! ```
//!
//! The server behind it is untouched, so what it stores after a fault is what a real one would.
//! Requests are passed on byte by byte with their `Host`, which signatures cover: the server sees
//! the proxy's address there. Each request gets a connection of its own on both sides.
//!
//! What belongs here: everything that happens to an S3 request on the wire or in front of the
//! service. What a service does by its own rules (jobs that fail, flow control of imports) is the
//! sandbox's to inject.

mod fault;
mod mix;
mod relay;
mod seen;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub use fault::Fault;
pub use mix::{mix, wild};
pub use seen::{Op, Seen};

impl Fault {
    /// The answer `status` with an error document that has `code`.
    #[must_use]
    pub fn answer(status: u16, code: &'static str) -> Self {
        Self::Answer {
            status,
            code,
            headers: Vec::new(),
        }
    }

    /// Adds a header to an answer of the proxy's own.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name, value.into()));
        }
        self
    }

    /// 500 InternalError.
    #[must_use]
    pub fn internal_error() -> Self {
        Self::answer(500, "InternalError")
    }

    /// 503 SlowDown.
    #[must_use]
    pub fn slow_down() -> Self {
        Self::answer(503, "SlowDown")
    }

    /// 429 TooManyRequests.
    #[must_use]
    pub fn too_many() -> Self {
        Self::answer(429, "TooManyRequests")
    }

    /// 307 to another endpoint.
    #[must_use]
    pub fn redirect() -> Self {
        Self::answer(307, "TemporaryRedirect")
            .header("Location", "https://images.obs.elsewhere-1.example.com/")
    }

    /// 400 ExpiredToken.
    #[must_use]
    pub fn expired_token() -> Self {
        Self::answer(400, "ExpiredToken")
    }

    /// 403 RequestTimeTooSkewed.
    #[must_use]
    pub fn clock_skew() -> Self {
        Self::answer(403, "RequestTimeTooSkewed")
    }

    /// 200 with an error document.
    #[must_use]
    pub fn error_in_200() -> Self {
        Self::answer(200, "InternalError")
    }
}

/// What became of one request.
#[derive(Clone, Debug)]
pub struct Passed {
    /// The request.
    pub seen: Seen,
    /// Bytes of its body that the proxy took from the client.
    pub body_bytes: u64,
    /// What was done to it.
    pub fault: Option<Fault>,
}

type Script = Box<dyn FnMut(&Seen) -> Option<Fault> + Send>;

#[derive(Default)]
struct Shared {
    rules: Vec<Script>,
    /// How many requests of each operation there were.
    by_op: HashMap<Op, u32>,
    /// How often each request came: operation, path, part.
    by_request: HashMap<(Op, String, Option<u32>), u32>,
    in_flight: HashMap<Op, u32>,
    passed: Vec<Passed>,
}

impl Shared {
    /// Counts the request and asks the script, in the order in which rules were added.
    fn decide(&mut self, seen: &mut Seen) -> Option<Fault> {
        let nth = self.by_op.entry(seen.op).or_default();
        *nth += 1;
        seen.nth = *nth;
        let key = (seen.op, seen.path().to_owned(), seen.part);
        let attempt = self.by_request.entry(key).or_default();
        *attempt += 1;
        seen.attempt = *attempt;
        let in_flight = self.in_flight.entry(seen.op).or_default();
        *in_flight += 1;
        seen.in_flight = *in_flight;
        self.rules.iter_mut().find_map(|rule| rule(seen))
    }
}

/// The proxy; ends when dropped, with all its connections.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Starts on a free port of the loopback interface, in front of `server`. Must be called inside
    /// a tokio runtime. Without a script everything is passed on.
    ///
    /// # Errors
    /// When no socket can be opened.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::<Mutex<Shared>>::default();
        let task = tokio::spawn(accept(listener, server, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            task,
        })
    }

    /// `http://127.0.0.1:PORT`, to be used as the client's endpoint.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Asks `script` about each request from now on; rules that were added before are asked first.
    pub fn script(&self, script: impl FnMut(&Seen) -> Option<Fault> + Send + 'static) {
        self.shared.lock().rules.push(Box::new(script));
    }

    /// Does `fault` to the first request that `wanted` picks.
    pub fn once(&self, wanted: impl FnMut(&Seen) -> bool + Send + 'static, fault: Fault) {
        self.times(1, wanted, fault);
    }

    /// Does `fault` to the first `times` requests that `wanted` picks.
    pub fn times(
        &self,
        times: u32,
        mut wanted: impl FnMut(&Seen) -> bool + Send + 'static,
        fault: Fault,
    ) {
        let mut left = times;
        self.script(move |seen| {
            if left == 0 || !wanted(seen) {
                return None;
            }
            left -= 1;
            Some(fault.clone())
        });
    }

    /// Does `fault` to every request that `wanted` picks.
    pub fn always(&self, wanted: impl FnMut(&Seen) -> bool + Send + 'static, fault: Fault) {
        self.times(u32::MAX, wanted, fault);
    }

    /// Forgets all rules: from now on everything is passed on.
    pub fn heal(&self) {
        self.shared.lock().rules.clear();
    }

    /// Ends when no request is on its way: the proxy sees the end of one after its client does.
    pub async fn settled(&self) {
        while self
            .shared
            .lock()
            .in_flight
            .values()
            .any(|count| *count > 0)
        {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    /// Forgets what was seen: requests count from 1 again.
    pub fn forget(&self) {
        let mut shared = self.shared.lock();
        shared.by_op.clear();
        shared.by_request.clear();
        shared.passed.clear();
    }

    /// All requests so far, in the order in which they ended.
    #[must_use]
    pub fn passed(&self) -> Vec<Passed> {
        self.shared.lock().passed.clone()
    }

    /// How many requests of `op` have begun.
    #[must_use]
    pub fn count(&self, op: Op) -> u32 {
        self.shared.lock().by_op.get(&op).copied().unwrap_or(0)
    }

    /// Bytes of part bodies that clients have sent, failed attempts included.
    #[must_use]
    pub fn part_bytes(&self) -> u64 {
        let shared = self.shared.lock();
        let parts = shared.passed.iter().filter(|p| p.seen.op == Op::UploadPart);
        parts.map(|passed| passed.body_bytes).sum()
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, shared: Arc<Mutex<Shared>>) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    connections.spawn(serve(client, server, Arc::clone(&shared)));
                }
            }
        }
    }
}

async fn serve(client: TcpStream, server: SocketAddr, shared: Arc<Mutex<Shared>>) {
    let _ = client.set_nodelay(true);
    let Some(mut request) = relay::Request::read(client).await else {
        return;
    };
    let fault = shared.lock().decide(&mut request.seen);
    let seen = request.seen.clone();
    let taken = Arc::clone(&request.taken);
    // Recorded also when the test ends while a request stalls: by whoever drops this.
    let record = Record {
        shared,
        passed: Some(Passed {
            seen,
            body_bytes: 0,
            fault: fault.clone(),
        }),
        taken,
    };
    let _ = request.act(server, fault).await;
    drop(record);
}

struct Record {
    shared: Arc<Mutex<Shared>>,
    passed: Option<Passed>,
    taken: Arc<std::sync::atomic::AtomicU64>,
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(mut passed) = self.passed.take() {
            passed.body_bytes = self.taken.load(std::sync::atomic::Ordering::Relaxed);
            let mut shared = self.shared.lock();
            if let Some(in_flight) = shared.in_flight.get_mut(&passed.seen.op) {
                *in_flight = in_flight.saturating_sub(1);
            }
            shared.passed.push(passed);
        }
    }
}
