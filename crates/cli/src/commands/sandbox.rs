//! `imgferry sandbox`: the cloud on this machine, as a server.

use std::net::SocketAddr;

use cloud::{Class, Failure, InProcess, Result, StopToken};
use net::secret::ExposeSecret as _;
use serde_json::json;

use crate::args::SandboxArgs;
use crate::console::Console;

/// The other services listen one port further on; 0 asks the system for free ports.
fn next_port(listen: SocketAddr) -> Result<SocketAddr> {
    let mut next = listen;
    if listen.port() != 0 {
        next.set_port(listen.port().checked_add(1).ok_or_else(|| {
            Failure::new(
                Class::Refused,
                format!("{listen} has no next port for the other services"),
            )
        })?);
    }
    Ok(next)
}

pub(crate) async fn run(args: &SandboxArgs, console: Console, stop: &StopToken) -> Result {
    let running = InProcess::start(args.dir.as_deref(), |options| {
        options.buckets.clone_from(&args.buckets);
        options.obs_listen = args.listen;
        options.api_listen = next_port(args.listen)?;
        options.image_quota = args.image_quota;
        options.https = args.https;
        Ok(())
    })
    .await?;
    let sandbox = running.sandbox();
    let mut environment = sandbox.environment();
    environment.push(("IMGFERRY_PATH_STYLE".into(), "true".into()));
    let sign_in = [
        ("HW_USER_NAME", sandbox.user()),
        ("HW_USER_PASSWORD", sandbox.password().expose_secret()),
        ("HW_DOMAIN_NAME", sandbox.domain()),
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
            sandbox.obs_endpoint(),
            sandbox.iam_endpoint(),
            sandbox.ims_endpoint(),
            args.buckets.first().map_or("images", String::as_str),
        ),
        &json!({
            "obs_endpoint": sandbox.obs_endpoint().as_str(),
            "iam_endpoint": sandbox.iam_endpoint().as_str(),
            "ims_endpoint": sandbox.ims_endpoint().as_str(),
            "environment": environment.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        }),
    )?;
    console.notice("serving; stop to stop");
    stop.asked().await;
    running.stop().await
}
