//! MaxMind-format databases as prefixes with their homes. Never opens a file.
//!
//! Two schemas are read: MaxMind's own (`country.iso_code`, `subdivisions`, `continent.code`), and flat ones, as others publish them
//! (`country_code` or `country`, `continent_code` or `continent`).

use std::collections::HashMap;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use maxminddb::{LookupResult, MaxMindDbError, PathElement, Reader, WithinOptions, path};

use super::Place;
use crate::config::types::{Geo, GeoRecord};
use crate::decide::region::RegionId;

/// A database, as far as it matters to the geo records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Database {
    /// Prefixes whose home is not the default region, merged where neighbours have the same home; none lies within another.
    pub prefixes: Vec<(IpNet, RegionId)>,
    /// Networks in the database.
    pub networks: usize,
    /// Networks of which no country is known.
    pub unknown: usize,
}

/// A database can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseFault {
    /// It is no database, or a damaged one.
    #[error("it is no MaxMind-format database, or a damaged one: {0}")]
    Damaged(#[from] MaxMindDbError),
    /// It has networks, but no place that is understood.
    #[error(
        "none of its {networks} networks has a country: expected country.iso_code (MaxMind's schema), country_code or country; its type is {kind:?}"
    )]
    NoCountries {
        /// How many networks there are.
        networks: usize,
        /// `database_type` of its metadata.
        kind: String,
    },
}

/// Reads a whole database and gives each network its home by the geo records. Takes about a second for a million networks.
///
/// # Errors
/// When it is damaged, or has no countries.
pub fn read(bytes: &[u8], geo: &Geo) -> Result<Database, DatabaseFault> {
    let reader = Reader::from_source(bytes)?;
    let mut homes: HashMap<usize, Option<RegionId>> = HashMap::new();
    let mut by_region: HashMap<RegionId, Vec<IpNet>> = HashMap::new();
    let mut database = Database::default();
    for found in reader.networks(WithinOptions::default())? {
        let found = found?;
        let (Some(offset), Some(prefix)) = (found.offset(), prefix(&found)?) else { continue };
        let home = *homes.entry(offset).or_insert_with(|| home(&found, geo));
        database.networks += 1;
        match home {
            None => database.unknown += 1,
            Some(region) if region == geo.default_region => {}
            Some(region) => by_region.entry(region).or_default().push(prefix),
        }
    }
    if database.networks > 0 && database.unknown == database.networks {
        let kind = reader.metadata().database_type.clone();
        return Err(DatabaseFault::NoCountries { networks: database.networks, kind });
    }
    let merged = by_region.into_iter().flat_map(|(region, prefixes)| {
        IpNet::aggregate(&prefixes).into_iter().map(move |prefix| (prefix, region))
    });
    database.prefixes = merged.collect();
    database.prefixes.sort_unstable();
    Ok(database)
}

type Found<'a> = LookupResult<'a, &'a [u8]>;

/// The network; IPv4 as such, also where the database keeps it below `::/96`.
fn prefix(found: &Found<'_>) -> Result<Option<IpNet>, MaxMindDbError> {
    let network = found.network()?;
    let length = network.prefix();
    Ok(match network.network() {
        std::net::IpAddr::V4(address) => Ipv4Net::new(address, length).ok().map(IpNet::V4),
        std::net::IpAddr::V6(address) => match (u32::try_from(address.to_bits()), length.checked_sub(96)) {
            (Ok(low), Some(length)) => Ipv4Net::new(low.into(), length).ok().map(IpNet::V4),
            _ => Ipv6Net::new(address, length).ok().map(IpNet::V6),
        },
    })
}

/// The home of a network; `None` where its country is unknown.
fn home(found: &Found<'_>, geo: &Geo) -> Option<RegionId> {
    let country = text(found, &path!["country", "iso_code"])
        .or_else(|| text(found, &path!["country_code"]))
        .or_else(|| text(found, &path!["country"]))
        .or_else(|| text(found, &path!["registered_country", "iso_code"]))
        .filter(|code| code.len() == 2);
    let continent = text(found, &path!["continent", "code"])
        .or_else(|| text(found, &path!["continent_code"]))
        .or_else(|| text(found, &path!["continent"]))
        .filter(|code| code.len() == 2);
    if country.is_none() && continent.is_none() {
        return None;
    }
    let country = country.unwrap_or_default();
    let subdivision = subdivision(found, &country, geo);
    Some(super::home(geo, &Place { country, subdivision, continent: continent.unwrap_or_default() }))
}

/// The subdivision that a record names, the smallest first; a country's may have parts of their own (`GB-ENG`, `GB-WBK`).
fn subdivision(found: &Found<'_>, country: &str, geo: &Geo) -> String {
    let named =
        |code: &String| geo.records.iter().any(|record: &GeoRecord| record.subdivisions.contains(code));
    let codes = (0..3).map_while(|at| text(found, &path!["subdivisions", at, "iso_code"]));
    let codes: Vec<String> = codes.map(|code| format!("{country}-{code}")).collect();
    codes.into_iter().rev().find(named).unwrap_or_default()
}

/// Text at a path, in capitals; `None` where there is none, or no text.
fn text(found: &Found<'_>, path: &[PathElement<'_>]) -> Option<String> {
    let text = found.decode_path::<&str>(path).ok().flatten()?;
    (!text.is_empty()).then(|| text.to_ascii_uppercase())
}

#[cfg(test)]
#[path = "database_tests.rs"]
mod tests;
