//! RFC 8805 geofeeds: lines of prefix, country, subdivision, city, postal code. Never opens a file.

use super::{Located, Place};
use crate::config::units;

/// A line that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// From 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// Reads a geofeed. Bad lines are left out and told (RFC 8805 section 2.1.1: the others stay usable).
#[must_use]
pub fn parse(text: &str) -> (Vec<Located>, Vec<BadLine>) {
    let (mut entries, mut bad) = (Vec::new(), Vec::new());
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parse_line(line) {
            Ok(located) => entries.push(located),
            Err(problem) => bad.push(BadLine { line: index + 1, problem }),
        }
    }
    (entries, bad)
}

fn parse_line(line: &str) -> Result<Located, String> {
    let mut fields = line.split(',').map(|field| field.trim().trim_matches('"'));
    let prefix = units::prefix(fields.next().unwrap_or_default()).map_err(|wrong| wrong.problem)?;
    let country = fields.next().unwrap_or_default().to_ascii_uppercase();
    let subdivision = fields.next().unwrap_or_default().to_ascii_uppercase();
    let letters = country.bytes().all(|b| b.is_ascii_uppercase());
    if !(country.is_empty() || country.len() == 2 && letters) {
        return Err("the country is no two-letter code".to_owned());
    }
    if !subdivision.is_empty() && !subdivision.starts_with(&format!("{country}-")) {
        return Err("the subdivision does not begin with its country".to_owned());
    }
    Ok(Located { prefix, place: Place { country, subdivision, continent: String::new() } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_lines_are_read_and_bad_ones_told() {
        let text = "# feed\n192.0.2.0/24,us,US-NY,New York,\n\n2001:db8::/32,FR,,,\n192.0.2.7\n\
            192.0.2.1/24,US,,,\n198.51.100.0/24,USA,,,\n198.51.100.0/24,US,FR-75,,\nnonsense\n";
        let (entries, bad) = parse(text);
        let prefixes: Vec<String> = entries.iter().map(|entry| entry.prefix.to_string()).collect();
        assert_eq!(prefixes, ["192.0.2.0/24", "2001:db8::/32", "192.0.2.7/32"]);
        assert_eq!(entries[0].place.subdivision, "US-NY");
        assert_eq!(bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [6, 7, 8, 9]);
    }
}
