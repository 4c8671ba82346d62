//! Rules about the SSH server and what is in front of it.

use super::accounts::Account;
use super::sshd::{Config as SshConfig, SERVICES};
use super::ways;
use crate::linux::source::glob;
use crate::linux::units::State;
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

const SSHD: Remedy = Remedy {
    red_hat: &["systemctl enable sshd"],
    old_red_hat: &["chkconfig sshd on"],
    old_suse: &["chkconfig sshd on"],
    debian: &["systemctl enable ssh"],
    suse: &["systemctl enable sshd"],
    ..Remedy::NONE
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
            linux: &["vi /etc/ssh/sshd_config", "sshd -t"],
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
            linux: &["ssh-keygen -A"],
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
            linux: &["rm -f /etc/nologin"],
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
            ..Remedy::NONE
        },
        check: firewall,
    },
];

fn sshd(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = facts.configured() else {
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
    let Some(config) = facts.configured() else {
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
    let Some(config) = facts.configured() else {
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
    let config = facts.configured();
    let file = config.and_then(|config| judgement.known(&config.login.nologin));
    if let Some(Some(seen)) = file {
        judgement.found(Severity::NoLogin, seen.clone());
    }
}

fn firewall(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = facts.configured() else {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::testing::{enabled, facts, judged, with_cloud_init};
    use crate::tree::memory::MemoryTree;

    fn server() -> MemoryTree {
        enabled(MemoryTree::new().file("/usr/sbin/sshd", ""), "sshd")
            .file("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
            .file("/etc/shadow", "root:$6$a$b:19700:0:99999:7:::\n")
    }

    fn judge(id: &str, tree: MemoryTree) -> Option<Severity> {
        let (severity, unknown) = judged(RULES, id, &facts(tree));
        assert!(!unknown, "{id}");
        severity
    }

    #[test]
    fn the_server_must_be_installed_and_start() {
        let no_login = Some(Severity::NoLogin);
        assert_eq!(judge("linux-sshd", server()), None);
        assert_eq!(judge("linux-sshd", MemoryTree::new()), no_login);
        let off = MemoryTree::new()
            .file("/usr/sbin/sshd", "")
            .file("/usr/lib/systemd/system/sshd.service", "[Service]");
        assert_eq!(judge("linux-sshd", off), no_login);
        let socket = MemoryTree::new()
            .file("/usr/sbin/sshd", "")
            .file("/usr/lib/systemd/system/ssh.service", "[Service]")
            .file("/usr/lib/systemd/system/ssh.socket", "[Socket]")
            .link("/etc/systemd/system/sockets.target.wants/ssh.socket", "x");
        assert_eq!(judge("linux-sshd", socket), None);
    }

    #[test]
    fn keys_must_be_there_or_be_made() {
        let id = "linux-sshd-hostkeys";
        assert_eq!(judge(id, server()), Some(Severity::NoLogin));
        assert_eq!(
            judge(id, server().file("/etc/ssh/ssh_host_rsa_key", "x")),
            None
        );
        assert_eq!(judge(id, with_cloud_init(server())), None);
        assert_eq!(judge(id, enabled(server(), "sshdgenkeys")), None);
        assert_eq!(judge(id, MemoryTree::new()), None, "no server");
    }

    #[test]
    fn a_configuration_that_shuts_everybody_out_is_found() {
        let with = |line: &str| {
            let tree = server().file("/etc/ssh/sshd_config", format!("{line}\n"));
            judge("linux-sshd-config", tree)
        };
        let degraded = Some(Severity::Degraded);
        assert_eq!(with("Port 22"), None);
        assert_eq!(with("ListenAddress 192.0.2.1"), degraded);
        assert_eq!(with("ListenAddress 192.0.2.1:22"), degraded);
        assert_eq!(with("ListenAddress fe80::1"), degraded);
        assert_eq!(with("ListenAddress 0.0.0.0:22"), None);
        assert_eq!(with("ListenAddress ::"), None);
        assert_eq!(with("ListenAddress [::]:22"), None);
        assert_eq!(with("PasswordAuthentication no"), degraded);
        assert_eq!(with("PermitRootLogin no"), degraded);
        assert_eq!(with("AllowUsers ops"), degraded);
        assert_eq!(with("AllowUsers ops r*@192.0.2.*"), None);
        assert_eq!(with("AllowGroups ops"), degraded);
    }

    #[test]
    fn cloud_init_brings_keys_that_the_configuration_may_ask_for() {
        let tree = server().file("/etc/ssh/sshd_config", "PasswordAuthentication no\n");
        assert_eq!(judge("linux-sshd-config", with_cloud_init(tree)), None);
    }

    #[test]
    fn firewalls_count_when_they_are_loaded() {
        let rules = || server().file("/etc/sysconfig/iptables", ":INPUT DROP [0:0]\n");
        assert_eq!(judge("linux-firewall", rules()), None);
        let loaded = enabled(rules(), "iptables");
        assert_eq!(judge("linux-firewall", loaded), Some(Severity::Advice));
    }

    #[test]
    fn nologin_keeps_everybody_out() {
        assert_eq!(judge("linux-nologin", server()), None);
        let closed = server().file("/etc/nologin", "");
        assert_eq!(judge("linux-nologin", closed), Some(Severity::NoLogin));
    }
}
