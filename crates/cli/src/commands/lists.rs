//! `imgferry quota` and `imgferry os-versions`.

use serde_json::json;

use cloud::{Result, Session, SessionOptions, StopToken};

use super::table::{plain, table};
use crate::args::{OsVersionsArgs, QuotaArgs};
use crate::console::Console;

pub(crate) async fn quota(args: &QuotaArgs, console: Console, stop: &StopToken) -> Result {
    let session = Session::open(&args.cloud.options(), SessionOptions::default()).await?;
    let ended = async {
        let quotas = stop.unless_asked(session.images().quotas()).await??;
        let number = |n: Option<u64>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
        let lines: Vec<String> = quotas
            .iter()
            .map(|quota| {
                let (used, most) = (number(quota.used), number(quota.quota));
                format!("{}: {used} of {most} used", plain(&quota.kind))
            })
            .collect();
        console.result(lines.join("\n"), &json!({"quotas": quotas}))
    }
    .await;
    session.close(ended).await
}

pub(crate) async fn os_versions(
    args: &OsVersionsArgs,
    console: Console,
    stop: &StopToken,
) -> Result {
    let session = Session::open(&args.cloud.options(), SessionOptions::default()).await?;
    let ended = async {
        let mut versions = stop
            .unless_asked(session.images().os_versions(args.tag.as_deref()))
            .await??;
        if let Some(text) = &args.text {
            let text = text.to_lowercase();
            versions.retain(|version| version.os_version.to_lowercase().contains(&text));
        }
        let rows: Vec<Vec<String>> = versions
            .iter()
            .map(|version| vec![plain(&version.platform), plain(&version.os_version)])
            .collect();
        console.result(table(&rows), &json!({"os_versions": versions}))
    }
    .await;
    session.close(ended).await
}
