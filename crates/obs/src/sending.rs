//! The task that sends the parts of one upload, several at a time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use convert::{Counter, Monitor};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::Instant;

use crate::bridge::{Message, Shared};
use crate::client::Client;
use crate::confirmed::Confirmed;
use crate::error::{Error, ErrorKind, broken};
use crate::hashing::{self, Demand, Hashed, Held};
use crate::multipart::{Target, Traffic};
use crate::part::{CopyPart, Part};
use crate::part_log::{self, Before, PartLog};
use crate::zeros::ZeroPart;

/// What it takes to send parts.
pub(crate) struct Sending {
    pub(crate) client: Client,
    pub(crate) target: Arc<Target>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) monitor: Arc<dyn Monitor>,
    pub(crate) log: Arc<dyn PartLog>,
    pub(crate) before: Arc<Before>,
}

/// Asks the task to stop, and limits the time for parts in flight.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    requested: Notify,
    grace: OnceLock<Duration>,
}

impl Stop {
    pub(crate) fn within(&self, grace: Duration) {
        let _ = self.grace.set(grace);
        self.requested.notify_one();
    }
}

impl Sending {
    /// Sends what arrives until the end, and returns the confirmed parts in order. The first error
    /// drops all parts in flight; a stop drops them after their grace period. The error is then in
    /// [`Shared`], and no request is running any more.
    pub(crate) async fn run(
        self,
        mut arriving: UnboundedReceiver<Message>,
        stop: Arc<Stop>,
    ) -> Option<Vec<Confirmed>> {
        // The writer must never wait for a task that is gone, whatever ended it.
        let guard = Guard(Some(Arc::clone(&self.shared)));
        let mut in_flight = JoinSet::new();
        let sent = tokio::select! {
            sent = self.send_all(&mut arriving, &mut in_flight) => sent,
            () = stop.requested.notified() => {
                Err(Error::new(ErrorKind::Cancelled, "the upload was stopped"))
            }
        };
        match sent {
            Ok(parts) => {
                guard.disarm();
                Some(parts)
            }
            Err(error) => {
                // Before the channel closes, so that the sink finds the reason.
                self.shared.fail(error);
                if let Some(grace) = stop.grace.get() {
                    // Each records its own arrival.
                    let arrive = async { while in_flight.join_next().await.is_some() {} };
                    let _ = tokio::time::timeout(*grace, arrive).await;
                }
                in_flight.shutdown().await;
                None
            }
        }
    }

    async fn send_all(
        &self,
        arriving: &mut UnboundedReceiver<Message>,
        in_flight: &mut JoinSet<Result<Arrived, Error>>,
    ) -> Result<Vec<Confirmed>, Error> {
        let mut confirmed: BTreeMap<u32, Confirmed> = BTreeMap::new();
        for part in &self.before.kept {
            self.monitor.count(Counter::UploadedBytes, part.size);
            confirmed.insert(part.number, part.clone());
        }
        let mut queue = Queue::new(self.shared.budget.total());
        loop {
            while in_flight.len() < self.traffic.pacer.limit() {
                match queue.ready.pop_front() {
                    Some(Ready::Part(hashed)) => in_flight.spawn(self.send(hashed)),
                    Some(Ready::Zeros(part)) => in_flight.spawn(self.make_zeros(part)),
                    Some(Ready::Copy(part)) => in_flight.spawn(self.copy(part)),
                    None => break,
                };
            }
            // Everything that can be sent is in flight: only now the demand for more is known.
            let demand = queue.demand(self.shared.budget.is_short());
            if let Some(parts) = queue.held.take(demand, Instant::now()) {
                let signed = self.client.signs_bodies();
                let hashing = tokio::task::spawn_blocking(move || hashing::hash(parts, signed));
                queue.hashing.push_back(hashing);
            }
            if queue.is_done() && in_flight.is_empty() {
                return Ok(confirmed.into_values().collect());
            }
            tokio::select! {
                message = arriving.recv(), if !queue.ended => match message {
                    Some(Message::Part(part)) => queue.held.push(part, Instant::now()),
                    Some(Message::Zeros(part)) => queue.ready.push_back(Ready::Zeros(part)),
                    Some(Message::Copy(part)) => queue.ready.push_back(Ready::Copy(part)),
                    Some(Message::End) => queue.ended = true,
                    None => return Err(Error::new(
                        ErrorKind::Cancelled,
                        "the stream was dropped before its end",
                    )),
                },
                hashed = first_of(&mut queue.hashing) => {
                    let hashed = hashed.map_err(|error| broken(&error))?;
                    queue.ready.extend(hashed.into_iter().map(Ready::Part));
                }
                () = self.shared.budget.runs_short() => {}
                () = passed(queue.held.until()), if demand.idle => {}
                Some(sent) = in_flight.join_next() => {
                    let Arrived { part, found } = sent.map_err(|error| broken(&error))??;
                    self.monitor.count(Counter::UploadedBytes, part.size);
                    // A part that was already stored says nothing about the line.
                    if !found {
                        self.traffic.pacer.confirmed(part.size, queue.has_parts());
                    }
                    confirmed.insert(part.number, part);
                }
            }
        }
    }

    fn make_zeros(&self, part: ZeroPart) -> impl Future<Output = Result<Arrived, Error>> + use<> {
        let client = self.client.clone();
        let target = Arc::clone(&self.target);
        let traffic = Arc::clone(&self.traffic);
        let log = Arc::clone(&self.log);
        let before = Arc::clone(&self.before);
        async move {
            let md5 = part.md5().await?;
            let found = before.found(part.number, part.size, md5);
            let arrived = match found {
                Some(part) => traffic.found(part),
                None => Arrived::sent(part.make(&client, &target, md5, &traffic).await?),
            };
            part_log::note(&log, &arrived.part).await?;
            Ok(arrived)
        }
    }

    fn copy(&self, part: CopyPart) -> impl Future<Output = Result<Arrived, Error>> + use<> {
        let client = self.client.clone();
        let target = Arc::clone(&self.target);
        let traffic = Arc::clone(&self.traffic);
        async move {
            let copied = client.copy_range(&target, &part).await?;
            traffic.copied_bytes.fetch_add(part.size, Ordering::Relaxed);
            Ok(Arrived {
                part: copied,
                // It says nothing about the line.
                found: true,
            })
        }
    }

    fn send(&self, (part, hashes): Hashed) -> impl Future<Output = Result<Arrived, Error>> + use<> {
        let client = self.client.clone();
        let target = Arc::clone(&self.target);
        let traffic = Arc::clone(&self.traffic);
        let log = Arc::clone(&self.log);
        let before = Arc::clone(&self.before);
        async move {
            let Part {
                number,
                body,
                permit,
            } = part;
            let found = before.found(number, body.len() as u64, hashes.md5);
            let arrived = match found {
                Some(part) => traffic.found(part),
                None => {
                    let sent = client.upload_part(&target, number, body, &hashes, &traffic);
                    Arrived::sent(sent.await?)
                }
            };
            drop(permit);
            part_log::note(&log, &arrived.part).await?;
            Ok(arrived)
        }
    }
}

/// Parts that are not in flight yet.
struct Queue {
    held: Held,
    /// In order: the first part is sent first, so that an upload that dies near its end has sent
    /// most of its data.
    hashing: VecDeque<JoinHandle<Vec<Hashed>>>,
    ready: VecDeque<Ready>,
    /// No more will come.
    ended: bool,
}

/// What can be sent.
enum Ready {
    Part(Hashed),
    Zeros(ZeroPart),
    Copy(CopyPart),
}

impl Queue {
    fn new(memory: u64) -> Self {
        Self {
            held: Held::new(memory),
            hashing: VecDeque::new(),
            ready: VecDeque::new(),
            ended: false,
        }
    }

    fn demand(&self, short: bool) -> Demand {
        Demand {
            ended: self.ended,
            short,
            idle: self.ready.is_empty() && self.hashing.is_empty(),
        }
    }

    fn has_parts(&self) -> bool {
        !self.held.is_empty() || !self.hashing.is_empty() || !self.ready.is_empty()
    }

    fn is_done(&self) -> bool {
        self.ended && !self.has_parts()
    }
}

/// The result of the first task, which is then removed. Never ends if there is none; cancel-safe.
async fn first_of<T>(tasks: &mut VecDeque<JoinHandle<T>>) -> Result<T, JoinError> {
    let Some(first) = tasks.front_mut() else {
        return std::future::pending().await;
    };
    let ended = first.await;
    tasks.pop_front();
    ended
}

/// Ends when `until` has passed; never for `None`.
async fn passed(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// A part that the server has.
struct Arrived {
    part: Confirmed,
    /// Whether it had it before.
    found: bool,
}

impl Arrived {
    fn sent(part: Confirmed) -> Self {
        Self { part, found: false }
    }
}

impl Traffic {
    fn found(&self, part: Confirmed) -> Arrived {
        self.found_bytes.fetch_add(part.size, Ordering::Relaxed);
        Arrived { part, found: true }
    }
}

/// Stops the sink when the task that empties it ends without a word.
struct Guard(Option<Arc<Shared>>);

impl Guard {
    /// Everything was sent.
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.fail(Error::new(
                ErrorKind::Cancelled,
                "the tasks that send parts were stopped",
            ));
        }
    }
}
