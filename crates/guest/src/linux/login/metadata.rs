//! Rules about cloud-init.

use super::cloud_init::Release;
use super::{Login, ways};
use crate::linux::config::Config;
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

const INSTALL_CLOUD_INIT: Remedy = Remedy {
    red_hat: &["yum install cloud-init cloud-utils-growpart"],
    debian: &["apt install cloud-init"],
    suse: &["zypper install cloud-init"],
    any: &[],
};
const DATASOURCE: Remedy = Remedy {
    any: &[
        "echo 'datasource_list: [ OpenStack, ConfigDrive, None ]' > /etc/cloud/cloud.cfg.d/99-openstack.cfg",
        "rm -f /etc/cloud/cloud.cfg.d/99-installer.cfg",
        "rm -rf /var/lib/cloud/seed",
    ],
    ..Remedy::NONE
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "linux-cloud-init-missing",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030713198",
        text: "cloud-init is not installed: servers get no password, no key and no name from the \
               cloud.",
        remedy: INSTALL_CLOUD_INIT,
        check: missing,
    },
    Rule {
        id: "linux-cloud-init-disabled",
        severity: Severity::NoLogin,
        source: Source::Peer,
        cite: "cloud-init, ds-identify",
        text: "cloud-init is installed and does not start.",
        remedy: Remedy {
            any: &[
                "rm -f /etc/cloud/cloud-init.disabled",
                "systemctl unmask cloud-init-local cloud-init cloud-config cloud-final",
                "systemctl enable cloud-init-local cloud-init cloud-config cloud-final",
            ],
            ..Remedy::NONE
        },
        check: disabled,
    },
    Rule {
        id: "linux-cloud-init-datasource",
        severity: Severity::NoLogin,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0122876047",
        text: "cloud-init does not ask the cloud: its list of sources has neither OpenStack nor \
               ConfigDrive nor Ec2, or another source is found first.",
        remedy: DATASOURCE,
        check: datasource,
    },
    Rule {
        id: "linux-cloud-init-old",
        severity: Severity::Degraded,
        source: Source::Peer,
        cite: "cloud-init, DataSourceOpenStack",
        text: "This release of cloud-init asks for OpenStack's metadata only on machines whose maker \
               it knows, and it does not know this cloud's.",
        remedy: Remedy {
            any: &["echo 'policy: enabled' > /etc/cloud/ds-identify.cfg"],
            ..Remedy::NONE
        },
        check: old,
    },
    Rule {
        id: "linux-cloud-init-state",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0122876047",
        text: "cloud-init has run on this disk and keeps what it learned.",
        remedy: Remedy {
            any: &["cloud-init clean --logs --seed"],
            ..Remedy::NONE
        },
        check: state,
    },
];

fn login(facts: &Facts) -> Option<&Login> {
    facts.linux.as_ref().map(|config| &config.login)
}

fn missing(facts: &Facts, judgement: &mut Judgement) {
    let program = login(facts).and_then(|login| judgement.known(&login.cloud_init.program));
    if program == Some(&None) {
        judgement.found(
            Severity::Advice,
            Seen::at("/usr/bin/cloud-init").with("missing"),
        );
    }
}

/// No login when cloud-init is the only way in, else degraded.
fn by_other_ways(facts: &Facts, config: &Config) -> Severity {
    match ways::accounts_open(facts, config) {
        Ok(false) => Severity::NoLogin,
        _ => Severity::Degraded,
    }
}

fn disabled(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = &facts.linux else {
        return;
    };
    let seen = judgement.derived(ways::disabled(facts, config));
    for seen in seen.into_iter().flatten() {
        judgement.found(by_other_ways(facts, config), seen);
    }
}

fn datasource(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = &facts.linux else {
        return;
    };
    let Some(true) = judgement.derived(ways::is_installed(config)) else {
        return;
    };
    if let Some(Some(seen)) = judgement.derived(ways::wrong_source(facts, config)) {
        judgement.found(by_other_ways(facts, config), seen);
    }
}

fn old(facts: &Facts, judgement: &mut Judgement) {
    let Some(login) = login(facts) else {
        return;
    };
    let cloud_init = &login.cloud_init;
    if cloud_init.program == Ok(None) {
        return;
    }
    let (Some(release), Some(policy)) = (
        judgement.known(&cloud_init.release),
        judgement.known(&cloud_init.policy),
    ) else {
        return;
    };
    if policy
        .as_ref()
        .is_some_and(|(policy, _)| policy.starts_with("enabled"))
    {
        return;
    }
    let Some(release) = release else {
        if cloud_init.program.is_ok() {
            judgement.unknown("the release of cloud-init is not known");
        }
        return;
    };
    if !knows_cloud(release, facts.wanted.huawei_cloud) {
        judgement.found(Severity::Degraded, release.seen.clone());
    }
}

/// Whether `release` asks for OpenStack's metadata on the cloud's machines.
fn knows_cloud(release: &Release, is_huawei: bool) -> bool {
    let from = |numbers: [u64; 2]| release.numbers.as_slice() >= numbers.as_slice();
    if is_huawei {
        // Releases before 18.3 do not look at the machine's maker.
        release.knows_huawei || from([22, 4]) || !from([18, 3])
    } else {
        release.knows_telekom || from([18, 2])
    }
}

fn state(facts: &Facts, judgement: &mut Judgement) {
    let state = login(facts).and_then(|login| judgement.known(&login.cloud_init.state));
    if let Some(Some(seen)) = state {
        judgement.found(Severity::Advice, seen.clone());
    }
}
