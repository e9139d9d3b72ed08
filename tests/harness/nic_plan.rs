//! Plans for the NIC from a few words, for tests; the daemon makes its own from the configuration. Reads no file.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use tidegate::config::types::{Over, XdpMode};
use tidegate::decide::nic::{LimitRow, NicPlan};
use tidegate::decide::region::RegionId;
use tidegate::decide::sources::{SourceRules, SourceTables};
use tidegate::kernel::NicWish;

/// The wish that `words` describe, on a host with these addresses:
/// `on=IFNAME` `mode=auto|native|generic` `lease=MS` `port=N` `allow=PREFIX` `deny=PREFIX` `home=N,PREFIX` (region N, from 1)
/// `region=NAME` (1, 2, …) `limit=N,connections|packets|bits,RATE,BURST_MS` (slot 0 is everyone's) `observe=1` `reset=1`.
///
/// # Errors
/// A word that is none of these.
pub fn wish(words: &str, addresses: &BTreeSet<IpAddr>, lease: Duration) -> Result<NicWish> {
    let (mut allow, mut deny, mut records, mut ports) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut regions = Vec::new();
    let (mut limits, mut interfaces, mut mode, mut lease) = (Vec::new(), Vec::new(), XdpMode::Auto, lease);
    for word in words.split_whitespace() {
        let (name, value) = word.split_once('=').with_context(|| format!("NAME=VALUE: {word}"))?;
        match name {
            "on" => interfaces.push(value.to_owned()),
            "mode" => mode = xdp_mode(value)?,
            "lease" => lease = Duration::from_millis(value.parse()?),
            "port" => ports.push(value.parse()?),
            "allow" => allow.push(value.parse()?),
            "deny" => deny.push(value.parse()?),
            "home" => records.push(record(value)?),
            "limit" => limits.push(limit(value)?),
            "region" => regions.push(value.to_owned()),
            "observe" => limits.iter_mut().for_each(|limit: &mut LimitRow| limit.observe = true),
            "reset" => {
                let over = if value == "1" { Over::Reset } else { Over::Drop };
                limits.iter_mut().for_each(|limit: &mut LimitRow| limit.over = over);
            }
            _ => bail!("no such word: {word}"),
        }
    }
    let default_region = region(1)?.context("region 1")?;
    let rules = SourceRules { default_region, records: &records, allow: &allow, deny: &deny };
    let sources = Arc::new(SourceTables::compile(&rules)?);
    let plan = Arc::new(NicPlan::new(sources, addresses.iter().copied(), &ports)?);
    Ok(NicWish { plan, limits, regions, interfaces, mode, lease })
}

fn xdp_mode(word: &str) -> Result<XdpMode> {
    Ok(match word {
        "auto" => XdpMode::Auto,
        "native" => XdpMode::Native,
        "generic" => XdpMode::Generic,
        _ => bail!("no such mode: {word}"),
    })
}

/// Region `number`, from 1; `None` for 0.
fn region(number: usize) -> Result<Option<RegionId>> {
    let index = number.checked_sub(1);
    index.map(|index| RegionId::new(index).context("regions are 1 to 254")).transpose()
}

fn record(value: &str) -> Result<(IpNet, RegionId)> {
    let (number, prefix) = value.split_once(',').context("N,PREFIX")?;
    Ok((prefix.parse()?, region(number.parse()?)?.context("regions are 1 to 254")?))
}

fn limit(value: &str) -> Result<LimitRow> {
    let parts: Vec<_> = value.split(',').collect();
    let &[slot, measure, rate, burst_ms] = parts.as_slice() else {
        bail!("N,MEASURE,RATE,BURST_MS: {value}")
    };
    let rate = Some(rate.parse()?);
    Ok(LimitRow {
        home: region(slot.parse()?)?,
        connections_per_second: rate.filter(|_| measure == "connections"),
        packets_per_second: rate.filter(|_| measure == "packets"),
        bits_per_second: rate.filter(|_| measure == "bits"),
        burst: Duration::from_millis(burst_ms.parse()?),
        over: Over::Drop,
        observe: false,
    })
}
