//! Rules about the SSH server and what is in front of it.

use super::accounts::Account;
use super::sshd::{Config as SshConfig, SERVICES};
use super::ways;
use crate::linux::source::glob;
use crate::linux::units::State;
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

const SSHD: Remedy = Remedy {
    red_hat: &["systemctl enable sshd"],
    debian: &["systemctl enable ssh"],
    suse: &["systemctl enable sshd"],
    any: &[],
};

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "linux-sshd",
        severity: Severity::NoLogin,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030713211",
        text: "The SSH server is not installed or does not start with the system.",
        remedy: SSHD,
        check: sshd,
    },
    Rule {
        id: "linux-sshd-config",
        severity: Severity::Degraded,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0122876047",
        text: "The SSH server's configuration keeps out those who could log in.",
        remedy: Remedy {
            any: &["vi /etc/ssh/sshd_config", "sshd -t"],
            ..Remedy::NONE
        },
        check: sshd_config,
    },
    Rule {
        id: "linux-sshd-hostkeys",
        severity: Severity::NoLogin,
        source: Source::Peer,
        cite: "sshd(8)",
        text: "The SSH server has no host keys and nothing makes them at the start, so it stops at \
               once.",
        remedy: Remedy {
            debian: &["dpkg-reconfigure openssh-server"],
            any: &["ssh-keygen -A"],
            ..Remedy::NONE
        },
        check: host_keys,
    },
    Rule {
        id: "linux-nologin",
        severity: Severity::NoLogin,
        source: Source::Peer,
        cite: "nologin(5)",
        text: "/etc/nologin lets nobody but root log in.",
        remedy: Remedy {
            any: &["rm -f /etc/nologin"],
            ..Remedy::NONE
        },
        check: nologin,
    },
    Rule {
        id: "linux-firewall",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030713211",
        text: "The firewall has no rule that lets SSH in.",
        remedy: Remedy {
            red_hat: &["firewall-cmd --permanent --add-service=ssh"],
            debian: &["ufw allow OpenSSH"],
            suse: &["firewall-cmd --permanent --add-service=ssh"],
            any: &[],
        },
        check: firewall,
    },
];

fn sshd(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = &facts.linux else {
        return;
    };
    let Some(program) = judgement.known(&config.login.sshd.program) else {
        return;
    };
    let Some(program) = program else {
        judgement.found(
            Severity::NoLogin,
            Seen::at("/usr/sbin/sshd").with("missing"),
        );
        return;
    };
    let Some(units) = judgement.known(&config.units) else {
        return;
    };
    if units.best(SERVICES) != State::Enabled {
        let unit = units.seen(SERVICES);
        let seen = unit.unwrap_or_else(|| program.clone().with("no service starts it"));
        judgement.found(Severity::NoLogin, seen);
    }
}

fn sshd_config(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = &facts.linux else {
        return;
    };
    let Some(ssh) = judgement.known(&config.login.sshd.config) else {
        return;
    };
    let any = ["0.0.0.0", "::", "[::]", "*"];
    for (address, seen) in &ssh.addresses {
        let host = match address.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                if port.bytes().all(|byte| byte.is_ascii_digit()) {
                    host
                } else {
                    address
                }
            }
            _ => address,
        };
        if !any.contains(&host) {
            judgement.found(Severity::Degraded, seen.clone());
        }
    }
    let Some(accounts) = judgement.known(&config.login.accounts) else {
        return;
    };
    // cloud-init brings keys and accounts that are not here yet.
    let Some(false) = judgement.derived(ways::cloud_init_works(facts, config)) else {
        return;
    };
    let users: Vec<&Account> = accounts
        .iter()
        .filter(|account| account.has_key || account.has_password())
        .collect();
    if users.is_empty() {
        return;
    }
    if let Some(seen) = ssh.is("passwordauthentication", "no")
        && !users.iter().any(|account| account.has_key)
    {
        judgement.found(Severity::Degraded, seen.clone());
    }
    if let Some(seen) = ssh.is("permitrootlogin", "no")
        && users.iter().all(|account| account.is_root)
    {
        judgement.found(Severity::Degraded, seen.clone());
    }
    for seen in shut_out(ssh, &users) {
        judgement.found(Severity::Degraded, seen);
    }
}

/// The lines that allow only users or groups who cannot log in.
fn shut_out(ssh: &SshConfig, users: &[&Account]) -> Vec<Seen> {
    let allows = |pattern: &str, name: &str| {
        let pattern = pattern.split('@').next().unwrap_or_default();
        glob(pattern.as_bytes(), name.as_bytes())
    };
    let user_allowed = ssh
        .users
        .iter()
        .any(|(pattern, _)| users.iter().any(|user| allows(pattern, &user.name)));
    let group_allowed = ssh.groups.iter().any(|(pattern, _)| {
        let mut groups = users.iter().flat_map(|user| &user.groups);
        groups.any(|group| allows(pattern, group))
    });
    let mut seen = Vec::new();
    if !user_allowed {
        seen.extend(ssh.users.first().map(|(_, seen)| seen.clone()));
    }
    if !group_allowed {
        seen.extend(ssh.groups.first().map(|(_, seen)| seen.clone()));
    }
    seen
}

fn host_keys(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = &facts.linux else {
        return;
    };
    let sshd = &config.login.sshd;
    // dropbear makes its own; without a server there is another finding.
    match judgement.known(&sshd.program) {
        Some(Some(program)) if !program.path.ends_with("dropbear") => {}
        _ => return,
    }
    let Some([]) = judgement.known(&sshd.host_keys).map(Vec::as_slice) else {
        return;
    };
    let Some(None) = judgement.known(&sshd.key_maker) else {
        return;
    };
    if let Some(false) = judgement.derived(ways::cloud_init_works(facts, config)) {
        judgement.found(Severity::NoLogin, Seen::at("/etc/ssh").with("no host keys"));
    }
}

fn nologin(facts: &Facts, judgement: &mut Judgement) {
    let config = facts.linux.as_ref();
    let file = config.and_then(|config| judgement.known(&config.login.nologin));
    if let Some(Some(seen)) = file {
        judgement.found(Severity::NoLogin, seen.clone());
    }
}

fn firewall(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = &facts.linux else {
        return;
    };
    let Some(firewalls) = judgement.known(&config.login.firewalls) else {
        return;
    };
    for (service, seen) in firewalls {
        let is_loaded = match service {
            None => true,
            Some(service) => match judgement.known(&config.units) {
                Some(units) => units.state(service) == State::Enabled,
                None => false,
            },
        };
        if is_loaded {
            judgement.found(Severity::Advice, seen.clone());
        }
    }
}
