//! How the guest sets up its network.

pub(crate) mod binding;
mod ifcfg;
mod interfaces;
mod keyfile;
pub(crate) mod lease;
mod netplan;
mod networkd;
mod profile;
pub(crate) mod reach;
mod udev;

use crate::known::Known;
use crate::view::View;
use crate::{Judgement, Seen};

use super::source::{Setting, Source, first, last};
use super::units::{State, Units};
use keyfile::Defaults;
use profile::{Profile, Reader};

/// A file with a setting that a rule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// The line, or the file when it has no such line.
    pub(crate) seen: Seen,
    /// Empty when it is not set.
    pub(crate) value: String,
}

/// How the guest sets up its network.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) profiles: Vec<Profile>,
    /// Why some profiles could not be read.
    pub(crate) unread: Option<String>,
    /// Lines of udev rules that name an interface by its MAC address.
    pub(crate) udev: Known<Vec<Seen>>,
    /// Lines of `.link` files that find an interface by its MAC address.
    pub(crate) links: Vec<Seen>,
    /// netplan is installed.
    pub(crate) netplan: bool,
    /// What NetworkManager does with interfaces that have no connection.
    pub(crate) defaults: Known<Defaults>,
    /// `NOZEROCONF` of Red Hat's `/etc/sysconfig/network`.
    pub(crate) zeroconf: Known<Asked>,
    /// `PERSISTENT_DHCLIENT` of Red Hat's interfaces with DHCP.
    pub(crate) persistent: Known<Vec<Asked>>,
    /// `DHCLIENT_USE_LAST_LEASE` of SUSE; `None` when it has no file for it.
    pub(crate) last_lease: Known<Option<Asked>>,
}

impl Network {
    /// Profiles that take effect: those whose services start with the system, or, where none does,
    /// all: one of them is meant to.
    fn in_use(&self, units: &Units) -> Vec<&Profile> {
        let started = || self.profiles.iter().filter(|profile| profile.starts);
        let read = |profile: &&Profile| profile.reader.state(units) == State::Enabled;
        let enabled: Vec<&Profile> = started().filter(read).collect();
        if enabled.is_empty() {
            started().collect()
        } else {
            enabled
        }
    }

    /// Profiles that could not be read leave a rule open that would else be kept.
    fn unread(&self, judgement: &mut Judgement) {
        if let Some(reason) = &self.unread {
            judgement.unknown(reason.clone());
        }
    }

    pub(crate) fn collect(view: &View) -> Self {
        let mut unread = None;
        let mut profiles = Vec::new();
        for read in [
            ifcfg::red_hat(view),
            ifcfg::suse(view),
            keyfile::profiles(view),
            interfaces::profiles(view),
        ] {
            match read {
                Ok(read) => profiles.extend(read),
                Err(reason) => unread = unread.or(Some(reason)),
            }
        }
        let mut links = Vec::new();
        match networkd::collect(view) {
            Ok((read, found)) => {
                profiles.extend(read);
                links = found;
            }
            Err(reason) => unread = unread.or(Some(reason)),
        }
        let mut defaults = Defaults::collect(view);
        match netplan::collect(view) {
            Ok(netplan) => {
                profiles.extend(netplan.profiles);
                if let (true, Ok(defaults)) = (netplan.network_manager, &mut defaults) {
                    defaults.unmanaged = false;
                }
            }
            Err(reason) => unread = unread.or(Some(reason)),
        }
        Self {
            persistent: persistent(view, &profiles),
            profiles,
            unread,
            udev: udev::collect(view),
            netplan: first(view, netplan::PROGRAMS).is_ok_and(|program| program.is_some()),
            links,
            defaults,
            zeroconf: asked(view, "/etc/sysconfig/network", "NOZEROCONF").map(|asked| {
                asked.unwrap_or_else(|| Asked {
                    seen: Seen::at("/etc/sysconfig/network"),
                    value: String::new(),
                })
            }),
            last_lease: asked(
                view,
                "/etc/sysconfig/network/dhcp",
                "DHCLIENT_USE_LAST_LEASE",
            ),
        }
    }
}

/// The setting `key` of the file at `path`, or `None` when there is no file.
fn asked(view: &View, path: impl AsRef<[u8]>, key: &str) -> Known<Option<Asked>> {
    Ok(Source::read(view, path)?.map(|file| {
        let settings: Vec<Setting> = file.shell();
        match last(&settings, key) {
            Some(setting) => Asked {
                seen: file.seen(setting.line),
                value: setting.value.clone(),
            },
            None => Asked {
                seen: file.whole(),
                value: String::new(),
            },
        }
    }))
}

fn persistent(view: &View, profiles: &[Profile]) -> Known<Vec<Asked>> {
    let mut files = Vec::new();
    for profile in profiles {
        let has_client = profile.addressing == profile::Addressing::Dhcp && profile.starts;
        if profile.reader == Reader::RedHat && has_client {
            files.extend(asked(view, &profile.seen.path, "PERSISTENT_DHCLIENT")?);
        }
    }
    Ok(files)
}
