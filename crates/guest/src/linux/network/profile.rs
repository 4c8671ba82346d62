//! What all kinds of network configuration have in common.

use crate::Seen;
use crate::linux::units::{State, Units};

/// Interfaces that one kind of configuration may set up.
pub(crate) const MAX_PROFILES: usize = 1024;

/// Who reads a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// `/etc/sysconfig/network-scripts`: the network scripts, or NetworkManager.
    RedHat,
    /// `/etc/sysconfig/network`: wicked, or SUSE's network scripts.
    Suse,
    NetworkManager,
    Networkd,
    /// netplan, which writes it for networkd and starts that.
    NetplanNetworkd,
    /// netplan, which writes it for NetworkManager.
    NetplanNetworkManager,
    /// `/etc/network/interfaces`.
    Ifupdown,
}

impl Reader {
    /// Whether it starts with the system.
    pub(crate) fn state(self, units: &Units) -> State {
        match self {
            Self::RedHat => units.best(&["NetworkManager", "network"]),
            Self::Suse => units.best(&["wicked", "network"]),
            Self::NetworkManager | Self::NetplanNetworkManager => {
                units.best(&["NetworkManager", "network-manager"])
            }
            Self::Networkd => units.state("systemd-networkd"),
            // netplan's generator starts it.
            Self::NetplanNetworkd => match units.state("systemd-networkd") {
                State::Disabled => State::Enabled,
                state => state,
            },
            Self::Ifupdown => units.best(&["networking", "network-interface"]),
        }
    }
}

/// Which interfaces a configuration is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Matching {
    #[default]
    Any,
    /// Interfaces with these names, or with names that these patterns match.
    Names(Vec<String>),
    /// Interfaces with another property: a MAC address, a driver, a place on the bus.
    Property,
}

/// How an interface gets its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Addressing {
    #[default]
    None,
    Static,
    Dhcp,
}

/// The configuration of one interface, or of several by a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) reader: Reader,
    /// Where it is.
    pub(crate) seen: Seen,
    pub(crate) matching: Matching,
    /// Lines that bind it to a MAC address.
    pub(crate) mac: Vec<Seen>,
    pub(crate) addressing: Addressing,
    /// Lines with static addresses.
    pub(crate) fixed: Vec<Seen>,
    /// The line that makes it a bond, a bridge or a VLAN, or a part of one.
    pub(crate) layer: Option<Seen>,
    /// It is brought up when the system starts.
    pub(crate) starts: bool,
}

impl Profile {
    pub(crate) fn new(reader: Reader, seen: Seen) -> Self {
        Self {
            reader,
            seen,
            matching: Matching::Any,
            mac: Vec::new(),
            addressing: Addressing::None,
            fixed: Vec::new(),
            layer: None,
            starts: true,
        }
    }

    /// Whether it is for a new interface with whatever MAC address, place and name.
    pub(crate) fn fits_any(&self) -> bool {
        self.starts
            && self.mac.is_empty()
            && self.addressing == Addressing::Dhcp
            && match &self.matching {
                Matching::Any => true,
                Matching::Names(names) => names.iter().any(|name| is_general(name)),
                Matching::Property => false,
            }
    }
}

/// Whether `name` is a pattern for Ethernet interfaces, however they are called.
fn is_general(name: &str) -> bool {
    name.contains(['*', '?', '[']) && (name.starts_with(['*', '?', '[']) || name.starts_with("e"))
}
