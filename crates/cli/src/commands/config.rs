//! `imgferry config`: what would be used, from where it comes, and whether the cloud takes it.

mod report;

use std::path::PathBuf;

use cloud::{
    Check, Class, Failure, Origin, ProcessEnvironment, Resolved, Result, Session, SessionOptions,
    Setting, StopToken, rejected,
};
use diskimg::text::shown;
use serde_json::json;

use self::report::{Checked, Shown, Step, rows};
use crate::args::{CloudArgs, ConfigArgs, ConfigCheckArgs, ConfigCommand};
use crate::console::Console;
use crate::hints;

pub(crate) async fn run(args: &ConfigArgs, console: Console, stop: &StopToken) -> Result {
    match &args.command {
        ConfigCommand::Check(args) => check(args, console, stop).await,
        ConfigCommand::Show(args) => show(&args.cloud, console),
        ConfigCommand::Path(args) => path(&args.cloud, console),
        ConfigCommand::Example => {
            let text = cloud::EXAMPLE.trim_end();
            console.result(text, &json!({"example": text}))
        }
    }
}

fn config_file(args: &CloudArgs) -> Option<PathBuf> {
    cloud::config_path(&args.options(), &ProcessEnvironment)
}

fn path(args: &CloudArgs, console: Console) -> Result {
    let path = config_file(args).ok_or_else(|| {
        Failure::new(
            Class::Refused,
            "there is no configuration file: HOME is not set",
        )
        .hint("name the file with --config")
    })?;
    console.result(
        shown(&path),
        &json!({"config_file": path, "exists": path.exists()}),
    )
}

fn show(args: &CloudArgs, console: Console) -> Result {
    if args.sandbox.is_some() {
        return Err(Failure::new(
            Class::Refused,
            "the sandbox has no settings to show before it runs",
        )
        .hint("imgferry config check --sandbox"));
    }
    let Resolved { cloud, settings } = cloud::examine(&args.options(), &ProcessEnvironment);
    let missing = cloud.err().map(|missing| missing.0).unwrap_or_default();
    let missing = missing.iter().map(hints::problem).collect();
    let cloud = settings.iter().find(|setting| setting.name == "cloud");
    let cloud = cloud.and_then(|cloud| cloud.value.parse::<ims::Cloud>().ok());
    if let Some((cloud, caution)) = cloud.and_then(|cloud| Some((cloud, cloud.caution()?))) {
        console.warn(format_args!("{cloud}: {caution}"));
    }
    let path = config_file(args);
    let shown = Shown {
        config_file_exists: path.as_ref().is_some_and(|path| path.exists()),
        config_file: path,
        settings: rows(settings),
        missing,
    };
    console.result(&shown, &shown)
}

async fn check(args: &ConfigCheckArgs, console: Console, stop: &StopToken) -> Result {
    if args.cloud.sandbox.is_some() {
        let needs = SessionOptions {
            buckets: args.bucket.iter().cloned().collect(),
            ..SessionOptions::default()
        };
        let session = Session::open(&args.cloud.options(), needs).await?;
        let settings = vec![Setting {
            name: "region",
            value: session.cloud().region.clone(),
            origin: Origin::Elsewhere("the sandbox".to_owned()),
        }];
        let checked = cloud::check(&session, args.bucket.as_deref(), args.write, stop).await;
        let told = checked.and_then(|checks| tell(settings, checks, console));
        return session.close(told).await;
    }
    let Resolved { cloud, settings } = cloud::examine(&args.cloud.options(), &ProcessEnvironment);
    let cloud = match cloud {
        Ok(cloud) => cloud,
        Err(missing) => {
            let shown = Shown {
                config_file: None,
                config_file_exists: false,
                settings: rows(settings),
                missing: Vec::new(),
            };
            if !console.json && !shown.settings.is_empty() {
                console.result(&shown, &shown)?;
            }
            return Err(rejected(missing)
                .data("settings", &shown.settings)
                .hint("imgferry config example shows what a configuration file looks like"));
        }
    };
    let checks = match Session::connect(cloud, SessionOptions::default()) {
        Ok(session) => cloud::check(&session, args.bucket.as_deref(), args.write, stop).await?,
        Err(failure) => vec![Check::of("settings", Err(failure))],
    };
    tell(settings, checks, console)
}

fn tell(settings: Vec<Setting>, checks: Vec<Check>, console: Console) -> Result {
    let checked = Checked {
        settings: rows(settings),
        checks: checks.iter().map(Step::from).collect(),
    };
    let failed: Vec<_> = checks
        .iter()
        .filter_map(|check| check.class.map(|class| (class, check)))
        .collect();
    let Some((class, first)) = failed.first() else {
        return console.result(&checked, &checked);
    };
    if !console.json {
        console.result(&checked, &checked)?;
    }
    let mut failure = Failure::new(
        *class,
        match failed.len() {
            1 => format!("the check of {} failed", first.name),
            count => format!("{count} checks failed, the first is {}", first.name),
        },
    );
    for (_, check) in &failed {
        failure = check.hints.iter().cloned().fold(failure, Failure::hint);
    }
    Err(failure
        .data("settings", &checked.settings)
        .data("checks", &checked.checks))
}
