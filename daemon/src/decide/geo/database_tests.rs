//! Databases that are written here, by the published format (MaxMind DB, version 2.0), in both schemas; and damaged ones.

use super::*;
use crate::config;

/// A value of the data section.
enum Value {
    Map(Vec<(&'static str, Value)>),
    Text(&'static str),
    Short(u16),
    Number(u32),
    Long(u64),
    List(Vec<Value>),
}
use Value::{List, Long, Map, Number, Short, Text};

fn put(value: &Value, out: &mut Vec<u8>) {
    let size = |count: usize| u8::try_from(count).expect("short");
    match value {
        Map(pairs) => {
            out.push(7 << 5 | size(pairs.len()));
            for (key, value) in pairs {
                put(&Text(key), out);
                put(value, out);
            }
        }
        Text(text) if text.len() < 29 => {
            out.push(2 << 5 | size(text.len()));
            out.extend(text.as_bytes());
        }
        Text(text) => {
            out.extend([2 << 5 | 29, size(text.len() - 29)]);
            out.extend(text.as_bytes());
        }
        Number(number) => {
            out.push(6 << 5 | 4);
            out.extend(number.to_be_bytes());
        }
        Short(number) => {
            out.push(5 << 5 | 2);
            out.extend(number.to_be_bytes());
        }
        Long(number) => {
            out.extend([8, 9 - 7]);
            out.extend(number.to_be_bytes());
        }
        List(items) => {
            out.extend([size(items.len()), 11 - 7]);
            items.iter().for_each(|item| put(item, out));
        }
    }
}

/// A search tree over 128 bits (IPv4 below `::/96`) with 32-bit records.
fn database(networks: &[(&str, Value)]) -> Vec<u8> {
    let mut nodes: Vec<[Option<u32>; 2]> = vec![[None; 2]];
    let mut leaves: Vec<(usize, usize, usize)> = Vec::new();
    let mut data = Vec::new();
    for (prefix, value) in networks {
        let (bits, length) = match prefix.parse::<IpNet>().expect("prefix") {
            IpNet::V4(net) => (u128::from(net.network().to_bits()), net.prefix_len() + 96),
            IpNet::V6(net) => (net.network().to_bits(), net.prefix_len()),
        };
        let mut node = 0;
        for depth in 0..length {
            let bit = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth + 1 == length {
                leaves.push((node, bit, data.len()));
            } else {
                let next = nodes[node][bit].unwrap_or(u32::try_from(nodes.len()).expect("few"));
                nodes[node][bit] = Some(next);
                node = next as usize;
                if node == nodes.len() {
                    nodes.push([None; 2]);
                }
            }
        }
        put(value, &mut data);
    }
    let count = u32::try_from(nodes.len()).expect("few");
    for (node, bit, at) in leaves {
        nodes[node][bit] = Some(count + 16 + u32::try_from(at).expect("small"));
    }
    let mut out: Vec<u8> =
        nodes.iter().flatten().flat_map(|record| record.unwrap_or(count).to_be_bytes()).collect();
    out.extend([0; 16]);
    out.extend(data);
    out.extend(b"\xab\xcd\xefMaxMind.com");
    let metadata = Map(vec![
        ("node_count", Number(count)),
        ("record_size", Short(32)),
        ("ip_version", Short(6)),
        ("database_type", Text("Test")),
        ("languages", List(vec![])),
        ("binary_format_major_version", Short(2)),
        ("binary_format_minor_version", Short(0)),
        ("build_epoch", Long(1_800_000_000)),
        ("description", Map(vec![])),
    ]);
    put(&metadata, &mut out);
    out
}

fn nested(country: &'static str, subdivisions: &[&'static str], continent: &'static str) -> Value {
    let part = |code| Map(vec![("geoname_id", Number(7)), ("iso_code", Text(code))]);
    Map(vec![
        ("continent", Map(vec![("code", Text(continent))])),
        ("country", part(country)),
        ("subdivisions", List(subdivisions.iter().map(|code| part(code)).collect())),
    ])
}

fn flat(country: &'static str) -> Value {
    Map(vec![("country_code", Text(country))])
}

fn geo() -> Geo {
    let text = "[host]\nregion = \"eu\"\n[[region]]\nname = \"eu\"\n[[region]]\nname = \"us\"\n[[region]]\nname = \"ny\"\n\
        [[region]]\nname = \"oc\"\n[[geo.record]]\nregion = \"us\"\ncountries = [\"US\", \"CA\"]\n\
        [[geo.record]]\nregion = \"ny\"\nsubdivisions = [\"US-NY\", \"GB-ENG\"]\n\
        [[geo.record]]\nregion = \"oc\"\ncontinents = [\"OC\"]\n";
    config::from_text(std::path::Path::new("test"), text).expect("no fault").config.geo
}

fn shown(database: &Database) -> Vec<(String, usize)> {
    database.prefixes.iter().map(|(prefix, region)| (prefix.to_string(), region.index())).collect()
}

fn expected(prefixes: &[(&str, usize)]) -> Vec<(String, usize)> {
    prefixes.iter().map(|(prefix, region)| ((*prefix).to_owned(), *region)).collect()
}

#[test]
fn maxminds_schema_gives_subdivisions_countries_and_continents() {
    let bytes = database(&[
        ("192.0.2.0/25", nested("US", &["CA"], "NA")),
        ("192.0.2.128/25", nested("US", &["NY"], "NA")),
        ("198.51.100.0/24", nested("FR", &["IDF", "75"], "EU")),
        ("203.0.113.0/24", nested("GB", &["ENG", "WBK"], "EU")),
        ("2001:db8::/32", nested("NZ", &[], "OC")),
        ("2001:db9::/32", Map(vec![("traits", Map(vec![]))])),
    ]);
    let read = read(&bytes, &geo()).expect("a database");
    assert_eq!((read.networks, read.unknown), (6, 1));
    let all = [("192.0.2.0/25", 1), ("192.0.2.128/25", 2), ("203.0.113.0/24", 2), ("2001:db8::/32", 3)];
    assert_eq!(shown(&read), expected(&all));
}

#[test]
fn flat_schemas_give_countries_and_neighbours_are_merged() {
    let bytes = database(&[
        ("192.0.2.0/26", flat("US")),
        ("192.0.2.64/26", flat("ca")),
        ("192.0.2.128/25", Map(vec![("country", Text("US")), ("continent", Text("NA"))])),
        ("198.51.100.0/24", flat("AU")),
        ("203.0.113.0/24", flat("DE")),
        ("2001:db8::/33", flat("US")),
        ("2001:db8:8000::/33", flat("US")),
    ]);
    let read = read(&bytes, &geo()).expect("a database");
    assert_eq!(shown(&read), expected(&[("192.0.2.0/24", 1), ("198.51.100.0/24", 3), ("2001:db8::/32", 1)]));
}

#[test]
fn what_is_no_database_or_has_no_countries_says_so() {
    assert!(matches!(read(b"", &geo()), Err(DatabaseFault::Damaged(_))));
    assert!(matches!(read(b"not a database at all", &geo()), Err(DatabaseFault::Damaged(_))));
    let asn = database(&[("192.0.2.0/24", Map(vec![("autonomous_system_number", Number(64_496))]))]);
    let fault = read(&asn, &geo()).expect_err("no countries");
    assert!(matches!(fault, DatabaseFault::NoCountries { networks: 1, .. }), "{fault}");
    assert_eq!(read(&database(&[]), &geo()).expect("empty"), Database::default());
}

#[test]
fn damaged_databases_are_refused_or_read_and_never_break_anything() {
    let whole = database(&[
        ("192.0.2.0/25", nested("US", &["CA"], "NA")),
        ("198.51.100.0/24", flat("AU")),
        ("2001:db8::/32", nested("NZ", &[], "OC")),
    ]);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % below as u64).expect("small")
    };
    for _ in 0..1_000 {
        let mut bytes = whole.clone();
        for _ in 0..=next(3) {
            let at = next(bytes.len());
            bytes[at] = u8::try_from(next(256)).expect("a byte");
        }
        if next(4) == 0 {
            bytes.truncate(next(whole.len()));
        }
        _ = read(&bytes, &geo());
    }
}
