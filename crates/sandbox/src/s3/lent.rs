//! Request bodies that come back: what a refusal left unread is read before the answer is sent.
//!
//! A server that answers and closes while the client still sends resets the connection, and the
//! client may never see the answer. Refusals before a handler (signature, region, token) read
//! nothing at all.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use parking_lot::Mutex;

use super::receive::MAX_BODY;

/// A client that sends a refused body more slowly than this is not waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request's body; whoever drops it gives it back to its [`Lender`].
pub(super) struct Lent {
    body: Option<Incoming>,
    home: Arc<Mutex<Option<Incoming>>>,
}

/// Where a body comes back to.
pub(super) struct Lender(Arc<Mutex<Option<Incoming>>>);

/// Lends `body` out.
pub(super) fn lend(body: Incoming) -> (Lent, Lender) {
    let home = Arc::new(Mutex::new(None));
    let lent = Lent {
        body: Some(body),
        home: Arc::clone(&home),
    };
    (lent, Lender(home))
}

impl Lender {
    /// Reads and drops what was not read.
    pub(super) async fn drain(self) {
        let back = self.0.lock().take();
        let Some(mut body) = back else { return };
        let drained = async {
            let mut left = MAX_BODY;
            while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                let len = frame.data_ref().map_or(0, |data| data.len() as u64);
                match left.checked_sub(len) {
                    Some(rest) => left = rest,
                    None => return,
                }
            }
        };
        // A client that stalls has lost its answer by its own doing.
        let _ = tokio::time::timeout(PATIENCE, drained).await;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        *self.home.lock() = self.body.take();
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}
