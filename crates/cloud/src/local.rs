//! A sandbox in this process, in the user's directory or a temporary one.

use std::path::{Path, PathBuf};

use sandbox::{Options, Sandbox};
use tempfile::TempDir;

use crate::error::{Class, Failure, Result};
use crate::settings::{Cloud, Identity};

/// A sandbox in this process, in the user's directory or a temporary one.
pub struct InProcess {
    sandbox: Sandbox,
    dir: PathBuf,
    /// Removed when the sandbox ends.
    temporary: Option<TempDir>,
}

impl std::fmt::Debug for InProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InProcess")
            .field("temporary", &self.temporary)
            .finish_non_exhaustive()
    }
}

impl InProcess {
    /// Starts one on free ports, in `dir` or a temporary directory; `adjust` changes its options.
    ///
    /// # Errors
    /// When the directory or a port cannot be used, and those of `adjust`.
    pub async fn start(
        dir: Option<&Path>,
        adjust: impl FnOnce(&mut Options) -> Result,
    ) -> Result<Self> {
        let (path, temporary) = match dir {
            Some(dir) => (dir.to_owned(), None),
            None => {
                let temporary = tempfile::Builder::new()
                    .prefix("imgferry-sandbox-")
                    .tempdir()
                    .map_err(|e| {
                        Failure::from_error(Class::Io, &e)
                            .context("a temporary directory for the sandbox cannot be created")
                    })?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let mut options = Options::new(&path);
        adjust(&mut options)?;
        let sandbox = Sandbox::start(options).await.map_err(|e| {
            let class = match e {
                sandbox::Error::Io { .. } => Class::Io,
                _ => Class::Refused,
            };
            Failure::from_error(class, &e).context("the sandbox cannot start")
        })?;
        Ok(Self {
            sandbox,
            dir: path,
            temporary,
        })
    }

    /// The sandbox itself.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The directory that stays.
    pub(crate) fn kept_dir(&self) -> Option<&Path> {
        self.temporary.is_none().then_some(&self.dir)
    }

    /// How to reach it.
    #[must_use]
    pub fn cloud(&self) -> Cloud {
        Cloud {
            provider: None,
            region: self.sandbox.region().to_owned(),
            api_version: ims::ApiVersion::V2,
            iam: self.sandbox.iam_endpoint().clone(),
            ims: self.sandbox.ims_endpoint().clone(),
            obs: self.sandbox.obs_endpoint().clone(),
            path_style: true,
            allow_http: true,
            project_id: Some(self.sandbox.project_id().to_owned()),
            project_name: None,
            enterprise_project_id: None,
            identity: Identity::Keys(self.sandbox.access_key().clone().into()),
        }
    }

    /// Stops it, and removes a temporary directory.
    ///
    /// # Errors
    /// When the temporary directory cannot be removed.
    pub async fn stop(self) -> Result {
        self.sandbox.shutdown().await;
        match self.temporary.map(TempDir::close) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(e)) => Err(Failure::from_error(Class::Io, &e)
                .context("the sandbox's temporary directory cannot be removed")),
        }
    }
}
