//! The task that sends the parts of one upload, several at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use convert::{Counter, Monitor};
use md5::{Digest, Md5};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{JoinError, JoinSet};

use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::multipart::{Confirmed, Target, Traffic};
use crate::sink::{Message, Part, Shared};

/// What it takes to send parts.
pub(crate) struct Sending {
    pub(crate) client: Client,
    pub(crate) target: Arc<Target>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) monitor: Arc<dyn Monitor>,
}

impl Sending {
    /// Sends what arrives until the end, and returns the confirmed parts in order. With the first
    /// error, and when told to stop, all parts on their way are dropped; the error is then in
    /// [`Shared`], and no request is under way any more.
    pub(crate) async fn run(
        self,
        mut arriving: UnboundedReceiver<Message>,
        stop: Arc<Notify>,
    ) -> Option<Vec<Confirmed>> {
        // Whoever writes must never wait for a task that is gone, whatever ended it.
        let guard = Guard(Some(Arc::clone(&self.shared)));
        let mut on_their_way = JoinSet::new();
        let sent = tokio::select! {
            sent = self.send_all(&mut arriving, &mut on_their_way) => sent,
            () = stop.notified() => Err(Error::new(ErrorKind::Cancelled, "the upload was stopped")),
        };
        match sent {
            Ok(parts) => {
                guard.disarm();
                Some(parts)
            }
            Err(error) => {
                // Before the channel closes, so that the sink finds the reason.
                self.shared.fail(error);
                on_their_way.shutdown().await;
                None
            }
        }
    }

    async fn send_all(
        &self,
        arriving: &mut UnboundedReceiver<Message>,
        on_their_way: &mut JoinSet<Result<Confirmed, Error>>,
    ) -> Result<Vec<Confirmed>, Error> {
        let mut confirmed = BTreeMap::new();
        let mut ended = false;
        while !ended || !on_their_way.is_empty() {
            let has_room = on_their_way.len() < self.traffic.pacer.limit();
            tokio::select! {
                message = arriving.recv(), if !ended && has_room => match message {
                    Some(Message::Part(part)) => {
                        on_their_way.spawn(self.send(part));
                    }
                    Some(Message::End) => ended = true,
                    None => return Err(Error::new(
                        ErrorKind::Cancelled,
                        "the stream was given up before its end",
                    )),
                },
                Some(sent) = on_their_way.join_next() => {
                    let part = sent.map_err(|error| broken(&error))??;
                    self.monitor.count(Counter::UploadedBytes, part.size);
                    self.traffic.pacer.confirmed(part.size, !arriving.is_empty());
                    confirmed.insert(part.number, part);
                }
            }
        }
        Ok(confirmed.into_values().collect())
    }

    fn send(&self, part: Part) -> impl Future<Output = Result<Confirmed, Error>> + use<> {
        let client = self.client.clone();
        let target = Arc::clone(&self.target);
        let traffic = Arc::clone(&self.traffic);
        async move {
            let Part {
                number,
                body,
                permit,
            } = part;
            let hashed = body.clone();
            let md5 = tokio::task::spawn_blocking(move || <[u8; 16]>::from(Md5::digest(&hashed)))
                .await
                .map_err(|error| broken(&error))?;
            let confirmed = client
                .upload_part(&target, number, body, md5, &traffic)
                .await;
            drop(permit);
            confirmed
        }
    }
}

/// A task of ours that did not end by itself.
pub(crate) fn broken(error: &JoinError) -> Error {
    let reason = if error.is_panic() {
        "panicked"
    } else {
        "was stopped"
    };
    Error::new(
        ErrorKind::Cancelled,
        format!("a task that sends parts {reason}"),
    )
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
