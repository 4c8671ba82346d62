//! Starting an upload: from the options to both of its ends.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::bridge::Shared;
use crate::client::Client;
use crate::error::Error;
use crate::multipart::{Target, Traffic};
use crate::names;
use crate::options::{Layout, UploadOptions};
use crate::pace::Pace;
use crate::part_log::Before;
use crate::sending::{Sending, Stop};
use crate::sink::MultipartSink;
use crate::upload::{State, Upload};
use crate::zeros::Zeros;

impl Client {
    /// Begins a multipart upload of `key` in storage class STANDARD. Must be called inside a tokio
    /// runtime, whose tasks will send the parts.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when bucket or key cannot be, the object cannot fit, or the memory
    /// does not suffice; otherwise what the server says.
    ///
    /// [`ErrorKind::Refused`]: crate::ErrorKind::Refused
    pub async fn start_upload(
        &self,
        bucket: &str,
        key: &str,
        options: &UploadOptions,
    ) -> Result<(MultipartSink, Upload), Error> {
        self.check_bucket_name(bucket)?;
        names::check_key(key)?;
        options.check()?;
        let upload_id = self
            .create_upload(bucket, key, &options.content_type, &options.metadata)
            .await?;
        tracing::info!("upload of {bucket}/{key} has id {upload_id}");
        let target = Target {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            upload_id,
        };
        Ok(self.ends(target, options, None))
    }

    /// Both ends of an upload that the server knows. `before` is what an earlier run has left.
    pub(crate) fn ends(
        &self,
        target: Target,
        options: &UploadOptions,
        before: Option<Before>,
    ) -> (MultipartSink, Upload) {
        let zeros = match options.layout {
            Layout::Stream(_) | Layout::Joined { .. } => None,
            Layout::Unordered { part_size } => Some(Arc::new(match &before {
                None => Zeros::new(&target, part_size),
                Some(_) => Zeros::of_earlier(&target, part_size),
            })),
        };
        let before = before.unwrap_or_default();
        let shared = Shared::new(options.budget());
        let traffic = Arc::new(Traffic::paced(Pace::new(
            options.max_in_flight,
            options.adaptive,
        )));
        let stop = Arc::new(Stop::default());
        let (sender, receiver) = mpsc::unbounded_channel();
        let kept = before.kept.iter().map(|part| (part.number, part.size));
        let sink = MultipartSink::new(
            Arc::clone(&shared),
            sender,
            options,
            kept.collect(),
            zeros.clone(),
        );
        let kept_bytes = before
            .kept
            .iter()
            .fold(0, |sum: u64, part| sum.saturating_add(part.size));
        let sending = Sending {
            client: self.clone(),
            target: Arc::new(target.clone()),
            shared: Arc::clone(&shared),
            traffic: Arc::clone(&traffic),
            monitor: Arc::clone(&options.monitor),
            log: Arc::clone(&options.log),
            before: Arc::new(before),
        };
        let driver = tokio::spawn(sending.run(receiver, Arc::clone(&stop)));
        let upload = Upload {
            client: self.clone(),
            target,
            shared,
            traffic,
            kept_bytes,
            stop,
            zeros,
            state: State::Sending(driver),
        };
        (sink, upload)
    }
}
