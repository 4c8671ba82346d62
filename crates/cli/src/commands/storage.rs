//! Commands about objects reach the storage through here: a cloud as it is configured, or a
//! sandbox.

use std::num::NonZeroU64;
use std::sync::Arc;

use ::convert::CancelToken;
use cloud::{Class, Failure, Result, Session, SessionOptions, StopToken, from_obs};
use diskimg::{BackingPolicy, OpenOptions, Opened};
use obs::{Chunking, Client, ObjectSource};

use crate::args::{CloudArgs, ObsUrl, Place};

/// Opens the object storage as `args` say. A sandbox gets `bucket`.
pub(super) async fn open(
    args: &CloudArgs,
    bucket: Option<&str>,
    rate_limit: Option<NonZeroU64>,
) -> Result<(Session, Client)> {
    let needs = SessionOptions {
        buckets: bucket.map(str::to_owned).into_iter().collect(),
        rate_limit,
        ..SessionOptions::default()
    };
    let session = Session::open_storage(&args.options(), needs).await?;
    match session.storage().await {
        Ok(client) => Ok((session, client)),
        Err(failure) => session.close(Err(failure)).await,
    }
}

/// The objects among some places, in their order.
pub(super) type Objects<const N: usize> = [Option<Arc<ObjectSource>>; N];

/// Lets `work` read those of `places` that are objects. It runs on a thread that may block.
pub(super) async fn reading<const N: usize, T: Send + 'static>(
    args: &CloudArgs,
    places: [&Place; N],
    chunking: Chunking,
    stop: &StopToken,
    work: impl FnOnce(Objects<N>, &CancelToken) -> Result<T> + Send + 'static,
) -> Result<T> {
    let mut objects = [const { None }; N];
    let mut session = None;
    if places.iter().any(|place| place.bucket().is_some()) {
        let (opened, client) = open(args, None, None).await?;
        let found = find(&client, places, chunking, &mut objects);
        match stop.unless_asked(found).await {
            Ok(Ok(())) => session = Some(opened),
            Ok(Err(failure)) | Err(failure) => return opened.close(Err(failure)).await,
        }
    }
    let cancel = stop.token().clone();
    let done = tokio::task::spawn_blocking(move || work(objects, &cancel)).await;
    let done = done.unwrap_or_else(|error| {
        Err(Failure::from_error(Class::Io, &error).context("the command crashed"))
    });
    match session {
        Some(session) => session.close(done).await,
        None => done,
    }
}

async fn find<const N: usize>(
    client: &Client,
    places: [&Place; N],
    chunking: Chunking,
    objects: &mut Objects<N>,
) -> Result {
    for (object, place) in objects.iter_mut().zip(places) {
        if let Place::Object(url) = place {
            let found = client.open_object(&url.bucket, &url.key, chunking).await;
            *object = Some(Arc::new(found.map_err(|error| from_obs(&error))?));
        }
    }
    Ok(())
}

/// Opens the image in `object`. Names in it are those of no files: there is no directory that they
/// could be relative to.
pub(super) fn open_image(object: Arc<ObjectSource>, options: &OpenOptions) -> Result<Opened> {
    let options = OpenOptions {
        backing: match &options.backing {
            BackingPolicy::Describe => BackingPolicy::Describe,
            _ => BackingPolicy::Refuse,
        },
        ..options.clone()
    };
    let name = object.name().to_owned();
    let opened = ::convert::open_source_with(object, &options);
    Ok(opened.map_err(|error| error.in_file(&name))?)
}

/// The failure of a place that is an object, of which [`reading`] was not told.
pub(super) fn not_opened(url: &ObsUrl) -> Failure {
    Failure::new(Class::Refused, format!("{url}: no storage is known"))
}
