//! Settings that decide whether somebody can reach and use the server.

use super::registry::{self, CONTROL, Registry, SOFTWARE};
use super::services::{self, SERVICES, Service};
use crate::budget::MAX_FILE;
use crate::known::Known;
use crate::view::View;
use crate::{Facts, Judgement, Remedy, Rule, Seen, Severity, Source};

const PARTMGR: &str = r"Services\partmgr\Parameters";
const INTERFACES: &str = r"Services\Tcpip\Parameters\Interfaces";
const TERMINAL_SERVER: &str = r"Control\Terminal Server";
const FIREWALL: &str = r"Services\SharedAccess\Parameters\FirewallPolicy";
const SETUP_STATE: &str = r"Microsoft\Windows\CurrentVersion\Setup\State";
/// The account that is made with Windows, whatever its name.
const ADMINISTRATOR: &str = r"SAM\Domains\Account\Users\000001F4";
const CLOUDBASE_FILE: &str =
    "/Program Files/Cloudbase Solutions/Cloudbase-Init/conf/cloudbase-init.conf";

/// How the server can be reached.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `SanPolicy`.
    pub(crate) san: Known<Option<u32>>,
    /// Network interfaces without DHCP: their keys and addresses.
    pub(crate) fixed: Known<Vec<(String, String)>>,
    /// `fDenyTSConnections`.
    pub(crate) deny_remote: Known<Option<u32>>,
    /// The service for remote desktops.
    pub(crate) terminal: Known<Option<Service>>,
    /// The firewall's rules for remote desktops, all of which are off; empty if one is on.
    pub(crate) firewall: Known<Vec<String>>,
    /// The account Administrator is disabled.
    pub(crate) administrator_disabled: Known<bool>,
    pub(crate) cloudbase: Known<Option<Service>>,
    /// The first line of Cloudbase-Init's configuration that names metadata services.
    pub(crate) cloudbase_services: Known<Option<(u32, String)>>,
    /// `SystemSetupInProgress`.
    pub(crate) in_setup: Known<Option<u32>>,
    /// `ImageState`.
    pub(crate) image_state: Known<Option<String>>,
    /// A file that answers the questions of the first start is there.
    pub(crate) answers: Known<bool>,
}

pub(super) fn collect(registry: &Registry, view: &View, directory: &str) -> Settings {
    let service = |name| services::service(registry, view, directory, name);
    Settings {
        san: registry.control_number(PARTMGR, "SanPolicy"),
        fixed: fixed(registry),
        deny_remote: registry.control_number(TERMINAL_SERVER, "fDenyTSConnections"),
        terminal: service("TermService"),
        firewall: firewall(registry),
        administrator_disabled: administrator_disabled(view, directory),
        cloudbase: service("cloudbase-init"),
        cloudbase_services: cloudbase_services(view),
        in_setup: in_setup(registry),
        image_state: image_state(registry),
        answers: answers(view, directory),
    }
}

fn fixed(registry: &Registry) -> Known<Vec<(String, String)>> {
    let mut fixed = Vec::new();
    let Some(interfaces) = registry.control(INTERFACES)? else {
        return Ok(fixed);
    };
    for key in interfaces.keys()? {
        if key.number("EnableDHCP")? != Some(0) {
            continue;
        }
        let mut addresses = key.texts("IPAddress")?;
        addresses.retain(|address| !address.is_empty() && address != "0.0.0.0");
        if !addresses.is_empty() {
            fixed.push((key.name, addresses.join(", ")));
        }
    }
    Ok(fixed)
}

fn firewall(registry: &Registry) -> Known<Vec<String>> {
    // New networks are public ones; without a firewall no rule matters.
    let public = format!(r"{FIREWALL}\PublicProfile");
    if registry.control_number(&public, "EnableFirewall")? == Some(0) {
        return Ok(Vec::new());
    }
    let Some(key) = registry.control(&format!(r"{FIREWALL}\FirewallRules"))? else {
        return Ok(Vec::new());
    };
    let mut off = Vec::new();
    for (name, value) in key.values()? {
        let text = value.text().unwrap_or_default();
        let has = |field: &str| text.split('|').any(|part| part.eq_ignore_ascii_case(field));
        if has("LPort=3389") && has("Protocol=6") && has("Dir=In") && has("Action=Allow") {
            if has("Active=TRUE") {
                return Ok(Vec::new());
            }
            off.push(name);
        }
    }
    Ok(off)
}

/// Of the accounts only this flag is read: no hash, no name.
fn administrator_disabled(view: &View, directory: &str) -> Known<bool> {
    let hive = registry::open(view, &registry::hive_path(directory, "SAM"))?;
    let account = match hive.key(ADMINISTRATOR)? {
        Some(key) => key.value("F")?,
        None => None,
    };
    match account.and_then(|value| value.data.get(0x38).copied()) {
        Some(flags) => Ok(flags & 1 != 0),
        None => Err("the account Administrator is not in the hive SAM".into()),
    }
}

fn cloudbase_services(view: &View) -> Known<Option<(u32, String)>> {
    let Some(content) = view.read(CLOUDBASE_FILE, MAX_FILE)? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&content);
    Ok((1..).zip(text.lines()).find_map(|(number, line)| {
        let (key, _) = line.split_once('=')?;
        (key.trim() == "metadata_services").then(|| (number, line.trim().to_owned()))
    }))
}

fn in_setup(registry: &Registry) -> Known<Option<u32>> {
    match registry.system("Setup")? {
        Some(key) => key.number("SystemSetupInProgress"),
        None => Ok(None),
    }
}

fn image_state(registry: &Registry) -> Known<Option<String>> {
    match registry.software(SETUP_STATE)? {
        Some(key) => key.text("ImageState"),
        None => Ok(None),
    }
}

/// Whether a file is where the first start looks for answers.
fn answers(view: &View, directory: &str) -> Known<bool> {
    for path in [
        "Panther/Unattend/Unattend.xml",
        "Panther/Unattend.xml",
        "System32/Sysprep/Unattend.xml",
    ] {
        if view.exists(format!("{directory}/{path}"))? {
            return Ok(true);
        }
    }
    Ok(view.exists("/Unattend.xml")? || view.exists("/Autounattend.xml")?)
}

pub(crate) const RULES: &[Rule] = &[
    Rule {
        id: "windows-san-policy",
        severity: Severity::Degraded,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030730602",
        text: "Windows leaves new disks offline: data disks of the server do not appear.",
        remedy: Remedy {
            windows: &["echo san policy=onlineall| diskpart"],
            ..Remedy::NONE
        },
        check: san,
    },
    Rule {
        id: "windows-static-ip",
        severity: Severity::Degraded,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030713152",
        text: "A network interface has a fixed address. The server's own gets its address by DHCP, \
               and the old settings stay with a device that is gone and clash later.",
        remedy: Remedy {
            windows: &[
                r#"netsh interface ip set address "Ethernet" dhcp"#,
                r#"netsh interface ip set dns "Ethernet" dhcp"#,
            ],
            ..Remedy::NONE
        },
        check: fixed_address,
    },
    Rule {
        id: "windows-rdp",
        severity: Severity::Degraded,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030713155",
        text: "Remote desktop is off; the server can be used only from the cloud's console.",
        remedy: Remedy {
            windows: &[
                concat!(
                    r#"reg add "HKLM\SYSTEM\CurrentControlSet\Control\Terminal Server""#,
                    " /v fDenyTSConnections /t REG_DWORD /d 0 /f",
                ),
                "sc config TermService start= demand",
                r#"netsh advfirewall firewall set rule group="remote desktop" new enable=yes"#,
            ],
            ..Remedy::NONE
        },
        check: remote_desktop,
    },
    Rule {
        id: "windows-admin",
        severity: Severity::NoLogin,
        source: Source::Vendor,
        cite: "Image Management Service API, constraints of image files",
        text: "The account Administrator is disabled, and no Cloudbase-Init sets a password.",
        remedy: Remedy {
            windows: &["net user Administrator /active:yes"],
            ..Remedy::NONE
        },
        check: administrator,
    },
    Rule {
        id: "windows-cloudbase-init",
        severity: Severity::Advice,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0030730602",
        text: "Cloudbase-Init is not at work: the server takes no password, no name and no user \
               data from the cloud. Install it, with the metadata services HttpService and \
               ConfigDriveService.",
        remedy: Remedy::NONE,
        check: cloudbase,
    },
    Rule {
        id: "windows-setup-state",
        severity: Severity::NoLogin,
        source: Source::Vendor,
        cite: "Open Telekom Cloud, Image Management Service, 0093887081",
        text: "Before Windows becomes the image of several servers, it should be generalised, with \
               a file that answers the questions of the first start.",
        remedy: Remedy {
            windows: &["sysprep /generalize /oobe /shutdown /unattend:Unattend.xml"],
            ..Remedy::NONE
        },
        check: setup_state,
    },
];

/// The key at `path` of the control set, as reports name it.
fn key(path: &str) -> String {
    format!(r"{CONTROL}\{path}")
}

fn san(facts: &Facts, judgement: &mut Judgement) {
    let Some(windows) = &facts.windows else {
        return;
    };
    let Some(policy) = judgement.known(&windows.settings.san) else {
        return;
    };
    let text = match policy {
        Some(1) => return,
        Some(policy) => format!("SanPolicy = {policy}"),
        // The default keeps disks offline on these editions of servers only.
        None => {
            let edition = facts.os.as_ref().and_then(|os| os.edition.as_deref());
            let server = matches!(&windows.product, Ok(product) if product.server);
            if !server || !matches!(edition, Some("Enterprise" | "Datacenter")) {
                return;
            }
            "SanPolicy is missing".to_owned()
        }
    };
    judgement.found(Severity::Degraded, Seen::at(key(PARTMGR)).with(text));
}

fn fixed_address(facts: &Facts, judgement: &mut Judgement) {
    let Some(fixed) = facts
        .windows
        .as_ref()
        .and_then(|it| judgement.known(&it.settings.fixed))
    else {
        return;
    };
    for (interface, addresses) in fixed {
        let seen = Seen::at(key(&format!(r"{INTERFACES}\{interface}"))).with(addresses);
        judgement.found(Severity::Degraded, seen);
    }
}

fn remote_desktop(facts: &Facts, judgement: &mut Judgement) {
    let Some(windows) = &facts.windows else {
        return;
    };
    let settings = &windows.settings;
    if let Some(deny) = judgement.known(&settings.deny_remote)
        && *deny != Some(0)
    {
        let text = match deny {
            Some(number) => format!("fDenyTSConnections = {number}"),
            None => "fDenyTSConnections is missing".to_owned(),
        };
        judgement.found(
            Severity::Degraded,
            Seen::at(key(TERMINAL_SERVER)).with(text),
        );
    }
    if let Some(Some(service)) = judgement.known(&settings.terminal)
        && service.disabled()
    {
        let seen = Seen::at(key(&format!(r"{SERVICES}\TermService"))).with("Start = 4");
        judgement.found(Severity::Degraded, seen);
    }
    for rule in judgement.known(&settings.firewall).into_iter().flatten() {
        let seen = Seen::at(key(&format!(r"{FIREWALL}\FirewallRules")));
        judgement.found(
            Severity::Degraded,
            seen.with(format!("{rule}: Active=FALSE")),
        );
    }
}

fn administrator(facts: &Facts, judgement: &mut Judgement) {
    let Some(windows) = &facts.windows else {
        return;
    };
    let settings = &windows.settings;
    let Some(cloudbase) = judgement.known(&settings.cloudbase) else {
        return;
    };
    if cloudbase
        .as_ref()
        .is_some_and(|service| !service.disabled())
    {
        return;
    }
    if let Some(true) = judgement.known(&settings.administrator_disabled) {
        let seen = Seen::at(r"HKLM\SAM").with("Administrator: disabled");
        judgement.found(Severity::NoLogin, seen);
    }
}

fn cloudbase(facts: &Facts, judgement: &mut Judgement) {
    let Some(windows) = &facts.windows else {
        return;
    };
    let settings = &windows.settings;
    let Some(service) = judgement.known(&settings.cloudbase) else {
        return;
    };
    let at = || Seen::at(key(&format!(r"{SERVICES}\cloudbase-init")));
    match service {
        None => return judgement.found(Severity::Advice, at().with("missing")),
        Some(service) if service.disabled() => {
            return judgement.found(Severity::Advice, at().with("Start = 4"));
        }
        Some(_) => {}
    }
    // Without such a line its defaults have both.
    if let Some(Some((line, text))) = judgement.known(&settings.cloudbase_services)
        && !text.contains("HttpService")
        && !text.contains("ConfigDrive")
    {
        judgement.found(Severity::Advice, Seen::line(CLOUDBASE_FILE, *line, text));
    }
}

fn setup_state(facts: &Facts, judgement: &mut Judgement) {
    let Some(windows) = &facts.windows else {
        return;
    };
    let settings = &windows.settings;
    let in_setup = judgement.known(&settings.in_setup).copied().flatten();
    let state = judgement.known(&settings.image_state).cloned().flatten();
    let waits = state.as_deref() == Some("IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE");
    let state_key = format!(r"{SOFTWARE}\{SETUP_STATE}");
    if waits || in_setup == Some(1) {
        let seen = if waits {
            Seen::at(state_key).with(state.unwrap_or_default())
        } else {
            Seen::at(r"HKLM\SYSTEM\Setup").with("SystemSetupInProgress = 1")
        };
        if let Some(false) = judgement.known(&settings.answers) {
            judgement.note("Here no such file is found, and the server stops at these questions.");
            judgement.found(Severity::NoLogin, seen);
        }
    } else if let Some(state) = state.filter(|state| state == "IMAGE_STATE_COMPLETE") {
        judgement.note("Servers of this image would share its security identifier.");
        judgement.found(Severity::Advice, Seen::at(state_key).with(state));
    }
}

#[cfg(test)]
mod tests;
