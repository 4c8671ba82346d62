//! Accounts: of passwords only their kind leaves this module.

use std::collections::BTreeMap;

use crate::budget::MAX_FILE;
use crate::known::Known;
use crate::view::View;

/// Accounts with a shell.
const MAX_ACCOUNTS: usize = 256;
/// Groups whose members may become root.
const ADMINS: &[&str] = &["sudo", "wheel", "admin"];
/// Programs that are no shells.
const NO_SHELLS: &[&str] = &["nologin", "false", "true", "sync", "shutdown", "halt"];

/// The kind of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Password {
    /// None: nobody can log in with one.
    Locked,
    Empty,
    /// Stored by a method that is still good.
    Strong,
    /// Stored as MD5 or DES.
    Weak,
}

/// An account that has a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) is_root: bool,
    /// It is root or may become it.
    pub(crate) is_admin: bool,
    pub(crate) groups: Vec<String>,
    pub(crate) password: Password,
    /// Days since 1970.
    pub(crate) changed: Option<u64>,
    /// Days that a password is good for.
    pub(crate) max_days: Option<u64>,
    /// Day on which the account ends.
    pub(crate) expires: Option<u64>,
    pub(crate) has_key: bool,
}

impl Account {
    /// Whether somebody can log in with a password.
    pub(crate) fn has_password(&self) -> bool {
        matches!(self.password, Password::Strong | Password::Weak)
    }

    /// Whether the account has ended before `day`.
    pub(crate) fn is_over(&self, day: u64) -> bool {
        self.expires.is_some_and(|last| last < day)
    }

    /// Why the password or the account is of no use on `day`.
    pub(crate) fn ended(&self, day: u64) -> Option<&'static str> {
        if self.is_over(day) {
            return Some("the account has ended");
        }
        match (self.changed, self.max_days) {
            (Some(0), _) => Some("the password must be changed at the next login"),
            (Some(changed), Some(days)) if changed.saturating_add(days) < day => {
                Some("the password has ended")
            }
            _ => None,
        }
    }
}

/// The accounts that have a shell. `key_files` is sshd's `AuthorizedKeysFile`.
pub(crate) fn collect(view: &View, key_files: Option<&str>) -> Known<Vec<Account>> {
    let passwd = lines(view, "/etc/passwd")?.ok_or("/etc/passwd is missing")?;
    let shadow: BTreeMap<String, Vec<String>> = lines(view, "/etc/shadow")?
        .unwrap_or_default()
        .into_iter()
        .filter_map(|fields| Some((fields.first()?.clone(), fields)))
        .collect();
    let groups = lines(view, "/etc/group")?.unwrap_or_default();
    let mut accounts = Vec::new();
    for fields in &passwd {
        let [name, password, uid, gid, _, home, rest @ ..] = fields.as_slice() else {
            continue;
        };
        let shell = rest.first().map_or("", String::as_str);
        if NO_SHELLS.contains(&shell.rsplit('/').next().unwrap_or_default()) {
            continue;
        }
        if accounts.len() == MAX_ACCOUNTS {
            return Err(format!("more than {MAX_ACCOUNTS} accounts have a shell"));
        }
        let groups: Vec<String> = groups
            .iter()
            .filter_map(|group| match group.as_slice() {
                [group, _, id, members, ..] => {
                    let is_member = id == gid || members.split(',').any(|member| member == name);
                    is_member.then(|| group.clone())
                }
                _ => None,
            })
            .collect();
        let shadow = shadow.get(name);
        let days = |at: usize| shadow?.get(at)?.parse().ok();
        let stored = match (shadow.and_then(|fields| fields.get(1)), password.as_str()) {
            (Some(stored), "x" | "*" | "") => stored,
            _ => password,
        };
        let is_root = uid == "0";
        accounts.push(Account {
            name: name.clone(),
            is_root,
            is_admin: is_root || groups.iter().any(|group| ADMINS.contains(&group.as_str())),
            groups,
            password: kind(stored),
            changed: days(2),
            max_days: days(4),
            expires: days(7),
            has_key: has_key(view, name, home, key_files)?,
        });
    }
    Ok(accounts)
}

/// Lines of a file of fields between colons; `None` when there is no file.
fn lines(view: &View, path: &str) -> Known<Option<Vec<Vec<String>>>> {
    Ok(view.read(path, MAX_FILE)?.map(|content| {
        content
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
            .map(|line| {
                let text = String::from_utf8_lossy(line);
                text.split(':').map(str::to_owned).collect()
            })
            .collect()
    }))
}

/// The kind of a stored password.
fn kind(stored: &str) -> Password {
    const STRONG: &[&str] = &[
        "$2a$", "$2b$", "$2x$", "$2y$", "$5$", "$6$", "$7$", "$y$", "$gy$",
    ];
    let is_des = |text: &str| {
        text.len() == 13
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"./".contains(&b))
    };
    if stored.is_empty() {
        Password::Empty
    } else if stored.starts_with("$1$") || is_des(stored) {
        Password::Weak
    } else if STRONG.iter().any(|start| stored.starts_with(start)) {
        Password::Strong
    } else {
        Password::Locked
    }
}

/// Whether a key opens the account.
fn has_key(view: &View, name: &str, home: &str, key_files: Option<&str>) -> Known<bool> {
    let files = key_files.unwrap_or(".ssh/authorized_keys .ssh/authorized_keys2");
    for file in files
        .split_ascii_whitespace()
        .filter(|&file| file != "none")
        .take(8)
    {
        let file = file
            .replace("%u", name)
            .replace("%h", home)
            .replace("%%", "%");
        let path = if file.starts_with('/') {
            file
        } else {
            format!("{home}/{file}")
        };
        if let Some(content) = view.read(path, MAX_FILE)? {
            let mut lines = content.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
            if lines.any(|line| !line.is_empty() && !line.starts_with(b"#")) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::tree::memory::MemoryTree;

    #[test]
    fn of_passwords_only_the_kind_is_kept() {
        let tree = MemoryTree::new()
            .file(
                "/etc/passwd",
                "root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1::/:/usr/sbin/nologin\n\
                 ops:x:1000:1000::/home/ops:/bin/zsh\nold:x:1001:10::/home/old:\n",
            )
            .file(
                "/etc/shadow",
                "root:$6$salt$hidden:19700:0:99999:7:::\nops:!$6$salt$hidden:0:0:90:7::20000:\n\
                 old:abcdefghijklm:1:0:5:7:::\n",
            )
            .file("/etc/group", "root:x:0:\nsudo:x:27:ops,x\nwheel:x:10:\n")
            .file(
                "/home/ops/.ssh/authorized_keys",
                "# none\n\nssh-ed25519 AAAA\n",
            );
        let accounts = collect(&View::new(Rc::new(tree), 0), None).unwrap();
        assert!(!format!("{accounts:?}").contains("hidden"));
        let [root, ops, old] = accounts.as_slice() else {
            panic!("{accounts:?}");
        };
        assert!(root.has_password() && root.is_admin && !root.has_key);
        assert_eq!(root.ended(20_500), None);
        assert!(!ops.has_password() && ops.is_admin && ops.has_key && !ops.is_root);
        assert!(ops.ended(20_001).unwrap().contains("account"));
        assert!(ops.ended(19_999).unwrap().contains("changed"));
        assert_eq!(old.password, Password::Weak);
        assert!(old.is_admin, "by its first group");
        assert!(old.ended(7).is_some() && old.ended(6).is_none());
    }

    #[test]
    fn an_account_behind_any_number_of_lines_is_found() {
        let passwd = format!("{}root:x:0:0::/root:/bin/sh\n", "a:b\n".repeat(70_000));
        let tree = MemoryTree::new()
            .file("/etc/passwd", passwd)
            .file("/etc/shadow", "root:$6$a$b:19700:0:99999:7:::\n");
        let accounts = collect(&View::new(Rc::new(tree), 0), None).unwrap();
        assert!(accounts.iter().any(|account| account.is_root));
    }

    #[test]
    fn kinds_of_passwords() {
        for (stored, is) in [
            ("", Password::Empty),
            ("*", Password::Locked),
            ("!!", Password::Locked),
            ("!$6$a$b", Password::Locked),
            ("$y$j9T$a$b", Password::Strong),
            ("$1$a$b", Password::Weak),
            ("$9$a$b", Password::Locked),
        ] {
            assert_eq!(kind(stored), is, "{stored}");
        }
    }
}
