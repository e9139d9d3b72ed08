//! Reads geofeeds and the database and compiles all geo records into source tables. Decides no home itself.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;

use crate::config::Config;
use crate::decide::geo::database::{self, Database};
use crate::decide::geo::{self, Located, feed};
use crate::decide::region::RegionId;
use crate::decide::sources::{CompileError, SourceRules, SourceTables};
use crate::decide::view::GeoSummary;

/// Largest geofeed or database that is read.
const MAX_BYTES: u64 = 256 << 20;
/// Bad lines that are told singly.
const MAX_TOLD: usize = 10;

/// A file can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {}: {problem}", path.display())]
pub struct GeoError {
    /// The key that names it.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
}

/// All geo records as prefixes; made once per configuration, since reading files takes time.
#[derive(Clone, Debug)]
pub(super) struct Records {
    pub(super) prefixes: Arc<Vec<(IpNet, RegionId)>>,
    pub(super) summary: GeoSummary,
    /// What could not be read.
    pub(super) warnings: Vec<String>,
}

/// Reads what `[geo]` names and resolves it. Blocks.
pub(super) fn records(config: &Config) -> Result<Records, GeoError> {
    let mut warnings = Vec::new();
    let mut skipped = 0;
    let mut feeds: Vec<Located> = Vec::new();
    for path in &config.geo.geofeeds {
        let text = read_text(path).map_err(|error| GeoError {
            key: "geo.geofeeds",
            path: path.clone(),
            problem: error.to_string(),
        })?;
        let (entries, bad) = feed::parse(&text);
        feeds.extend(entries);
        skipped += bad.len();
        for bad in bad.iter().take(MAX_TOLD) {
            warnings.push(format!("{}:{}: line left out: {}", path.display(), bad.line, bad.problem));
        }
    }
    let database = config.geo.database.as_deref().map(|path| read_database(path, config)).transpose()?;
    let database = database.unwrap_or_default();
    let records = config.geo.records.iter().map(|record| record.prefixes.len()).sum();
    let summary =
        GeoSummary { records, geofeeds: feeds.len(), database: database.networks, skipped, compile_ms: 0 };
    let prefixes = Arc::new(geo::resolve(&config.geo, &feeds, &database.prefixes));
    Ok(Records { prefixes, summary, warnings })
}

fn read_database(path: &Path, config: &Config) -> Result<Database, GeoError> {
    let fault = |problem| GeoError { key: "geo.database", path: path.to_owned(), problem };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| fault(error.to_string()))?;
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| fault(error.to_string()))?;
    if read as u64 > MAX_BYTES {
        return Err(fault("larger than 256 MiB".to_owned()));
    }
    database::read(&bytes, &config.geo).map_err(|error| fault(error.to_string()))
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if read as u64 > MAX_BYTES { Err(io::Error::other("larger than 256 MiB")) } else { Ok(text) }
}

/// Compiles records and lists; also the milliseconds that it took. Blocks for as long.
pub(super) fn compile(
    config: &Config,
    records: &Records,
    allow: &[IpNet],
    deny: &[IpNet],
) -> Result<(Arc<SourceTables>, u64), CompileError> {
    let started = Instant::now();
    let default_region = config.geo.default_region;
    let rules = SourceRules { default_region, records: &records.prefixes, allow, deny };
    let tables = SourceTables::compile(&rules)?;
    Ok((Arc::new(tables), u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)))
}
