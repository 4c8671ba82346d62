//! Firewalls without a rule for SSH.

use crate::Seen;
use crate::known::Known;
use crate::linux::source::{Source, is_yes, last};
use crate::view::View;

/// The files of firewalls that let no SSH in, with the service that loads them.
pub(crate) fn collect(view: &View) -> Known<Vec<(Option<&'static str>, Seen)>> {
    let mut closed = Vec::new();
    if let Some(zone) = firewalld(view)? {
        closed.push((Some("firewalld"), zone));
    }
    if let Some(file) = Source::read(view, "/etc/ufw/ufw.conf")?
        && last(&file.shell(), "ENABLED").is_some_and(|is| is_yes(&is.value))
    {
        let rules = Source::read(view, "/etc/ufw/user.rules")?;
        let open = rules.is_some_and(|rules| has(&rules, &["dport 22 ", "dports 22", "OpenSSH"]));
        if !open {
            closed.push((None, file.whole()));
        }
    }
    for (service, path) in [
        ("iptables", "/etc/sysconfig/iptables"),
        ("netfilter-persistent", "/etc/iptables/rules.v4"),
        ("nftables", "/etc/sysconfig/nftables.conf"),
        ("nftables", "/etc/nftables.conf"),
    ] {
        let Some(rules) = Source::read(view, path)? else {
            continue;
        };
        let blocks = has(
            &rules,
            &[
                ":INPUT DROP",
                "-A INPUT -j DROP",
                "-A INPUT -j REJECT",
                "policy drop",
            ],
        );
        if blocks
            && !has(
                &rules,
                &[
                    "dport 22",
                    "dport ssh",
                    "dports 22",
                    "dport { 22",
                    "dport {22",
                ],
            )
        {
            closed.push((Some(service), rules.whole()));
        }
    }
    Ok(closed)
}

/// firewalld's zone for interfaces that no other zone has, when it lets no SSH in.
fn firewalld(view: &View) -> Known<Option<Seen>> {
    let main = Source::read(view, "/etc/firewalld/firewalld.conf")?;
    let zone = main
        .and_then(|file| last(&file.shell(), "DefaultZone").map(|is| is.value.clone()))
        .unwrap_or_else(|| "public".to_owned());
    for directory in ["/etc/firewalld/zones", "/usr/lib/firewalld/zones"] {
        if let Some(file) = Source::read(view, format!("{directory}/{zone}.xml"))? {
            let open = has(&file, &["name=\"ssh\"", "port=\"22\"", "target=\"ACCEPT\""]);
            return Ok((!open).then(|| file.whole()));
        }
    }
    Ok(None)
}

/// Whether a line that is no comment has one of `words`.
fn has(file: &Source, words: &[&str]) -> bool {
    file.lines()
        .filter(|(_, text)| !text.starts_with(b"#"))
        .any(|(_, text)| {
            let text = String::from_utf8_lossy(text);
            words.iter().any(|word| text.contains(word))
        })
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::tree::memory::MemoryTree;

    #[test]
    fn only_firewalls_without_ssh_are_named() {
        let collected = |path: &str, text: &str| {
            let tree = MemoryTree::new().file(path, text);
            collect(&View::new(Rc::new(tree), 0)).unwrap().len()
        };
        let iptables = "/etc/sysconfig/iptables";
        assert_eq!(
            collected(iptables, ":INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT\n"),
            1
        );
        assert_eq!(
            collected(
                iptables,
                ":INPUT DROP [0:0]\n-A INPUT -p tcp --dport 22 -j ACCEPT\n"
            ),
            0
        );
        let zone = "/usr/lib/firewalld/zones/public.xml";
        assert_eq!(
            collected(zone, "<zone><service name=\"dhcpv6-client\"/></zone>"),
            1
        );
        assert_eq!(collected(zone, "<zone><service name=\"ssh\"/></zone>"), 0);
        assert_eq!(collected("/etc/ufw/ufw.conf", "ENABLED=yes\n"), 1);
        assert_eq!(collected("/etc/ufw/ufw.conf", "ENABLED=no\n"), 0);
    }
}
