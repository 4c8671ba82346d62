//! Rules about accounts and their passwords.

use super::accounts::{Account, Password};
use super::{Login, ways};
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

const PASSWORD: Remedy = Remedy {
    linux: &["passwd root"],
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
            linux: &["chage -M 99999 root"],
            ..Remedy::NONE
        },
        check: expired,
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

fn login(facts: &Facts) -> Option<&Login> {
    facts.configured().map(|config| &config.login)
}

fn no_login(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = facts.configured() else {
        return;
    };
    let Some(false) = judgement.derived(ways::accounts_open(facts, config)) else {
        return;
    };
    if let Some(false) = judgement.derived(ways::cloud_init_works(facts, config)) {
        judgement.found(Severity::NoLogin, Seen::at("/etc/shadow"));
    }
}

fn root(accounts: &[Account]) -> Option<&Account> {
    accounts.iter().find(|account| account.is_root)
}

fn root_password(facts: &Facts, judgement: &mut Judgement) {
    let Some(config) = facts.configured() else {
        return;
    };
    let Some(accounts) = judgement.known(&config.login.accounts) else {
        return;
    };
    if root(accounts).is_some_and(Account::has_password) {
        return;
    }
    // That nobody at all can log in is another rule's word.
    let others = ways::accounts_open(facts, config) != Ok(false)
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
    let Some(today) = ways::today(facts) else {
        judgement.unknown("the date is not known");
        return;
    };
    for account in accounts.iter().filter(|account| account.has_password()) {
        if let Some(why) = account.ended(today) {
            let text = format!("{}: {why}", account.name);
            judgement.found(Severity::Degraded, Seen::at("/etc/shadow").with(text));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::testing::{facts, judged, on, with_cloud_init};
    use crate::tree::memory::MemoryTree;

    const DAY: u64 = 24 * 60 * 60;

    /// root and ops, who may become root, with these passwords.
    fn accounts(root: &str, ops: &str) -> MemoryTree {
        MemoryTree::new()
            .file(
                "/etc/passwd",
                "root:x:0:0::/root:/bin/sh\nops:x:1000:1000::/home/ops:/bin/sh\n",
            )
            .file(
                "/etc/shadow",
                format!("root:{root}:19700:0:99999:7:::\nops:{ops}:19700:0:90:7:::\n"),
            )
            .file("/etc/group", "wheel:x:10:ops\n")
    }

    #[test]
    fn somebody_must_be_able_to_log_in() {
        let id = "linux-no-login";
        let judge = |tree| judged(RULES, id, &facts(tree));
        assert_eq!(judge(accounts("*", "!")), (Some(Severity::NoLogin), false));
        assert_eq!(judge(accounts("$6$a$b", "!")), (None, false));
        assert_eq!(judge(accounts("*", "$y$a$b")), (None, false));
        let key = accounts("*", "!").file("/home/ops/.ssh/authorized_keys", "ssh-rsa AAAA\n");
        assert_eq!(judge(key), (None, false));
        assert_eq!(judge(with_cloud_init(accounts("*", "!"))), (None, false));
        let unread = accounts("*", "!").broken("/etc/shadow");
        assert_eq!(judge(unread), (None, true));
        let mut ignition = facts(accounts("*", "!"));
        ignition.linux_boot = Some(on("root=UUID=1 ignition.platform.id=openstack"));
        assert_eq!(judged(RULES, id, &ignition), (None, false));
        let mut data = facts(accounts("*", "!"));
        data.wanted.data_disk = true;
        assert_eq!(judged(RULES, id, &data), (None, false));
    }

    #[test]
    fn root_should_have_a_password_when_others_can_log_in() {
        let judge = |tree| judged(RULES, "linux-root-password", &facts(tree)).0;
        assert_eq!(judge(accounts("*", "$6$a$b")), Some(Severity::Degraded));
        assert_eq!(
            judge(with_cloud_init(accounts("!", "!"))),
            Some(Severity::Degraded)
        );
        assert_eq!(judge(accounts("$6$a$b", "!")), None);
        assert_eq!(judge(accounts("*", "!")), None, "nobody can: another rule");
    }

    #[test]
    fn passwords_end_and_weak_ones_are_named() {
        let judge = |now: u64| {
            let mut facts = facts(accounts("$6$a$b", "$1$a$b"));
            facts.wanted.now = now;
            judged(RULES, "linux-password-expired", &facts)
        };
        assert_eq!(judge(19_790 * DAY), (None, false));
        assert_eq!(judge(19_791 * DAY), (Some(Severity::Degraded), false));
        assert_eq!(judge(0), (None, true));
        let weak = facts(accounts("$6$a$b", "$1$a$b"));
        let rule = "linux-password-rules";
        assert_eq!(judged(RULES, rule, &weak), (Some(Severity::Advice), true));
        let none = facts(accounts("*", "!"));
        assert_eq!(judged(RULES, rule, &none), (None, false));
    }

    #[test]
    fn names_and_agents_of_the_cloud() {
        let tree =
            || MemoryTree::new().file("/etc/passwd", "linux:x:1000:1000::/home/linux:/bin/sh\n");
        let mut guest = facts(tree());
        assert_eq!(
            judged(RULES, "linux-user-linux", &guest).0,
            Some(Severity::Advice)
        );
        assert_eq!(judged(RULES, "linux-password-plugin", &guest).0, None);
        guest.wanted.huawei_cloud = true;
        let missing = judged(RULES, "linux-password-plugin", &guest).0;
        assert_eq!(missing, Some(Severity::Advice));
    }
}
