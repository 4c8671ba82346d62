//! Rules about who can log in.

use super::accounts::{Account, Password};
use super::cloud_init::Release;
use super::sshd::{Config as SshConfig, SERVICES};
use super::{Login, ways};
use crate::linux::config::Config;
use crate::linux::source::glob;
use crate::linux::units::State;
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

const INSTALL_CLOUD_INIT: Remedy = Remedy {
    red_hat: &["yum install cloud-init cloud-utils-growpart"],
    debian: &["apt install cloud-init"],
    suse: &["zypper install cloud-init"],
    any: &[],
};
const PASSWORD: Remedy = Remedy {
    any: &["passwd root"],
    ..Remedy::NONE
};
const SSHD: Remedy = Remedy {
    red_hat: &["systemctl enable sshd"],
    debian: &["systemctl enable ssh"],
    suse: &["systemctl enable sshd"],
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
        id: "linux-no-login",
        severity: Severity::NoLogin,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030713198",
        text: "No account that may become root has a password, no account has a key, and cloud-init \
               does not set either. Nobody can log in.",
        remedy: PASSWORD,
        check: no_login,
    },
    Rule {
        id: "linux-root-password",
        severity: Severity::Degraded,
        source: Source::Vendor,
        cite: "create an image, constraints of image files",
        text: "root has no password. The cloud asks for one, so that the console can be used when the \
               network cannot.",
        remedy: PASSWORD,
        check: root_password,
    },
    Rule {
        id: "linux-password-rules",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "create an image, constraints of image files",
        text: "The cloud asks for a password with letters of both cases, digits and other \
               characters, and stored by a method that is still good.",
        remedy: PASSWORD,
        check: password_rules,
    },
    Rule {
        id: "linux-password-expired",
        severity: Severity::Degraded,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0122876047",
        text: "A password or an account has ended, so the login asks for a new password or fails.",
        remedy: Remedy {
            any: &["chage -M 99999 root"],
            ..Remedy::NONE
        },
        check: expired,
    },
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
    Rule {
        id: "linux-password-plugin",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Huawei Cloud, Image Management Service, one-click password reset",
        text: "Huawei Cloud's password agent is not installed, so its console cannot set a new \
               password.",
        remedy: Remedy::NONE,
        check: password_agent,
    },
    Rule {
        id: "linux-user-linux",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Huawei Cloud, Image Management Service, configuring Cloud-Init",
        text: "The name linux is taken, which the cloud's own images use for their account.",
        remedy: Remedy::NONE,
        check: user_linux,
    },
];

fn config(facts: &Facts) -> Option<&Config> {
    facts.linux.as_ref()
}

fn login(facts: &Facts) -> Option<&Login> {
    config(facts).map(|config| &config.login)
}

/// A value that rules derive from facts, or the rule is unknown.
fn derived<T>(judgement: &mut Judgement, value: Result<T, String>) -> Option<T> {
    value.map_err(|reason| judgement.unknown(reason)).ok()
}

fn no_login(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = config(facts) else {
        return;
    };
    let Some(false) = derived(judgement, ways::accounts_open(config)) else {
        return;
    };
    if let Some(false) = derived(judgement, ways::cloud_init_works(facts, config)) {
        judgement.found(Severity::NoLogin, Seen::at("/etc/shadow"));
    }
}

fn root(accounts: &[Account]) -> Option<&Account> {
    accounts.iter().find(|account| account.is_root)
}

fn root_password(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = config(facts) else {
        return;
    };
    let Some(accounts) = judgement.known(&config.login.accounts) else {
        return;
    };
    if root(accounts).is_some_and(Account::has_password) {
        return;
    }
    // That nobody at all can log in is another rule's word.
    let others = ways::accounts_open(config) != Ok(false)
        || ways::cloud_init_works(facts, config) != Ok(false);
    if others {
        let kind = match root(accounts).map(|account| account.password) {
            None => "root has no shell",
            Some(Password::Empty) => "root: empty password",
            Some(_) => "root: locked",
        };
        judgement.found(Severity::Degraded, Seen::at("/etc/shadow").with(kind));
    }
}

fn password_rules(facts: &Facts, judgement: &mut Judgement) {
    let Some(accounts) = login(facts).and_then(|login| judgement.known(&login.accounts)) else {
        return;
    };
    let with_password = || accounts.iter().filter(|account| account.has_password());
    for account in with_password().filter(|account| account.password == Password::Weak) {
        let text = format!("{}: MD5 or DES", account.name);
        judgement.found(Severity::Advice, Seen::at("/etc/shadow").with(text));
    }
    if with_password().next().is_some() {
        judgement.unknown("which characters a password has cannot be seen");
    }
}

fn expired(facts: &Facts, judgement: &mut Judgement) {
    let Some(accounts) = login(facts).and_then(|login| judgement.known(&login.accounts)) else {
        return;
    };
    if facts.wanted.now == 0 {
        judgement.unknown("the date is not known");
        return;
    }
    let today = facts.wanted.now / (24 * 60 * 60);
    for account in accounts.iter().filter(|account| account.has_password()) {
        if let Some(why) = account.ended(today) {
            let text = format!("{}: {why}", account.name);
            judgement.found(Severity::Degraded, Seen::at("/etc/shadow").with(text));
        }
    }
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
fn by_other_ways(config: &Config) -> Severity {
    match ways::accounts_open(config) {
        Ok(false) => Severity::NoLogin,
        _ => Severity::Degraded,
    }
}

fn disabled(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = config(facts) else {
        return;
    };
    let seen = derived(judgement, ways::disabled(facts, config));
    for seen in seen.into_iter().flatten() {
        judgement.found(by_other_ways(config), seen);
    }
}

fn datasource(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = config(facts) else {
        return;
    };
    let Some(true) = derived(judgement, ways::is_installed(config)) else {
        return;
    };
    if let Some(Some(seen)) = derived(judgement, ways::wrong_source(facts, config)) {
        judgement.found(by_other_ways(config), seen);
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
    let from = |numbers: [u32; 2]| release.numbers.as_slice() >= numbers.as_slice();
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

fn sshd(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = config(facts) else {
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
    let Some(config) = config(facts) else {
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
    let Some(false) = derived(judgement, ways::cloud_init_works(facts, config)) else {
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
    let Some(config) = config(facts) else {
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
    if let Some(false) = derived(judgement, ways::cloud_init_works(facts, config)) {
        judgement.found(Severity::NoLogin, Seen::at("/etc/ssh").with("no host keys"));
    }
}

fn nologin(facts: &Facts, judgement: &mut Judgement) {
    let file = login(facts).and_then(|login| judgement.known(&login.nologin));
    if let Some(Some(seen)) = file {
        judgement.found(Severity::NoLogin, seen.clone());
    }
}

fn firewall(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = config(facts) else {
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

fn password_agent(facts: &Facts, judgement: &mut Judgement) {
    if !facts.wanted.huawei_cloud {
        return;
    }
    let agent = login(facts).and_then(|login| judgement.known(&login.password_agent));
    if agent == Some(&None) {
        judgement.found(
            Severity::Advice,
            Seen::at("/CloudrResetPwdAgent").with("missing"),
        );
    }
}

fn user_linux(facts: &Facts, judgement: &mut Judgement) {
    let Some(login) = login(facts) else {
        return;
    };
    let accounts = judgement.known(&login.accounts);
    let mut accounts = accounts.into_iter().flatten();
    if accounts.any(|account| account.name == "linux") {
        judgement.found(Severity::Advice, Seen::at("/etc/passwd").with("linux"));
    }
    if let Some(Some(seen)) = judgement.known(&login.home_linux) {
        judgement.found(Severity::Advice, seen.clone());
    }
}
