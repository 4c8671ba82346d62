//! The operator of the cloud: accounts belong to one, and no key or token may reach another.

use ims::Cloud;

use super::layers::{Found, Layers};
use super::names::Item;
use crate::hint::{Hint, Problem};

/// The addresses, each of which may be given.
const ENDPOINTS: [Item; 3] = [Item::IamEndpoint, Item::ImsEndpoint, Item::ObsEndpoint];

/// The operator, and how it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operator {
    pub(super) cloud: Cloud,
    /// In words; `None` where the user named it.
    pub(super) by: Option<&'static str>,
}

/// The operator of the cloud at `region`; `None` where every address is given, or where no region
/// is.
///
/// # Errors
/// When the settings name no operator, or two.
pub(super) fn choose(
    layers: &Layers,
    given: Option<Cloud>,
    region: Option<&str>,
) -> Result<Option<Operator>, Problem> {
    let named = given.map(|cloud| Operator { cloud, by: None });
    let addresses = ENDPOINTS.map(|name| (name, layers.get(name)));
    // Nothing follows from the operator then.
    if addresses.iter().all(|(_, found)| found.is_some()) {
        return Ok(named);
    }
    let Some(region) = region else {
        return Ok(named);
    };
    let by_region = Cloud::of_region(region).map(|(cloud, _)| cloud);
    if let (Some(given), Some(other)) = (given, by_region)
        && given != other
    {
        return Err(Problem::new(
            format!("region {region} belongs to {other}, and the cloud is {given}"),
            Hint::ChangeOperator(Some(other)),
        ));
    }
    let by_address = addresses
        .iter()
        .find_map(|(_, found)| Cloud::of_host(&host(*found.as_ref()?)?));
    let of = |cloud: Option<Cloud>, by| {
        cloud.map(|cloud| Operator {
            cloud,
            by: Some(by),
        })
    };
    let operator = named
        .or_else(|| of(by_region, "by the region"))
        .or_else(|| of(by_address, "by an address that is given"))
        .ok_or_else(|| unknown(region))?;
    for (name, found) in addresses {
        if let Some(found) = found {
            fits(name, found, operator, region)?;
        }
    }
    Ok(Some(operator))
}

/// Refuses an address whose keys or tokens would reach another operator at the addresses that are
/// not given.
fn fits(name: Item, found: Found<'_>, operator: Operator, region: &str) -> Result<(), Problem> {
    let Some(host) = host(found) else {
        // What is not an address is refused as such.
        return Ok(());
    };
    let Operator { cloud, by } = operator;
    let owner = Cloud::of_host(&host);
    // Tokens come from the identity service: its operator must be known, or the user must have
    // named the cloud.
    let foreign = match owner {
        Some(owner) => owner != cloud,
        None => name == Item::IamEndpoint && by.is_some(),
    };
    if !foreign {
        return Ok(());
    }
    let owner = owner.map_or_else(|| "no known cloud".to_owned(), |owner| owner.to_string());
    Err(Problem::new(
        format!(
            "{} is at {host}, which belongs to {owner}, and region {region} belongs to {cloud}: \
             its keys and tokens would reach another operator",
            found.place.name(name)
        ),
        Hint::ChangeOperator(None),
    ))
}

/// Read as the address is read later: a host without a scheme counts.
fn host(found: Found<'_>) -> Option<String> {
    Some(
        net::endpoint::parse(found.value)
            .ok()?
            .host_str()?
            .to_owned(),
    )
}

fn unknown(region: &str) -> Problem {
    let known: Vec<String> = Cloud::ALL
        .into_iter()
        .map(|cloud| format!("{cloud}: {}", cloud.regions().join(" ")))
        .collect();
    Problem::new(
        format!(
            "unknown region {region:?}, so its cloud is not known; known are {}",
            known.join("; ")
        ),
        Hint::GiveOperator,
    )
}
