//! Starting and stopping a sandbox.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::service::TowerToHyperService;
use net::secret::{AccessKey, ExposeSecret as _, SecretString};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use crate::api::{self, Api, Jobs};
use crate::credentials::Credentials;
use crate::error::Error;
use crate::faults::{FaultState, Faults};
use crate::images::{ImageRecord, Images};
use crate::keys::Keys;
use crate::layout::Layout;
use crate::s3::{ObjectStore, Scheme};
use crate::{server, tls};

/// What a sandbox is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory that holds everything; made when it is missing.
    pub dir: PathBuf,
    /// Address of the S3 server. Port 0 asks for a free one.
    pub obs_listen: SocketAddr,
    /// Address of IAM and IMS. Port 0 asks for a free one.
    pub api_listen: SocketAddr,
    /// Buckets that are made when they are missing.
    pub buckets: Vec<String>,
    /// Default storage class (S3 name, e.g. `GLACIER`) of buckets; those not named have `STANDARD`.
    pub storage_classes: BTreeMap<String, String>,
    /// Regions of buckets that are in another than the sandbox's; made when they are missing.
    pub bucket_regions: BTreeMap<String, String>,
    /// Region that requests must be signed for, and name of the project.
    pub region: String,
    /// Whether the servers speak https, with the certificate that [`Sandbox::certificate`] names.
    /// OBS is stricter there.
    pub https: bool,
    /// How long a token is valid.
    pub token_lifetime: Duration,
    /// Most images, not counting those whose job failed.
    pub image_quota: usize,
    /// What is to go wrong.
    pub faults: Faults,
}

impl Options {
    /// A sandbox in `dir` on free ports of 127.0.0.1, without buckets, in region `sandbox-1`, with
    /// the documented 24 hours for tokens and quota of 50 images.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            dir: dir.into(),
            obs_listen: any,
            api_listen: any,
            buckets: Vec::new(),
            storage_classes: BTreeMap::new(),
            bucket_regions: BTreeMap::new(),
            region: "sandbox-1".to_owned(),
            https: false,
            token_lifetime: Duration::from_secs(24 * 60 * 60),
            image_quota: 50,
            faults: Faults::default(),
        }
    }
}

/// A running sandbox. Dropping it stops it too, without waiting for requests under way.
pub struct Sandbox {
    api: Arc<Api>,
    obs_endpoint: Url,
    api_endpoint: Url,
    certificate: Option<PathBuf>,
    stop: DropGuard,
    servers: Vec<JoinHandle<()>>,
    /// Held for the sandbox's life; the system frees it with the process.
    _lock: File,
}

impl Sandbox {
    /// Makes the directory and the buckets, and serves.
    ///
    /// # Errors
    /// When the directory cannot be used or another sandbox has it, an address cannot be listened
    /// on, or a bucket's name breaks the rules.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let layout = Layout::create(&options.dir)?;
        let lock = lock(&layout)?;
        layout.prepare()?;
        let keys = Keys::load_or_make(&layout)?;
        let credentials = Arc::new(Credentials::new(keys, options.token_lifetime));
        let faults = Arc::new(FaultState::new(options.faults));
        let objects =
            ObjectStore::open(layout.clone(), options.region.clone(), Arc::clone(&faults))?;
        let named = options.storage_classes.keys();
        let named = named.chain(options.bucket_regions.keys());
        for bucket in named.chain(&options.buckets) {
            objects.make_bucket(bucket)?;
            let class = options.storage_classes.get(bucket);
            let region = options.bucket_regions.get(bucket);
            if class.is_some() || region.is_some() {
                objects.describe_bucket(bucket, class, region)?;
            }
        }

        let (obs_listener, obs_address) = server::listen(options.obs_listen).await?;
        let (api_listener, api_address) = server::listen(options.api_listen).await?;
        let (tls, certificate) = match options.https {
            true => {
                let file = layout.certificate();
                let addresses = [reachable(obs_address).ip(), reachable(api_address).ip()];
                (Some(tls::acceptor(&file, &addresses)?), Some(file))
            }
            false => (None, None),
        };
        let scheme = match options.https {
            true => Scheme::Https,
            false => Scheme::Http,
        };
        let obs_endpoint = endpoint(scheme, obs_address)?;
        let api_endpoint = endpoint(scheme, api_address)?;
        let stop = CancellationToken::new();
        let api = Arc::new(Api {
            credentials: Arc::clone(&credentials),
            region: options.region.clone(),
            endpoint: api_endpoint.clone(),
            obs_endpoint: obs_endpoint.clone(),
            objects: objects.clone(),
            images: Images::open(layout)?,
            jobs: Jobs::new(stop.clone()),
            faults,
            image_quota: options.image_quota,
            replies: Mutex::default(),
        });
        for job in api.images.unfinished_jobs() {
            api::start(&api, job);
        }
        let s3 = crate::s3::service(objects, credentials, &options.region, scheme);
        let calls = TowerToHyperService::new(api::router(Arc::clone(&api)));
        let servers = vec![
            tokio::spawn(server::serve(obs_listener, tls.clone(), s3, stop.clone())),
            tokio::spawn(server::serve(api_listener, tls, calls, stop.clone())),
        ];
        Ok(Self {
            api,
            obs_endpoint,
            api_endpoint,
            certificate,
            stop: stop.drop_guard(),
            servers,
            _lock: lock,
        })
    }

    /// Where the S3 server is. Path-style addressing only.
    #[must_use]
    pub fn obs_endpoint(&self) -> &Url {
        &self.obs_endpoint
    }

    /// Where IAM is.
    #[must_use]
    pub fn iam_endpoint(&self) -> &Url {
        &self.api_endpoint
    }

    /// Where IMS is.
    #[must_use]
    pub fn ims_endpoint(&self) -> &Url {
        &self.api_endpoint
    }

    /// The certificate that clients must trust, as PEM, if the servers speak https.
    #[must_use]
    pub fn certificate(&self) -> Option<&Path> {
        self.certificate.as_deref()
    }

    fn keys(&self) -> &Keys {
        &self.api.credentials.keys
    }

    /// The access key that OBS, IAM and IMS take.
    #[must_use]
    pub fn access_key(&self) -> &AccessKey {
        &self.keys().access_key
    }

    /// Name of the user that can get tokens.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.keys().user
    }

    /// Password of [`Sandbox::user`].
    #[must_use]
    pub fn password(&self) -> &SecretString {
        &self.keys().password
    }

    /// Name of the account that the user belongs to.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.keys().domain
    }

    /// Region that requests are signed for.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.api.region
    }

    /// Id of the one project, whose name is the region's.
    #[must_use]
    pub fn project_id(&self) -> &str {
        &self.keys().project_id
    }

    /// What was registered, the oldest first.
    #[must_use]
    pub fn images(&self) -> Vec<ImageRecord> {
        self.api.images.everywhere()
    }

    /// How many imports flow control has refused.
    #[must_use]
    pub fn refused_by_flow_control(&self) -> u64 {
        self.api.faults.refused_imports()
    }

    /// The environment that a client needs to use the sandbox. Holds the secret key.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let key = self.access_key();
        // Read by what looks for the system's certificates.
        let trusted = self.certificate().map(|file| {
            let file = file.to_string_lossy().into_owned();
            ("SSL_CERT_FILE".to_owned(), file)
        });
        [
            ("HW_ACCESS_KEY", key.id.as_str()),
            ("HW_SECRET_KEY", key.secret.expose_secret()),
            ("HW_REGION_NAME", self.region()),
            ("HW_PROJECT_ID", self.project_id()),
            ("IMGFERRY_OBS_ENDPOINT", self.obs_endpoint.as_str()),
            ("IMGFERRY_IAM_ENDPOINT", self.api_endpoint.as_str()),
            ("IMGFERRY_IMS_ENDPOINT", self.api_endpoint.as_str()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into_iter()
        .chain(trusted)
        .collect()
    }

    /// Stops serving and waits until requests and jobs under way have ended, for some seconds at
    /// most. A job that has not ended is done again at the next start.
    pub async fn shutdown(self) {
        drop(self.stop);
        self.api.jobs.stopped().await;
        for server in self.servers {
            if let Err(error) = server.await {
                tracing::warn!("a server of the sandbox ended badly: {error}");
            }
        }
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("obs_endpoint", &self.obs_endpoint.as_str())
            .field("api_endpoint", &self.api_endpoint.as_str())
            .finish_non_exhaustive()
    }
}

fn lock(layout: &Layout) -> Result<File, Error> {
    let path = layout.lock();
    let file = File::create(&path).map_err(|e| Error::io("create", &path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::InUse {
            path: layout.root().to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(Error::io("lock", path, source)),
    }
}

/// The URL of a server on `address`.
fn endpoint(scheme: Scheme, address: SocketAddr) -> Result<Url, Error> {
    let scheme = match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let url = format!("{scheme}://{}/", reachable(address));
    Url::parse(&url).map_err(|error| Error::Listen {
        address,
        source: std::io::Error::new(std::io::ErrorKind::InvalidInput, error),
    })
}

/// Where a server on `address` is reached: one that listens everywhere on the loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let mut reachable = address;
    if address.ip().is_unspecified() {
        reachable.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    reachable
}
