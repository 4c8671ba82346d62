//! `imgferry config`: what would be used, from where it comes, and whether the cloud takes it.

mod check;
mod report;
mod trial;

use std::path::PathBuf;

use diskimg::text::shown;
use serde_json::json;

use self::report::{Checked, Shown};
use super::sandbox::InProcess;
use crate::args::{CloudArgs, ConfigArgs, ConfigCheckArgs, ConfigCommand};
use crate::commands::import::refused;
use crate::console::Console;
use crate::exit::{Exit, Failure, Outcome};
use crate::interrupt::Interrupt;
use crate::settings::{self, ProcessEnvironment, Resolved, Setting};

pub(crate) async fn run(args: &ConfigArgs, console: Console, interrupt: &Interrupt) -> Outcome {
    match &args.command {
        ConfigCommand::Check(args) => check(args, console, interrupt).await,
        ConfigCommand::Show(args) => show(&args.cloud, console),
        ConfigCommand::Path(args) => path(&args.cloud, console),
        ConfigCommand::Example => {
            let text = settings::EXAMPLE.trim_end();
            console.result(text, &json!({"example": text}))
        }
    }
}

fn config_file(args: &CloudArgs) -> Option<PathBuf> {
    settings::config_path(args, &ProcessEnvironment)
}

fn path(args: &CloudArgs, console: Console) -> Outcome {
    let path = config_file(args).ok_or_else(|| {
        Failure::new(
            Exit::Refused,
            "nobody knows where the configuration file is: HOME is not set",
        )
        .hint("name the file with --config")
    })?;
    console.result(
        shown(&path),
        &json!({"config_file": path, "exists": path.exists()}),
    )
}

fn show(args: &CloudArgs, console: Console) -> Outcome {
    if args.sandbox.is_some() {
        return Err(Failure::new(
            Exit::Refused,
            "the sandbox has no settings to show before it runs",
        )
        .hint("imgferry config check --sandbox"));
    }
    let Resolved { cloud, settings } = settings::examine(args, &ProcessEnvironment);
    let missing = cloud.err().map(|missing| missing.0).unwrap_or_default();
    let cloud = settings.iter().find(|setting| setting.name == "cloud");
    let cloud = cloud.and_then(|cloud| cloud.value.parse::<ims::Cloud>().ok());
    if let Some((cloud, caution)) = cloud.and_then(|cloud| Some((cloud, cloud.caution()?))) {
        console.warn(format_args!("{cloud}: {caution}"));
    }
    let path = config_file(args);
    let shown = Shown {
        config_file_exists: path.as_ref().is_some_and(|path| path.exists()),
        config_file: path,
        settings,
        missing,
    };
    console.result(&shown, &shown)
}

async fn check(args: &ConfigCheckArgs, console: Console, interrupt: &Interrupt) -> Outcome {
    if let Some(dir) = &args.cloud.sandbox {
        let sandbox =
            InProcess::start(dir.as_deref(), None, args.bucket.iter().cloned().collect()).await?;
        let cloud = sandbox.cloud();
        let checked = check::all(&cloud, args, interrupt).await;
        let settings = vec![Setting {
            name: "region",
            value: cloud.region,
            origin: "the sandbox".to_owned(),
        }];
        let told = checked.and_then(|checks| tell(settings, checks, console));
        return match (told, sandbox.stop().await) {
            (Ok(()), stopped) => stopped,
            (Err(failure), Ok(())) => Err(failure),
            (Err(failure), Err(later)) => Err(failure.note(later.to_string())),
        };
    }
    let Resolved { cloud, settings } = settings::examine(&args.cloud, &ProcessEnvironment);
    let cloud = match cloud {
        Ok(cloud) => cloud,
        Err(missing) => {
            let shown = Shown {
                config_file: None,
                config_file_exists: false,
                settings,
                missing: Vec::new(),
            };
            if !console.json && !shown.settings.is_empty() {
                console.result(&shown, &shown)?;
            }
            return Err(refused(missing.0)
                .data("settings", &shown.settings)
                .hint("imgferry config example shows what a configuration file looks like"));
        }
    };
    let checks = check::all(&cloud, args, interrupt).await?;
    tell(settings, checks, console)
}

fn tell(settings: Vec<Setting>, checks: Vec<check::Check>, console: Console) -> Outcome {
    let checked = Checked { settings, checks };
    let failed: Vec<_> = checked
        .checks
        .iter()
        .filter_map(|check| check.exit.map(|exit| (exit, check)))
        .collect();
    let Some((exit, first)) = failed.first() else {
        return console.result(&checked, &checked);
    };
    if !console.json {
        console.result(&checked, &checked)?;
    }
    let mut failure = Failure::new(
        *exit,
        match failed.len() {
            1 => format!("the check of {} failed", first.name),
            count => format!("{count} checks failed, the first is {}", first.name),
        },
    );
    for (_, check) in &failed {
        failure = failure.maybe_hint(check.hint.as_deref());
    }
    Err(failure
        .data("settings", &checked.settings)
        .data("checks", &checked.checks))
}
