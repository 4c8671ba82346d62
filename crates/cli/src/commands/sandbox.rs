//! `imgferry sandbox`: the cloud on this machine, as a server or inside an import.

use std::net::SocketAddr;
use std::path::Path;

use ::sandbox::{Options, Sandbox};
use net::secret::ExposeSecret as _;
use serde_json::json;
use tempfile::TempDir;

use crate::args::SandboxArgs;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::settings::{Cloud, Identity};

/// A sandbox in this process, in a directory of the user's or a temporary one.
pub(crate) struct InProcess {
    pub(crate) sandbox: Sandbox,
    /// Removed when the sandbox ends.
    temporary: Option<TempDir>,
}

impl InProcess {
    /// Starts one on free ports, or on `listen` and the next port.
    pub(crate) async fn start(
        dir: Option<&Path>,
        listen: Option<SocketAddr>,
        buckets: Vec<String>,
    ) -> Outcome<Self> {
        Self::start_with(dir, |options| {
            options.buckets = buckets;
            if let Some(listen) = listen {
                options.obs_listen = listen;
                options.api_listen = next_port(listen)?;
            }
            Ok(())
        })
        .await
    }

    /// The same, with options of its own.
    pub(crate) async fn start_with(
        dir: Option<&Path>,
        adjust: impl FnOnce(&mut Options) -> Outcome,
    ) -> Outcome<Self> {
        let temporary = match dir {
            Some(_) => None,
            None => Some(
                tempfile::Builder::new()
                    .prefix("imgferry-sandbox-")
                    .tempdir()
                    .map_err(|e| {
                        Failure::from_error(Exit::Io, &e)
                            .context("a temporary directory for the sandbox cannot be made")
                    })?,
            ),
        };
        let path = match (dir, &temporary) {
            (Some(dir), _) => dir,
            (None, Some(temporary)) => temporary.path(),
            (None, None) => return Err(Failure::new(Exit::Io, "the sandbox has no directory")),
        };
        let mut options = Options::new(path);
        adjust(&mut options)?;
        let sandbox = Sandbox::start(options).await.map_err(|e| {
            let exit = match e {
                ::sandbox::Error::Io { .. } => Exit::Io,
                _ => Exit::Refused,
            };
            Failure::from_error(exit, &e).context("the sandbox cannot start")
        })?;
        Ok(Self { sandbox, temporary })
    }

    /// How to reach it.
    pub(crate) fn cloud(&self) -> Cloud {
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

    /// Stops it, and removes its directory if that was a temporary one.
    pub(crate) async fn stop(self) -> Outcome {
        self.sandbox.shutdown().await;
        match self.temporary.map(TempDir::close) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(e)) => Err(Failure::from_error(Exit::Io, &e)
                .context("the sandbox's temporary directory cannot be removed")),
        }
    }
}

/// The other services listen one port further on; 0 asks the system for free ports.
fn next_port(listen: SocketAddr) -> Outcome<SocketAddr> {
    let mut next = listen;
    if listen.port() != 0 {
        next.set_port(listen.port().checked_add(1).ok_or_else(|| {
            Failure::new(
                Exit::Refused,
                format!("{listen} has no next port for the other services"),
            )
        })?);
    }
    Ok(next)
}

pub(crate) async fn run(args: &SandboxArgs, console: Console, interrupt: &Interrupt) -> Outcome {
    let sandbox = InProcess::start_with(args.dir.as_deref(), |options| {
        options.buckets.clone_from(&args.buckets);
        options.obs_listen = args.listen;
        options.api_listen = next_port(args.listen)?;
        options.image_quota = args.image_quota;
        options.https = args.https;
        Ok(())
    })
    .await?;
    let mut environment = sandbox.sandbox.environment();
    environment.push(("IMGFERRY_PATH_STYLE".into(), "true".into()));
    let sign_in = [
        ("HW_USER_NAME", sandbox.sandbox.user()),
        (
            "HW_USER_PASSWORD",
            sandbox.sandbox.password().expose_secret(),
        ),
        ("HW_DOMAIN_NAME", sandbox.sandbox.domain()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let lines = |start: &str, variables: &[(String, String)]| -> String {
        variables
            .iter()
            .map(|(name, value)| format!("{start}export {name}={value}\n"))
            .collect()
    };
    let exports = lines("", &environment) + "# or sign in by password:\n" + &lines("# ", &sign_in);
    environment.extend(sign_in);
    console.result(
        format_args!(
            "# object storage {}, identity {}, images {}\n{exports}\
             # then: imgferry import disk.qcow2 --name demo --bucket {} --os-version 'CentOS 7.0 64bit'",
            sandbox.sandbox.obs_endpoint(),
            sandbox.sandbox.iam_endpoint(),
            sandbox.sandbox.ims_endpoint(),
            args.buckets.first().map_or("images", String::as_str),
        ),
        &json!({
            "obs_endpoint": sandbox.sandbox.obs_endpoint().as_str(),
            "iam_endpoint": sandbox.sandbox.iam_endpoint().as_str(),
            "ims_endpoint": sandbox.sandbox.ims_endpoint().as_str(),
            "environment": environment.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        }),
    )?;
    console.notice("serving; interrupt to stop");
    interrupt.asked().await;
    sandbox.stop().await
}
