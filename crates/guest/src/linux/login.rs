//! Who can log in, and how: accounts, cloud-init, SSH.

pub(crate) mod access;
mod accounts;
mod cloud_init;
mod firewall;
pub(crate) mod metadata;
pub(crate) mod passwords;
mod sshd;
pub(crate) mod ways;

use crate::Seen;
use crate::known::Known;
use crate::view::View;

use super::source::first;
use super::units::Units;
use accounts::Account;
use cloud_init::CloudInit;
use sshd::Sshd;

/// Who can log in, and how.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) accounts: Known<Vec<Account>>,
    pub(crate) cloud_init: CloudInit,
    pub(crate) sshd: Sshd,
    /// `/etc/nologin`.
    pub(crate) nologin: Known<Option<Seen>>,
    /// Firewalls without a rule for SSH, with the service that loads them; `None`: always loaded.
    pub(crate) firewalls: Known<Vec<(Option<&'static str>, Seen)>>,
    /// Huawei Cloud's agent that sets passwords.
    pub(crate) password_agent: Known<Option<Seen>>,
    /// `/home/linux`.
    pub(crate) home_linux: Known<Option<Seen>>,
}

impl Login {
    pub(crate) fn collect(view: &View, units: Option<&Units>) -> Self {
        let sshd = Sshd::collect(view, units);
        let keys = sshd
            .config
            .as_ref()
            .ok()
            .and_then(|config| config.keys.clone());
        Self {
            accounts: accounts::collect(view, keys.as_deref()),
            cloud_init: CloudInit::collect(view),
            sshd,
            nologin: first(view, &["/etc/nologin"]),
            firewalls: firewall::collect(view),
            password_agent: first(view, &["/CloudrResetPwdAgent", "/CloudResetPwdAgent"]),
            home_linux: first(view, &["/home/linux"]),
        }
    }
}
