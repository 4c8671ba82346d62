//! Starting and stopping a sandbox.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use net::secret::{AccessKey, ExposeSecret as _};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use crate::Error;
use crate::faults::{FaultState, Faults};
use crate::keys::Keys;
use crate::layout::Layout;
use crate::s3::ObjectStore;
use crate::server;

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
    /// Region that requests must be signed for, and name of the project.
    pub region: String,
    /// What is to go wrong.
    pub faults: Faults,
}

impl Options {
    /// A sandbox in `dir` on free ports of 127.0.0.1, without buckets, in region `sandbox-1`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            dir: dir.into(),
            obs_listen: any,
            api_listen: any,
            buckets: Vec::new(),
            storage_classes: BTreeMap::new(),
            region: "sandbox-1".to_owned(),
            faults: Faults::default(),
        }
    }
}

/// A running sandbox. Dropping it stops it too, without waiting for requests under way.
#[derive(Debug)]
pub struct Sandbox {
    keys: Keys,
    region: String,
    obs_endpoint: Url,
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
        let faults = Arc::new(FaultState::new(options.faults));

        let objects = ObjectStore::open(layout.clone(), options.region.clone(), faults)?;
        for bucket in options.storage_classes.keys().chain(&options.buckets) {
            objects.make_bucket(bucket)?;
        }
        for (bucket, class) in &options.storage_classes {
            objects.set_storage_class(bucket, class)?;
        }

        let (obs, obs_address) = server::listen(options.obs_listen).await?;
        let stop = CancellationToken::new();
        let service = crate::s3::service(objects, &keys, &options.region);
        let servers = vec![tokio::spawn(server::serve(obs, service, stop.clone()))];
        Ok(Self {
            keys,
            region: options.region,
            obs_endpoint: endpoint(obs_address)?,
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

    /// The access key that OBS, IAM and IMS take.
    #[must_use]
    pub fn access_key(&self) -> &AccessKey {
        &self.keys.access_key
    }

    /// Region that requests are signed for.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Id of the one project, whose name is the region's.
    #[must_use]
    pub fn project_id(&self) -> &str {
        &self.keys.project_id
    }

    /// The environment that a client needs to use the sandbox. Holds the secret key.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let key = &self.keys.access_key;
        [
            ("HW_ACCESS_KEY", key.id.as_str()),
            ("HW_SECRET_KEY", key.secret.expose_secret()),
            ("HW_REGION_NAME", &self.region),
            ("HW_PROJECT_ID", &self.keys.project_id),
            ("IMGFERRY_OBS_ENDPOINT", self.obs_endpoint.as_str()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// Stops serving and waits until requests under way have ended, for some seconds at most.
    pub async fn shutdown(self) {
        drop(self.stop);
        for server in self.servers {
            if let Err(error) = server.await {
                tracing::warn!("a server of the sandbox ended badly: {error}");
            }
        }
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

/// The URL of a server on `address`. One that listens everywhere is reached on the loopback.
fn endpoint(address: SocketAddr) -> Result<Url, Error> {
    let mut reachable = address;
    if address.ip().is_unspecified() {
        reachable.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Url::parse(&format!("http://{reachable}/")).map_err(|error| Error::Listen {
        address,
        source: std::io::Error::new(std::io::ErrorKind::InvalidInput, error),
    })
}
