//! The ways into the system: whether cloud-init opens it, and who else can log in.

use crate::known::Known;
use crate::linux::config::Config;
use crate::linux::units::State;
use crate::{Facts, Seen, Severity};

/// The stages of cloud-init, each by the names it has had.
const STAGES: &[&[&str]] = &[
    &["cloud-init-local"],
    &["cloud-init", "cloud-init-network"],
    &["cloud-config"],
    &["cloud-final"],
];
/// Sources of data that the cloud answers, in small letters.
const SOURCES: &[&str] = &["openstack", "configdrive", "ec2"];

/// Whether cloud-init is installed.
pub(crate) fn is_installed(config: &Config) -> Known<bool> {
    Ok(config
        .login
        .cloud_init
        .program
        .as_ref()
        .map_err(Clone::clone)?
        .is_some())
}

/// What keeps cloud-init from running; empty when it runs.
pub(crate) fn disabled(facts: &Facts, config: &Config) -> Known<Vec<Seen>> {
    let cloud_init = &config.login.cloud_init;
    let Some(program) = cloud_init.program.as_ref().map_err(Clone::clone)? else {
        return Ok(Vec::new());
    };
    let mut seen: Vec<Seen> = cloud_init
        .disabled
        .as_ref()
        .map_err(Clone::clone)?
        .iter()
        .cloned()
        .collect();
    if let Some((policy, line)) = cloud_init.policy.as_ref().map_err(Clone::clone)?
        && policy.starts_with("disabled")
    {
        seen.push(line.clone());
    }
    if let Some(entry) = facts.linux_boot.as_ref().and_then(|boot| boot.entry())
        && entry.command_line.value("cloud-init") == Some(b"disabled")
    {
        seen.push(entry.seen());
    }
    let units = config.units.as_ref().map_err(Clone::clone)?;
    let states: Vec<State> = STAGES.iter().map(|names| units.best(names)).collect();
    if states.iter().all(|&state| state == State::Absent) {
        seen.push(program.clone().with("no service starts it"));
    }
    for (names, state) in STAGES.iter().zip(states) {
        if matches!(state, State::Disabled | State::Masked) {
            seen.extend(units.seen(names));
        }
    }
    Ok(seen)
}

/// What keeps cloud-init from asking the cloud.
pub(crate) fn wrong_source(facts: &Facts, config: &Config) -> Known<Option<Seen>> {
    let cloud_init = &config.login.cloud_init;
    let sources = &cloud_init.settings.as_ref().map_err(Clone::clone)?.sources;
    let has = |wanted: &[&str]| {
        sources.as_ref().is_none_or(|(names, _)| {
            names
                .iter()
                .any(|name| wanted.contains(&name.to_ascii_lowercase().as_str()))
        })
    };
    if let (false, Some((_, seen))) = (has(SOURCES), sources) {
        return Ok(Some(seen.clone()));
    }
    if let Some(entry) = facts.linux_boot.as_ref().and_then(|boot| boot.entry()) {
        let local = |name: &str| {
            let value = entry.command_line.value(name);
            value.is_some_and(|value| value.starts_with(b"nocloud"))
        };
        if local("ds") || local("ci.ds") || local("ci.datasource") {
            return Ok(Some(entry.seen()));
        }
    }
    match cloud_init.seed.as_ref().map_err(Clone::clone)? {
        Some(seed) if has(&["nocloud"]) => Ok(Some(seed.clone())),
        _ => Ok(None),
    }
}

/// Whether cloud-init runs in the cloud and reaches its metadata. Systems that have Ignition in its
/// place are told their platform.
pub(crate) fn cloud_init_works(facts: &Facts, config: &Config) -> Known<bool> {
    let boot = facts.linux_boot.as_ref();
    let platform = boot.and_then(|boot| {
        let line = boot.command_line()?;
        let names = ["ignition.platform.id", "flatcar.oem.id", "coreos.oem.id"];
        names.iter().find_map(|name| line.value(name))
    });
    if platform == Some(b"openstack") {
        return Ok(true);
    }
    Ok(is_installed(config)?
        && disabled(facts, config)?.is_empty()
        && wrong_source(facts, config)?.is_none())
}

/// Whether cloud-init writes a new network configuration for each server. What is not known does
/// not count.
fn renders_network(facts: &Facts, config: &Config) -> bool {
    let settings = config.login.cloud_init.settings.as_ref();
    settings.is_ok_and(|settings| settings.network_off.is_none())
        && facts
            .linux_boot
            .as_ref()
            .and_then(|boot| boot.command_line())
            .is_none_or(|line| line.value("network-config") != Some(b"disabled"))
        && is_installed(config) == Ok(true)
        && cloud_init_works(facts, config) == Ok(true)
}

/// `severity`, or advice where cloud-init writes the network's configuration for each server.
pub(crate) fn unless_rendered(severity: Severity, facts: &Facts, config: &Config) -> Severity {
    if renders_network(facts, config) {
        Severity::Advice
    } else {
        severity
    }
}

/// Today in days since 1970, when the date is known.
pub(crate) fn today(facts: &Facts) -> Option<u64> {
    (facts.wanted.now > 0).then_some(facts.wanted.now / (24 * 60 * 60))
}

/// Whether somebody can log in as root or become root, without cloud-init.
pub(crate) fn accounts_open(facts: &Facts, config: &Config) -> Known<bool> {
    let accounts = config.login.accounts.as_ref().map_err(Clone::clone)?;
    let today = today(facts);
    Ok(accounts.iter().any(|account| {
        let is_over = today.is_some_and(|today| account.is_over(today));
        !is_over && (account.has_key || (account.is_admin && account.has_password()))
    }))
}
