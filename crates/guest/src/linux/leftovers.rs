//! What the old platform has left, and what must not be the same on two servers.

pub(crate) mod rules;
#[cfg(test)]
mod tests;

use crate::Seen;
use crate::known::Known;
use crate::tree::Kind;
use crate::view::View;

use super::source::{Source, below, first};
use super::units::Units;

/// A guest agent of another platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agent {
    pub(crate) seen: Seen,
    /// It sets up accounts or the network, and so disturbs cloud-init.
    pub(crate) provisions: bool,
}

/// Agents by their files, then by their services.
const AGENTS: &[(&[&str], &[&str])] = &[
    (
        &["/usr/sbin/VBoxService", "/opt/VBoxGuestAdditions"],
        &["vboxadd-service", "vboxadd", "virtualbox-guest-utils"],
    ),
    (
        &["/usr/sbin/xe-daemon"],
        &["xe-linux-distribution", "xe-daemon"],
    ),
    (
        &["/usr/bin/prltoolsd", "/usr/lib/parallels-tools"],
        &["prltoolsd"],
    ),
    (
        &["/usr/sbin/hv_kvp_daemon", "/usr/sbin/hypervkvpd"],
        &["hypervkvpd", "hv-kvp-daemon", "hv_kvp_daemon"],
    ),
    (
        &["/usr/bin/amazon-ssm-agent", "/snap/amazon-ssm-agent"],
        &["amazon-ssm-agent"],
    ),
    (&["/usr/local/nutanix/ngt"], &["ngt_guest_agent"]),
    (
        &["/usr/local/share/aliyun-assist", "/usr/local/cloudmonitor"],
        &["aliyun", "cloudmonitor"],
    ),
    (&["/usr/local/qcloud"], &["tat_agent"]),
    (
        &["/usr/libexec/oracle-cloud-agent"],
        &["oracle-cloud-agent"],
    ),
    (&["/usr/share/ovirt-guest-agent"], &["ovirt-guest-agent"]),
];
/// Google's agent, which manages accounts and the network.
const GOOGLE: (&[&str], &[&str]) = (
    &[
        "/usr/bin/google_guest_agent",
        "/usr/bin/google_accounts_daemon",
    ],
    &["google-guest-agent", "google-accounts-daemon"],
);
/// Azure's agent.
const AZURE: (&[&str], &[&str]) = (
    &["/usr/sbin/waagent", "/usr/bin/waagent"],
    &["walinuxagent", "waagent"],
);
/// What makes two servers twins when it is the same on both.
const IDENTITIES: &[&str] = &[
    "/var/lib/systemd/random-seed",
    "/etc/iscsi/initiatorname.iscsi",
    "/var/lib/NetworkManager/secret_key",
];
/// Directories of DHCP leases, with the ends of the files' names.
const LEASES: &[(&str, &str)] = &[
    ("/var/lib/dhclient", ".leases"),
    ("/var/lib/dhclient", ".lease"),
    ("/var/lib/dhcp", ".leases"),
    ("/var/lib/NetworkManager", ".lease"),
    ("/var/lib/dhcpcd", ".lease"),
    ("/var/lib/wicked", ".xml"),
];
/// Registrations that belong to one server.
const REGISTRATIONS: &[&str] = &[
    "/etc/pki/consumer/cert.pem",
    "/etc/insights-client/machine-id",
    "/etc/SUSEConnect",
    "/etc/zypp/credentials.d/SCCcredentials",
    "/var/lib/ubuntu-advantage/private/machine-token.json",
    "/etc/salt/minion_id",
    "/etc/salt/pki/minion/minion.pem",
    "/etc/puppetlabs/puppet/ssl/private_keys",
    "/var/lib/puppet/ssl/private_keys",
    "/etc/chef/client.pem",
    "/var/ossec/etc/client.keys",
    "/var/lib/netdata/registry/netdata.public.unique.id",
];

/// Configuration of agents, with the setting that names the server.
const NAMED: &[(&str, &str)] = &[
    ("/etc/datadog-agent/datadog.yaml", "hostname:"),
    ("/etc/telegraf/telegraf.conf", "hostname ="),
    ("/etc/zabbix/zabbix_agentd.conf", "Hostname="),
    ("/etc/zabbix/zabbix_agent2.conf", "Hostname="),
];

/// What the old platform has left.
#[derive(Clone, Debug)]
pub(crate) struct Leftovers {
    /// VMware's tools of the distribution.
    pub(crate) vmware: Known<Option<Seen>>,
    /// VMware's tools of the tar archive, with modules of their own.
    pub(crate) vmware_archive: Known<Option<Seen>>,
    /// Huawei's drivers for Xen.
    pub(crate) pv_driver: Known<Option<Seen>>,
    pub(crate) agents: Known<Vec<Agent>>,
    /// Lines of X's configuration that name a driver.
    pub(crate) xorg: Known<Vec<Seen>>,
    pub(crate) identities: Known<Vec<Seen>>,
    pub(crate) registrations: Known<Vec<Seen>>,
    pub(crate) qemu_agent: Known<Option<Seen>>,
    /// The line that says that the hardware's clock runs in local time.
    pub(crate) local_clock: Known<Option<Seen>>,
    pub(crate) logs: Known<Vec<Seen>>,
}

impl Leftovers {
    pub(crate) fn collect(view: &View, units: Option<&Units>) -> Self {
        Self {
            vmware: program(
                view,
                units,
                &["/usr/bin/vmtoolsd", "/etc/vmware-tools"],
                &["vmtoolsd", "open-vm-tools", "vmware-tools"],
            ),
            vmware_archive: first(
                view,
                &[
                    "/usr/bin/vmware-uninstall-tools.pl",
                    "/etc/vmware-tools/locations",
                    "/usr/lib/vmware-tools/modules",
                ],
            ),
            pv_driver: first(
                view,
                &[
                    "/etc/.uvp-monitor",
                    "/usr/bin/uvp-monitor",
                    "/etc/init.d/uvp-monitor",
                ],
            ),
            agents: agents(view, units),
            xorg: xorg(view),
            identities: identities(view),
            registrations: registrations(view),
            qemu_agent: first(
                view,
                &[
                    "/usr/bin/qemu-ga",
                    "/usr/sbin/qemu-ga",
                    "/usr/libexec/qemu-ga",
                ],
            ),
            local_clock: local_clock(view),
            logs: logs(view),
        }
    }
}

/// Those of `paths` that exist.
fn all(view: &View, paths: &[&str]) -> Known<Vec<Seen>> {
    let mut seen = Vec::new();
    for path in paths {
        seen.extend(first(view, &[path])?);
    }
    Ok(seen)
}

/// A program by its files or its services.
fn program(
    view: &View,
    units: Option<&Units>,
    files: &[&str],
    services: &[&str],
) -> Known<Option<Seen>> {
    let service = || units.and_then(|units| units.path(services)).map(Seen::at);
    Ok(first(view, files)?.or_else(service))
}

fn agents(view: &View, units: Option<&Units>) -> Known<Vec<Agent>> {
    let found = |(files, services): (&[&str], &[&str])| program(view, units, files, services);
    let mut agents = Vec::new();
    for agent in AGENTS {
        agents.extend(found(*agent)?.map(|seen| Agent {
            seen,
            provisions: false,
        }));
    }
    agents.extend(found(GOOGLE)?.map(|seen| Agent {
        seen,
        provisions: true,
    }));
    if let Some(seen) = found(AZURE)? {
        agents.push(azure(view, seen)?);
    }
    Ok(agents)
}

/// Files of registrations, and lines that give agents the server's name.
fn registrations(view: &View) -> Known<Vec<Seen>> {
    let mut seen = all(view, REGISTRATIONS)?;
    for (path, setting) in NAMED {
        let Some(file) = Source::read(view, path)? else {
            continue;
        };
        let line = file.lines().find_map(|(line, text)| {
            let value = text.strip_prefix(setting.as_bytes())?.trim_ascii();
            (!value.is_empty() && value != b"\"\"").then(|| Seen::line(path, line, text))
        });
        seen.extend(line);
    }
    Ok(seen)
}

/// Azure's agent, which sets up accounts unless it leaves that to cloud-init.
fn azure(view: &View, seen: Seen) -> Known<Agent> {
    let file = Source::read(view, "/etc/waagent.conf")?;
    let line = file.as_ref().and_then(|file| {
        file.ini()
            .iter()
            .rev()
            .find(|is| is.key == "Provisioning.Enabled" && is.value.starts_with(['y', 'Y']))
            .map(|is| file.seen(is.line))
    });
    Ok(match line {
        Some(seen) => Agent {
            seen,
            provisions: true,
        },
        None => Agent {
            seen,
            provisions: false,
        },
    })
}

/// Drivers for graphics cards that the cloud's machine does not have.
fn xorg(view: &View) -> Known<Vec<Seen>> {
    const GENERAL: &[&str] = &["modesetting", "fbdev", "vesa", "cirrus", "qxl", "dummy"];
    let mut files = Vec::new();
    files.extend(Source::read(view, "/etc/X11/xorg.conf")?);
    files.extend(Source::all(view, "/etc/X11/xorg.conf.d", |name| {
        name.ends_with(b".conf")
    })?);
    let mut seen = Vec::new();
    for file in &files {
        let mut in_device = false;
        for (line, text) in file.lines() {
            let text = String::from_utf8_lossy(text);
            let mut words = text.split_ascii_whitespace();
            let keyword = words.next().unwrap_or_default().to_ascii_lowercase();
            let value = words
                .next()
                .unwrap_or_default()
                .trim_matches('"')
                .to_ascii_lowercase();
            match keyword.as_str() {
                "section" => in_device = value == "device",
                "endsection" => in_device = false,
                "driver" if in_device && !GENERAL.contains(&value.as_str()) => {
                    seen.push(file.seen(line));
                }
                _ => {}
            }
        }
    }
    Ok(seen)
}

fn identities(view: &View) -> Known<Vec<Seen>> {
    let mut seen = Vec::new();
    if let Some(file) = Source::read(view, "/etc/machine-id")?
        && let Some((_, id)) = file.lines().next()
        && id.len() == 32
        && id.iter().all(u8::is_ascii_hexdigit)
    {
        seen.push(file.whole());
    }
    let copy = "/var/lib/dbus/machine-id";
    if view
        .link_stat(copy)?
        .is_some_and(|stat| stat.kind == Kind::File && stat.size > 0)
    {
        seen.push(Seen::at(copy));
    }
    for entry in view.list("/etc/ssh")? {
        if entry.name.starts_with(b"ssh_host_") && entry.name.ends_with(b"_key") {
            seen.push(Seen::at(below("/etc/ssh", &entry.name)));
        }
    }
    seen.extend(all(view, IDENTITIES)?);
    for (directory, end) in LEASES {
        let entries = view.list(directory)?;
        let lease = entries
            .iter()
            .find(|entry| entry.name.ends_with(end.as_bytes()));
        seen.extend(lease.map(|entry| Seen::at(below(directory, &entry.name))));
    }
    Ok(seen)
}

/// The third line of `/etc/adjtime`.
fn local_clock(view: &View) -> Known<Option<Seen>> {
    let Some(file) = Source::read(view, "/etc/adjtime")? else {
        return Ok(None);
    };
    let third = file.lines().nth(2);
    Ok(third
        .filter(|(_, text)| *text == b"LOCAL")
        .map(|(line, text)| Seen::line(&file.path, line, text)))
}

/// Histories of shells, and logs that were put away.
fn logs(view: &View) -> Known<Vec<Seen>> {
    let mut seen = Vec::new();
    let mut homes = vec![b"/root".to_vec()];
    let names = view.list("/home")?;
    homes.extend(
        names
            .iter()
            .take(64)
            .map(|entry| below("/home", &entry.name)),
    );
    for home in homes {
        for name in [".bash_history", ".zsh_history", ".ash_history"] {
            let path = [home.as_slice(), b"/", name.as_bytes()].concat();
            if view
                .stat(&path)?
                .is_some_and(|stat| stat.kind == Kind::File && stat.size > 0)
            {
                seen.push(Seen::at(path));
            }
        }
    }
    let old = |name: &[u8]| {
        let ends = [&b".gz"[..], b".xz", b".bz2", b".zst", b".1", b".old"];
        ends.iter().any(|end| name.ends_with(end))
    };
    let logs = view.list("/var/log")?;
    let log = logs
        .iter()
        .find(|entry| entry.kind == Kind::File && old(&entry.name));
    seen.extend(log.map(|entry| Seen::at(below("/var/log", &entry.name))));
    Ok(seen)
}
