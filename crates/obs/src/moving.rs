//! Bodies on their way to the server: cut into pieces, so that one can see them move, and paced.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;
use aws_sdk_s3::primitives::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use net::retry::Verdict;
use tokio::time::{Instant, Sleep};

use crate::config::Limits;
use crate::error::{Error, ErrorKind};
use crate::rate::Rate;

/// Bytes that are handed to the connection at a time.
const PIECE: usize = 64 << 10;
/// Bytes that may still be under way in buffers when the last piece has been handed over: 4 MiB is
/// the most that Linux gives a socket by itself.
const BUFFERED: u64 = (4 << 20) + (512 << 10);

/// When something last moved.
#[derive(Debug)]
pub(crate) struct Meter {
    start: Instant,
    /// In milliseconds since the start: something moved then, or is not expected to move before.
    moved_ms: AtomicU64,
    stall: Duration,
    /// Beside `stall`, once everything was handed over.
    draining: Duration,
}

impl Meter {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            moved_ms: AtomicU64::new(0),
            stall: limits.stall,
            draining: limits.draining(BUFFERED),
        })
    }

    /// Something moved, or will have to wait for `wait` by our own will.
    pub(crate) fn moved(&self, wait: Duration) {
        let at = self.start.elapsed().saturating_add(wait);
        let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.fetch_max(at, Ordering::Relaxed);
    }

    /// Ends when nothing has moved for too long.
    async fn stalled(&self) {
        loop {
            let moved = Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
            let until = moved.saturating_add(self.stall);
            let left = until.saturating_sub(self.start.elapsed());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    /// Runs `task` for as long as something moves.
    ///
    /// # Errors
    /// A network error that may pass.
    pub(crate) async fn watch<T>(&self, task: impl Future<Output = T>) -> Result<T, Error> {
        tokio::select! {
            biased;
            done = task => Ok(done),
            () = self.stalled() => Err(Error::new(
                ErrorKind::Network,
                format!("no data has moved for {:.1} s", self.stall.as_secs_f64()),
            )
            .with_verdict(Verdict::Retry)),
        }
    }
}

/// Puts a watched body into a request once it is signed.
#[derive(Debug)]
pub(crate) struct Watch {
    body: Bytes,
    meter: Arc<Meter>,
    rate: Option<Arc<Rate>>,
}

impl Watch {
    /// `body` is the request's.
    pub(crate) fn new(body: Bytes, meter: &Arc<Meter>, rate: Option<&Arc<Rate>>) -> Self {
        Self {
            body,
            meter: Arc::clone(meter),
            rate: rate.cloned(),
        }
    }
}

impl Intercept for Watch {
    fn name(&self) -> &'static str {
        "Watch"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if !self.body.is_empty() {
            *context.request_mut().body_mut() = SdkBody::from_body_1_x(Moving {
                rest: self.body.clone(),
                meter: Arc::clone(&self.meter),
                rate: self.rate.clone(),
                turn: None,
            });
        }
        Ok(())
    }
}

/// A body that reports each piece that the connection takes.
struct Moving {
    rest: Bytes,
    meter: Arc<Meter>,
    rate: Option<Arc<Rate>>,
    /// The wait for the next piece's turn, which was taken already.
    turn: Option<Pin<Box<Sleep>>>,
}

impl Body for Moving {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            return Poll::Ready(None);
        }
        let piece = this.rest.len().min(PIECE);
        if let Some(rate) = &this.rate {
            let turn = this.turn.get_or_insert_with(|| {
                let wait = rate.take(piece as u64);
                this.meter.moved(wait);
                Box::pin(tokio::time::sleep(wait))
            });
            ready!(turn.as_mut().poll(cx));
            this.turn = None;
        }
        let piece = this.rest.split_to(piece);
        let wait = if this.rest.is_empty() {
            this.meter.draining
        } else {
            Duration::ZERO
        };
        this.meter.moved(wait);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
