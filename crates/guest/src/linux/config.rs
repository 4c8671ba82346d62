//! How a Linux is configured: everything that rules ask about.

use crate::known::Known;
use crate::view::View;

use super::leftovers::Leftovers;
use super::login::Login;
use super::network::Network;
use super::storage::Storage;
use super::units::Units;

/// How a Linux is configured.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) units: Known<Units>,
    pub(crate) storage: Storage,
    pub(crate) network: Network,
    pub(crate) login: Login,
    pub(crate) leftovers: Leftovers,
}

impl Config {
    /// Reads the configuration of the guest that `view` shows.
    pub(crate) fn collect(view: &View) -> Self {
        let units = Units::collect(view);
        Self {
            storage: Storage::collect(view),
            network: Network::collect(view),
            login: Login::collect(view, units.as_ref().ok()),
            leftovers: Leftovers::collect(view, units.as_ref().ok()),
            units,
        }
    }
}
