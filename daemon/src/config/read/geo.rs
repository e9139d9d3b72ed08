//! `[geo]` and `[[geo.record]]`: who belongs where. Never opens the database or a geofeed.

use super::{
    super::{cursor::Cursor, fault::Wrong, key, key::Key, node, scalar},
    Context,
};
use crate::config::types::{Geo, GeoRecord};
use crate::decide::region::RegionId;

pub(in crate::config) const KEYS: &[Key] = &[
    key::optional(
        "default_region",
        "the name of a [[region]]",
        "Home of a client that no record matches; this host's region where left out.",
    ),
    key::optional("database", "an absolute path", "MaxMind-format database for the country-level records."),
    key::default(
        "geofeeds",
        "[]",
        "an array of absolute paths",
        "RFC 8805 geofeeds: prefix,country,subdivision,city,postal.",
    ),
    key::optional(
        "record",
        "[[geo.record]]",
        "Geo directional records; the most specific wins: prefix, subdivision, country, continent, default.",
    ),
];

pub(in crate::config) const RECORD: &[Key] = &[
    key::required("region", "the name of a [[region]]", "Home of whoever matches."),
    key::default("prefixes", "[]", "an array of ADDRESS/LENGTH", "Source prefixes."),
    key::default("subdivisions", "[]", "an array of ISO 3166-2 codes, e.g. \"US-NY\"", "Subdivisions."),
    key::default("countries", "[]", "an array of ISO 3166-1 codes, e.g. \"US\"", "Countries."),
    key::default(
        "continents",
        "[]",
        "any of \"AF\", \"AN\", \"AS\", \"EU\", \"NA\", \"OC\", \"SA\"",
        "Continents.",
    ),
];

pub(in crate::config) fn read(
    cursor: &Cursor<'_>,
    context: &Context<'_>,
    own: Option<RegionId>,
) -> Option<Geo> {
    let default_region =
        if cursor.has("default_region") { cursor.get("default_region", context.region()) } else { own };
    let database = cursor.get("database", scalar::path);
    let geofeeds = cursor.list("geofeeds", scalar::path);
    let tables = cursor.tables("record", RECORD);
    let records: Vec<_> = tables.iter().map(|table| read_record(table, context)).collect();
    let records = records.into_iter().collect::<Option<Vec<_>>>();
    Some(Geo { default_region: default_region?, database, geofeeds: geofeeds?, records: records? })
}

fn read_record(cursor: &Cursor<'_>, context: &Context<'_>) -> Option<GeoRecord> {
    let region = cursor.get("region", context.region());
    let prefixes = cursor.list("prefixes", scalar::prefix);
    let subdivisions = cursor.list("subdivisions", subdivision);
    let countries = cursor.list("countries", country);
    let continents = cursor.list("continents", continent);
    for prefix in prefixes.iter().flatten() {
        context.claims.take("prefix", &prefix.to_string(), cursor, "prefixes");
    }
    for (kind, key, codes) in [
        ("subdivision", "subdivisions", &subdivisions),
        ("country", "countries", &countries),
        ("continent", "continents", &continents),
    ] {
        for code in codes.iter().flatten() {
            context.claims.take(kind, code, cursor, key);
        }
    }
    Some(GeoRecord {
        region: region?,
        prefixes: prefixes?,
        subdivisions: subdivisions?,
        countries: countries?,
        continents: continents?,
    })
}

fn upper_alnum(text: &str, lengths: std::ops::RangeInclusive<usize>) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

fn country(found: &node::Node) -> Result<String, Wrong> {
    let text = scalar::text(found)?;
    if text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()) {
        return Ok(text);
    }
    Err(Wrong::new(
        format!("{} is not a country code", node::quote(&text)),
        "two upper-case letters (ISO 3166-1), e.g. \"US\"",
    ))
}

fn subdivision(found: &node::Node) -> Result<String, Wrong> {
    let text = scalar::text(found)?;
    match text.split_once('-') {
        Some((country, part)) if upper_alnum(country, 2..=2) && upper_alnum(part, 1..=3) => Ok(text),
        _ => Err(Wrong::new(
            format!("{} is not a subdivision code", node::quote(&text)),
            "ISO 3166-2, e.g. \"US-NY\"",
        )),
    }
}

fn continent(found: &node::Node) -> Result<String, Wrong> {
    const KNOWN: [&str; 7] = ["AF", "AN", "AS", "EU", "NA", "OC", "SA"];
    let text = scalar::text(found)?;
    if KNOWN.contains(&text.as_str()) {
        return Ok(text);
    }
    Err(Wrong::only(format!("{} is not a continent code", node::quote(&text))))
}
