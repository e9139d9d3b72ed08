//! Geo directional records resolved to prefixes: explicit prefixes, geofeeds and database entries in their order. Never reads a file.

mod continents;
pub mod database;
pub mod feed;

use ipnet::IpNet;

use super::region::RegionId;
use crate::config::types::{Geo, GeoRecord};

/// Where a prefix is, as a geofeed or a database says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The prefix.
    pub prefix: IpNet,
    /// Where.
    pub place: Place,
}

/// A place; empty where unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// ISO 3166-1 alpha-2, upper case.
    pub country: String,
    /// ISO 3166-2 with its country, e.g. `US-NY`.
    pub subdivision: String,
    /// Two letters; where empty, the country's.
    pub continent: String,
}

/// Home of a place: subdivision before country before continent; the default region where no record matches.
#[must_use]
pub fn home(geo: &Geo, place: &Place) -> RegionId {
    let continent =
        if place.continent.is_empty() { continents::of(&place.country) } else { place.continent.as_str() };
    let find = |codes: fn(&GeoRecord) -> &Vec<String>, code: &str| {
        let has = |record: &&GeoRecord| !code.is_empty() && codes(record).iter().any(|known| known == code);
        geo.records.iter().find(has).map(|record| record.region)
    };
    find(|record| &record.subdivisions, &place.subdivision)
        .or_else(|| find(|record| &record.countries, &place.country))
        .or_else(|| find(|record| &record.continents, continent))
        .unwrap_or(geo.default_region)
}

/// All prefixes with their homes: explicit ones, then geofeeds', then those of a database ([`database::read`]). What lies within a more telling source's prefix is left out, so that longest
/// match over the result means: explicit prefix, else geofeed, else database, else the default region.
#[must_use]
pub fn resolve(geo: &Geo, feeds: &[Located], database: &[(IpNet, RegionId)]) -> Vec<(IpNet, RegionId)> {
    let explicit: Vec<(IpNet, RegionId)> = geo
        .records
        .iter()
        .flat_map(|record| record.prefixes.iter().map(|prefix| (*prefix, record.region)))
        .collect();
    let feeds: Vec<_> = feeds.iter().map(|located| (located.prefix, home(geo, &located.place))).collect();
    let mut all = explicit;
    for source in [&feeds, database] {
        let above: Vec<IpNet> = IpNet::aggregate(&all.iter().map(|(prefix, _)| *prefix).collect());
        let (v4, v6): (Vec<IpNet>, Vec<IpNet>) =
            above.into_iter().partition(|prefix| matches!(prefix, IpNet::V4(_)));
        let covered = |prefix: &IpNet| within(if matches!(prefix, IpNet::V4(_)) { &v4 } else { &v6 }, prefix);
        all.extend(source.iter().filter(|(prefix, _)| !covered(prefix)));
    }
    all
}

/// Whether `prefix` lies within one of the disjoint, sorted `above`.
fn within(above: &[IpNet], prefix: &IpNet) -> bool {
    let after = above.partition_point(|candidate| candidate.network() <= prefix.network());
    after.checked_sub(1).and_then(|at| above.get(at)).is_some_and(|candidate| candidate.contains(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn geo() -> Geo {
        let text = "[host]\nregion = \"a\"\n[[region]]\nname = \"a\"\n[[region]]\nname = \"b\"\n[[region]]\nname = \"c\"\n\
            [[geo.record]]\nregion = \"b\"\nprefixes = [\"198.51.100.0/24\"]\ncountries = [\"US\"]\ncontinents = [\"OC\"]\n\
            [[geo.record]]\nregion = \"c\"\nsubdivisions = [\"US-NY\"]\n";
        config::from_text(std::path::Path::new("test"), text).expect("no fault").config.geo
    }

    fn located(prefix: &str, country: &str, subdivision: &str) -> Located {
        let place =
            Place { country: country.into(), subdivision: subdivision.into(), continent: String::new() };
        Located { prefix: prefix.parse().expect("a prefix"), place }
    }

    #[test]
    fn the_most_specific_record_wins() {
        let geo = geo();
        let homes = [("US", "US-NY", 2), ("US", "US-CA", 1), ("NZ", "", 1), ("FR", "FR-75", 0), ("", "", 0)];
        for (country, subdivision, region) in homes {
            let place = located("192.0.2.0/24", country, subdivision).place;
            assert_eq!(home(&geo, &place).index(), region, "{country} {subdivision}");
        }
    }

    #[test]
    fn a_prefix_of_the_file_stands_above_longer_ones_of_geofeeds_and_they_above_the_database() {
        let feeds = [located("198.51.100.128/25", "FR", ""), located("203.0.113.0/24", "US", "US-NY")];
        let database = [
            located("203.0.113.64/26", "US", ""),
            located("203.0.0.0/16", "NZ", ""),
            located("2001:db8::/32", "US", ""),
        ];
        let database = database.map(|located| (located.prefix, home(&geo(), &located.place)));
        let resolved = resolve(&geo(), &feeds, &database);
        let shown: Vec<(String, usize)> =
            resolved.iter().map(|(prefix, region)| (prefix.to_string(), region.index())).collect();
        let expected =
            [("198.51.100.0/24", 1), ("203.0.113.0/24", 2), ("203.0.0.0/16", 1), ("2001:db8::/32", 1)];
        assert_eq!(shown, expected.map(|(prefix, region)| (prefix.to_owned(), region)));
    }
}
