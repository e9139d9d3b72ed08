//! Reads geofeeds (and the database) and compiles all geo records into source tables. Decides no home itself.

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

/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 30;
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
///
/// A file that is not there is a warning, since explicit prefixes and the default region still hold; with `strict` it is an error: what
/// was known before is not forgotten over it.
pub(super) fn records(config: &Config, strict: bool) -> Result<Records, GeoError> {
    let mut read = Reading { strict, warnings: Vec::new(), skipped: 0 };
    let mut feeds: Vec<Located> = Vec::new();
    for path in &config.geo.geofeeds {
        feeds.extend(read.feed(path)?);
    }
    let database = match &config.geo.database {
        Some(path) => read.database(path, config)?,
        None => Database::default(),
    };
    let summary = GeoSummary {
        records: config.geo.records.iter().map(|record| record.prefixes.len()).sum(),
        geofeeds: feeds.len(),
        database: database.networks,
        skipped: read.skipped,
        compile_ms: 0,
    };
    let prefixes = Arc::new(geo::resolve(&config.geo, &feeds, &database.prefixes));
    Ok(Records { prefixes, summary, warnings: read.warnings })
}

struct Reading {
    strict: bool,
    warnings: Vec<String>,
    skipped: usize,
}

impl Reading {
    fn feed(&mut self, path: &Path) -> Result<Vec<Located>, GeoError> {
        let Some(bytes) = self.bytes("geo.geofeeds", path)? else { return Ok(Vec::new()) };
        let (entries, bad) = feed::parse(&String::from_utf8_lossy(&bytes));
        self.skipped += bad.len();
        for bad in bad.iter().take(MAX_TOLD) {
            self.warnings.push(format!("{}:{}: line left out: {}", path.display(), bad.line, bad.problem));
        }
        Ok(entries)
    }

    fn database(&mut self, path: &Path, config: &Config) -> Result<Database, GeoError> {
        let Some(bytes) = self.bytes("geo.database", path)? else { return Ok(Database::default()) };
        database::read(&bytes, &config.geo).map_err(|fault| GeoError {
            key: "geo.database",
            path: path.to_owned(),
            problem: fault.to_string(),
        })
    }

    fn bytes(&mut self, key: &'static str, path: &Path) -> Result<Option<Vec<u8>>, GeoError> {
        match read_bytes(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.strict => {
                self.warnings.push(format!("{key}: {}: {error}: goes on without it", path.display()));
                Ok(None)
            }
            Err(error) => Err(GeoError { key, path: path.to_owned(), problem: error.to_string() }),
        }
    }
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if read as u64 > MAX_BYTES { Err(io::Error::other("larger than 1 GiB")) } else { Ok(bytes) }
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
