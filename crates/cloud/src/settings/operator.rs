//! Whose cloud it is: accounts belong to one operator, and no key or token may reach another.

use ims::Cloud;

use super::layers::{Found, Layers};
use super::names::Item;

/// The addresses, each of which may be given.
const ENDPOINTS: [Item; 3] = [Item::IamEndpoint, Item::ImsEndpoint, Item::ObsEndpoint];
/// The options that make a cloud of its own.
const OPTIONS: &str = "--iam-endpoint, --ims-endpoint and --obs-endpoint";

/// The operator, and what tells it.
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
/// When nothing tells the operator, or when the settings tell two.
pub(super) fn choose(
    layers: &Layers,
    given: Option<Cloud>,
    region: Option<&str>,
) -> Result<Option<Operator>, String> {
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
        return Err(format!(
            "region {region} belongs to {other}, and the cloud is {given}: pass --cloud {other}, another region, or {OPTIONS}"
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
fn fits(name: Item, found: Found<'_>, operator: Operator, region: &str) -> Result<(), String> {
    let Some(host) = host(found) else {
        // What is no address is refused as that.
        return Ok(());
    };
    let Operator { cloud, by } = operator;
    let owner = Cloud::of_host(&host);
    // Tokens come from the identity service: whose that is must be known, or the user must have
    // named the cloud.
    let foreign = match owner {
        Some(owner) => owner != cloud,
        None => name == Item::IamEndpoint && by.is_some(),
    };
    if !foreign {
        return Ok(());
    }
    let owner = owner.map_or_else(
        || "no cloud that is known".to_owned(),
        |owner| owner.to_string(),
    );
    Err(format!(
        "{} is at {host}, which belongs to {owner}, and region {region} belongs to {cloud}: its keys and tokens \
         would reach another operator. Pass the right --region or --cloud, or all of {OPTIONS}",
        found.place.name(name)
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

fn unknown(region: &str) -> String {
    let known: Vec<String> = Cloud::ALL
        .into_iter()
        .map(|cloud| format!("{cloud}: {}", cloud.regions().join(" ")))
        .collect();
    format!(
        "unknown region {region:?}, so it is not known whose cloud it is: name its operator with --cloud, or pass \
         {OPTIONS}. Known are {}",
        known.join("; ")
    )
}
