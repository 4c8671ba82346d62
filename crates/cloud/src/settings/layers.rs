//! The places that settings come from, the strongest first.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use diskimg::text::shown;
use net::secret::{ExposeSecret as _, SecretString};

use super::names::{Item, SPECS, Spec};
use super::{Environment, Origin};

/// Where the values of a layer come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// [`super::CloudOptions`].
    Options,
    /// The process's environment.
    Environment,
    /// A profile of the configuration file.
    Profile { name: String, path: PathBuf },
    /// A cloud of OpenStack's `clouds.yaml`.
    Openstack { name: String, path: PathBuf },
}

impl Place {
    /// Where the value of `spec` comes from.
    pub(crate) fn origin(&self, spec: &Spec) -> Origin {
        match self {
            Self::Options => Origin::Options,
            Self::Environment => {
                Origin::Elsewhere(spec.variable.unwrap_or("environment").to_owned())
            }
            Self::Profile { .. } | Self::Openstack { .. } => Origin::Elsewhere(self.to_string()),
        }
    }

    /// Whether the switch `name`, which has `value` here, is on.
    ///
    /// # Errors
    /// The value is neither a yes nor a no.
    pub(crate) fn is_yes(&self, name: Item, value: &str) -> Result<bool, String> {
        match value.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(true),
            "0" | "false" | "no" | "off" => Ok(false),
            _ => Err(format!(
                "{} is {value:?}, expected true or false",
                self.name(name)
            )),
        }
    }

    /// What the setting is called there, for messages.
    pub(crate) fn name(&self, name: Item) -> String {
        let Some(spec) = name.spec() else {
            return self.to_string();
        };
        match self {
            Self::Options => spec.key.to_owned(),
            Self::Environment => spec.variable.unwrap_or(spec.key).to_owned(),
            Self::Profile { .. } | Self::Openstack { .. } => format!("{} of {self}", spec.key),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options => f.write_str("options"),
            Self::Environment => f.write_str("environment"),
            Self::Profile { name, path } => write!(f, "profile {name} in {}", shown(&path)),
            Self::Openstack { name, path } => write!(f, "cloud {name} in {}", shown(&path)),
        }
    }
}

/// The values of one place. All are kept as secrets, so that none is shown by accident.
#[derive(Clone)]
pub(crate) struct Layer {
    pub(crate) place: Place,
    values: BTreeMap<Item, SecretString>,
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer")
            .field("place", &self.place)
            .field("names", &self.values.keys())
            .finish()
    }
}

impl Layer {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            place,
            values: BTreeMap::new(),
        }
    }

    /// What the environment has.
    pub(crate) fn environment(env: &dyn Environment) -> Self {
        let mut layer = Self::new(Place::Environment);
        for spec in SPECS {
            layer.set(spec.name, spec.variable.and_then(|name| env.get(name)));
        }
        layer
    }

    /// Sets a value, if there is one. A password may begin or end with spaces, but not with the line
    /// break at the end of a file; other values are trimmed. Empty values are ignored.
    pub(crate) fn set(&mut self, name: Item, value: Option<String>) {
        let Some(value) = value else { return };
        let value = match name {
            Item::UserPassword => value.trim_end_matches(['\r', '\n']),
            _ => value.trim(),
        };
        if !value.is_empty() {
            self.values.insert(name, value.to_owned().into());
        }
    }

    pub(crate) fn get(&self, name: Item) -> Option<&str> {
        self.values.get(&name).map(|value| value.expose_secret())
    }

    pub(crate) fn remove(&mut self, name: Item) {
        self.values.remove(&name);
    }
}

/// A value, and the place that it was found in.
#[derive(Clone, Copy)]
pub(crate) struct Found<'a> {
    pub(crate) value: &'a str,
    pub(crate) place: &'a Place,
}

/// All places, the strongest first.
#[derive(Debug)]
pub(crate) struct Layers(pub(crate) Vec<Layer>);

impl Layers {
    /// The strongest value of a setting.
    pub(crate) fn get(&self, name: Item) -> Option<Found<'_>> {
        self.0.iter().find_map(|layer| {
            layer.get(name).map(|value| Found {
                value,
                place: &layer.place,
            })
        })
    }

    /// Whether a switch is on.
    ///
    /// # Errors
    /// The value of the environment is neither a yes nor a no.
    pub(crate) fn is_on(&self, name: Item) -> Result<bool, String> {
        self.get(name)
            .map_or(Ok(false), |found| found.place.is_yes(name, found.value))
    }
}
