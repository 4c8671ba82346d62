//! Rules about cloud-init.

use super::cloud_init::CloudInit;
use super::{Login, ways};
use crate::linux::config::Config;
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

const INSTALL_CLOUD_INIT: Remedy = Remedy {
    red_hat: &["yum install cloud-init cloud-utils-growpart"],
    debian: &["apt install cloud-init"],
    suse: &["zypper install cloud-init"],
    ..Remedy::NONE
};
const OLD_STAGES: &[&str] = &[
    "rm -f /etc/cloud/cloud-init.disabled",
    "for stage in cloud-init-local cloud-init cloud-config cloud-final; do \
     chkconfig $stage on; done",
];
const DATASOURCE: Remedy = Remedy {
    linux: &[
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
            linux: &[
                "rm -f /etc/cloud/cloud-init.disabled",
                "systemctl unmask cloud-init-local cloud-init cloud-config cloud-final",
                "systemctl enable cloud-init-local cloud-init cloud-config cloud-final",
            ],
            old_red_hat: OLD_STAGES,
            old_suse: OLD_STAGES,
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
            linux: &["echo 'policy: enabled' > /etc/cloud/ds-identify.cfg"],
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
            linux: &["cloud-init clean --logs --seed"],
            ..Remedy::NONE
        },
        check: state,
    },
];

fn login(facts: &Facts) -> Option<&Login> {
    facts.configured().map(|config| &config.login)
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
    let Some(config) = facts.configured() else {
        return;
    };
    let seen = judgement.derived(ways::disabled(facts, config));
    for seen in seen.into_iter().flatten() {
        judgement.found(by_other_ways(facts, config), seen);
    }
}

fn datasource(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = facts.configured() else {
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
    let Some(release) = judgement.known(&cloud_init.release) else {
        return;
    };
    if !searches(cloud_init) {
        return;
    }
    let Some(release) = release else {
        if cloud_init.program.is_ok() {
            judgement.unknown("the release of cloud-init is not known");
        }
        return;
    };
    let from = |numbers: [u64; 2]| release.numbers.as_slice() >= numbers.as_slice();
    let knows_huawei = release.knows_huawei || from([22, 4]);
    let severity = if facts.wanted.huawei_cloud {
        // Releases before 18.3 do not look at the machine's maker.
        (!knows_huawei && from([18, 3])).then_some(Severity::Degraded)
    } else if !release.knows_telekom && !from([18, 2]) {
        Some(Severity::Degraded)
    } else {
        // Which maker the machines of other partners name is not known.
        (!knows_huawei).then_some(Severity::Advice)
    };
    if let Some(severity) = severity {
        judgement.found(severity, release.seen.clone());
    }
}

/// Whether cloud-init looks for its source: not when it is told to run, or has one source only.
fn searches(cloud_init: &CloudInit) -> bool {
    let policy = cloud_init.policy.as_ref().ok().and_then(Option::as_ref);
    let settings = cloud_init.settings.as_ref().ok();
    let sources = settings.and_then(|settings| settings.sources.as_ref());
    let is_told = policy.is_some_and(|(policy, _)| policy.starts_with("enabled"));
    let has_one = sources.is_some_and(|(names, _)| {
        names
            .iter()
            .filter(|name| !name.eq_ignore_ascii_case("none"))
            .count()
            == 1
    });
    !is_told && !has_one
}

fn state(facts: &Facts, judgement: &mut Judgement) {
    let state = login(facts).and_then(|login| judgement.known(&login.cloud_init.state));
    if let Some(Some(seen)) = state {
        judgement.found(Severity::Advice, seen.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::testing::{enabled, facts, judged, on, with_cloud_init};
    use crate::tree::memory::MemoryTree;

    const ROOT: &str = "root:$6$a$b:19700:0:99999:7:::\n";

    fn with_password(tree: MemoryTree) -> MemoryTree {
        tree.file("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
            .file("/etc/shadow", ROOT)
    }

    fn locked(tree: MemoryTree) -> MemoryTree {
        tree.file("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
            .file("/etc/shadow", "root:*:1:0:99999:7:::\n")
    }

    fn judge(id: &str, tree: MemoryTree) -> Option<Severity> {
        judged(RULES, id, &facts(tree)).0
    }

    #[test]
    fn whoever_cannot_log_in_otherwise_needs_cloud_init() {
        let id = "linux-cloud-init-disabled";
        let off = || with_cloud_init(MemoryTree::new()).file("/etc/cloud/cloud-init.disabled", "");
        assert_eq!(judge(id, locked(off())), Some(Severity::NoLogin));
        assert_eq!(judge(id, with_password(off())), Some(Severity::Degraded));
        assert_eq!(judge(id, locked(with_cloud_init(MemoryTree::new()))), None);
        let masked = with_cloud_init(MemoryTree::new())
            .link("/etc/systemd/system/cloud-config.service", "/dev/null");
        assert_eq!(judge(id, with_password(masked)), Some(Severity::Degraded));
        let unwanted = enabled(MemoryTree::new(), "cloud-init")
            .file("/usr/bin/cloud-init", "")
            .file("/usr/lib/systemd/system/cloud-final.service", "[Unit]");
        assert_eq!(judge(id, with_password(unwanted)), Some(Severity::Degraded));
        let mut told = facts(with_password(with_cloud_init(MemoryTree::new())));
        told.linux_boot = Some(on("root=UUID=1 cloud-init=disabled"));
        assert_eq!(judged(RULES, id, &told).0, Some(Severity::Degraded));
        assert_eq!(judge(id, MemoryTree::new()), None, "not installed");
    }

    #[test]
    fn a_source_that_is_not_the_cloud_is_found() {
        let id = "linux-cloud-init-datasource";
        let with = |list: &str| {
            with_password(with_cloud_init(MemoryTree::new())).file(
                "/etc/cloud/cloud.cfg.d/90.cfg",
                format!("datasource_list: {list}\n"),
            )
        };
        assert_eq!(judge(id, with("[None]")), Some(Severity::Degraded));
        assert_eq!(
            judge(id, locked(with("[VMware, None]"))),
            Some(Severity::NoLogin)
        );
        assert_eq!(judge(id, with("[NoCloud, ConfigDrive]")), None);
        let seed = "/var/lib/cloud/seed/nocloud-net/meta-data";
        let seeded = with("[NoCloud, OpenStack]").file(seed, "x");
        assert_eq!(judge(id, seeded), Some(Severity::Degraded));
        assert_eq!(judge(id, with("[OpenStack]").file(seed, "x")), None);
        let mut told = facts(with("[OpenStack]"));
        told.linux_boot = Some(on("root=UUID=1 ds=nocloud;s=/x"));
        assert_eq!(judged(RULES, id, &told).0, Some(Severity::Degraded));
    }

    #[test]
    fn old_releases_know_some_clouds_only() {
        let release = |version: &str| {
            with_cloud_init(MemoryTree::new()).file(
                "/usr/lib/python3/dist-packages/cloudinit/version.py",
                format!("__VERSION__ = \"{version}\"\n"),
            )
        };
        let judge = |tree, huawei_cloud| {
            let mut facts = facts(tree);
            facts.wanted.huawei_cloud = huawei_cloud;
            judged(RULES, "linux-cloud-init-old", &facts).0
        };
        assert_eq!(judge(release("18.3"), true), Some(Severity::Degraded));
        assert_eq!(judge(release("22.3.4"), true), Some(Severity::Degraded));
        assert_eq!(judge(release("22.4"), true), None);
        assert_eq!(judge(release("17.1"), true), None);
        assert_eq!(judge(release("17.1"), false), Some(Severity::Degraded));
        assert_eq!(judge(release("19.4"), false), Some(Severity::Advice));
        assert_eq!(judge(release("23.1"), false), None);
        let told = release("20.1").file("/etc/cloud/ds-identify.cfg", "policy: enabled\n");
        assert_eq!(judge(told, true), None);
        let one = release("20.1").file(
            "/etc/cloud/cloud.cfg.d/9.cfg",
            "datasource_list: [OpenStack, None]\n",
        );
        assert_eq!(judge(one, true), None);
        let mended = release("20.1").file(
            "/usr/lib/python3/dist-packages/cloudinit/sources/DataSourceOpenStack.py",
            "HUAWEICLOUD",
        );
        assert_eq!(judge(mended, true), None);
    }

    #[test]
    fn a_first_run_leaves_its_state() {
        let id = "linux-cloud-init-state";
        let ran = MemoryTree::new().link("/var/lib/cloud/instance", "instances/gone");
        assert_eq!(judge(id, ran), Some(Severity::Advice));
        assert_eq!(judge(id, MemoryTree::new()), None);
    }
}
