//! `tidegate relay import`: deletes that mcrouter wrote to its asynclog go to the other regions. Never sends anything before every line of
//! every file was read, and never changes a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::{Value, json};

use super::ask::Failure;
use super::client::Client;
use super::output::{plain, print};
use crate::admin::wire::change::MAX_KEYS;
use crate::decide::relay::asynclog::{self, Delete};

/// Longest line that is read; mcrouter's are a few hundred bytes.
const MAX_LINE: u64 = 64 * 1024;
/// Faults that are told; the rest is counted.
const MOST_TOLD: u64 = 100;

/// What to import and how.
pub(super) struct Import<'a> {
    pub(super) client: &'a Client,
    pub(super) json: bool,
    /// Where records go whatever pool they name.
    pub(super) pool: Option<&'a str>,
    pub(super) skip_faulty: bool,
    pub(super) files: &'a [PathBuf],
}

/// What was found and done; the JSON answer.
#[derive(Default)]
struct Found {
    lines: u64,
    faulty: u64,
    faults: Vec<Value>,
    /// Keys by pool.
    keys: BTreeMap<String, u64>,
}

impl Import<'_> {
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let pools = self.pools().await?;
        let mut found = Found::default();
        for file in self.files {
            self.each(file, &pools, &mut found, |_, _| {})?;
        }
        if found.faulty > 0 && !self.skip_faulty {
            self.tell(&found, false)?;
            return Err(Failure::Refused(format!(
                "{} of {} lines are faulty; nothing was sent (--skip-faulty sends the others)",
                found.faulty, found.lines
            )));
        }
        found.keys = self.send(&pools).await?;
        self.tell(&found, true)
    }

    /// The daemon's pools.
    async fn pools(&self) -> Result<Vec<String>, Failure> {
        let relay = self.client.ask(Method::GET, "/v1/relay", None).await?;
        let listed = relay["pools"].as_array().map_or(&[][..], Vec::as_slice);
        let pools: Vec<String> =
            listed.iter().filter_map(|pool| pool["pool"].as_str().map(str::to_owned)).collect();
        if pools.is_empty() {
            return Err(Failure::Refused("no [[relay.pool]] in the daemon's configuration".to_owned()));
        }
        match self.pool {
            Some(name) if !pools.iter().any(|pool| pool == name) => Err(Failure::Refused(format!(
                "there is no relay pool {name:?}; there are: {}",
                pools.join(", ")
            ))),
            _ => Ok(pools),
        }
    }

    /// Calls `take` with pool and delete of each good line, and counts the others.
    fn each(
        &self,
        path: &Path,
        pools: &[String],
        found: &mut Found,
        mut take: impl FnMut(&str, &Delete),
    ) -> Result<(), Failure> {
        let unreadable = |error: io::Error| Failure::Refused(format!("{}: {error}", path.display()));
        let mut reader = BufReader::new(File::open(path).map_err(unreadable)?);
        let mut line = Vec::new();
        let mut number = 0u64;
        while next_line(&mut reader, &mut line).map_err(unreadable)? {
            number += 1;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            found.lines += 1;
            match self.judge(&line, pools) {
                Ok((pool, delete)) => take(&pool, &delete),
                Err(why) => found.fault(path, number, &why),
            }
        }
        Ok(())
    }

    fn judge(&self, line: &[u8], pools: &[String]) -> Result<(String, Delete), String> {
        if line.len() as u64 >= MAX_LINE {
            return Err(format!("longer than {MAX_LINE} bytes"));
        }
        let delete = asynclog::parse(line).map_err(|error| error.to_string())?;
        let pool = match (self.pool, &delete.pool, pools) {
            (Some(pool), _, _) => pool.to_owned(),
            (None, Some(named), _) if pools.contains(named) => named.clone(),
            (None, Some(named), _) => {
                return Err(format!(
                    "there is no relay pool {named:?} (there are: {}); --pool says which",
                    pools.join(", ")
                ));
            }
            (None, None, [only]) => only.clone(),
            (None, None, _) => {
                return Err(format!("names no pool; --pool says which (there are: {})", pools.join(", ")));
            }
        };
        Ok((pool, delete))
    }

    /// Sends all keys in batches, each durable when it is answered.
    async fn send(&self, pools: &[String]) -> Result<BTreeMap<String, u64>, Failure> {
        let mut sent = BTreeMap::new();
        let mut waiting: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for file in self.files {
            // One file's keys at a time are in memory: mcrouter begins a new one every quarter of an hour.
            self.each(file, pools, &mut Found::default(), |pool, delete| {
                let keys = waiting.entry(pool.to_owned()).or_default();
                keys.extend(delete.keys().map(|key| STANDARD.encode(key)));
            })?;
            for (pool, keys) in &mut waiting {
                keys.sort_unstable();
                keys.dedup();
                for batch in keys.chunks(MAX_KEYS) {
                    let body = json!({"pool": pool, "keys_base64": batch});
                    let answer = self.client.ask(Method::POST, "/v1/invalidations", Some(&body)).await;
                    if let Err(error) = answer {
                        self.broke_off(&sent, file);
                        return Err(error.into());
                    }
                    *sent.entry(pool.clone()).or_insert(0) += batch.len() as u64;
                }
                keys.clear();
            }
        }
        Ok(sent)
    }

    fn broke_off(&self, sent: &BTreeMap<String, u64>, file: &Path) {
        let keys: u64 = sent.values().sum();
        eprintln!(
            "tidegate: broke off in {} after {keys} keys; running it again does no harm",
            plain(&file.display().to_string())
        );
    }

    fn tell(&self, found: &Found, sent: bool) -> Result<(), Failure> {
        if self.json {
            let answer = json!({
                "sent": sent,
                "lines": found.lines,
                "faulty": found.faulty,
                "faults": found.faults,
                "keys": found.keys,
            });
            return Ok(print(&format!("{}\n", serde_json::to_string_pretty(&answer)?))?);
        }
        for fault in &found.faults {
            let place = format!("{}:{}", fault["file"].as_str().unwrap_or_default(), fault["line"]);
            eprintln!("{}", plain(&format!("{place}: {}", fault["fault"].as_str().unwrap_or_default())));
        }
        if found.faulty > MOST_TOLD {
            eprintln!("and {} more", found.faulty - MOST_TOLD);
        }
        if !sent {
            return Ok(());
        }
        let mut text = String::new();
        for (pool, keys) in &found.keys {
            text.push_str(&format!("{keys} keys of pool {pool} are on their way\n"));
        }
        text.push_str(&format!("{} lines, {} faulty\n", found.lines, found.faulty));
        Ok(print(&text)?)
    }
}

impl Found {
    fn fault(&mut self, path: &Path, line: u64, why: &str) {
        self.faulty += 1;
        if self.faulty <= MOST_TOLD {
            self.faults.push(json!({"file": path.display().to_string(), "line": line, "fault": why}));
        }
    }
}

/// The next line without its end, cut at [`MAX_LINE`]; false at the end of the file.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let taken = reader.by_ref().take(MAX_LINE).read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if taken as u64 == MAX_LINE {
        reader.skip_until(b'\n')?;
    }
    Ok(taken > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_line_is_one_fault() {
        let bytes = [vec![b'x'; 200_000], b"\nnext\nlast".to_vec()].concat();
        let (mut reader, mut line, mut lengths) = (io::Cursor::new(bytes), Vec::new(), Vec::new());
        while next_line(&mut reader, &mut line).expect("readable") {
            lengths.push(line.len() as u64);
        }
        assert_eq!(lengths, [MAX_LINE, 4, 4]);
    }
}
