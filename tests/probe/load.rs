//! Plans of a given size, and programs loaded with them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tidegate::decide::nic::NicPlan;
use tidegate::decide::region::RegionId;
use tidegate::decide::sources::{SourceRules, SourceTables};
use tidegate_tests::packets::noise::Noise;
use tidegate_tests::program::{Program, object};

/// A loaded program, and how long it took.
pub(crate) struct Loaded {
    pub(crate) program: Program,
    pub(crate) compile: Duration,
    pub(crate) load: Duration,
}

/// Regions of all plans.
const REGIONS: usize = 6;

/// `v4` IPv4 and `v6` IPv6 prefixes, spread as in routing tables: most between /16 and /24, one in ten longer; /32 to /64.
fn records(v4: usize, v6: usize) -> Result<Vec<(IpNet, RegionId)>> {
    let mut noise = Noise::new(7);
    let region = |noise: &mut Noise| RegionId::new(noise.below(REGIONS)).context("a few regions");
    let mut records = Vec::with_capacity(v4 + v6);
    for _ in 0..v4 {
        let length = if noise.below(10) == 0 { 25 + noise.below(8) } else { 16 + noise.below(9) };
        let address = Ipv4Addr::from_bits(noise.next_word() as u32);
        records.push((Ipv4Net::new(address, length as u8)?.trunc().into(), region(&mut noise)?));
    }
    for _ in 0..v6 {
        let length = 32 + noise.below(33);
        let bits = u128::from(0x2001u16) << 112 | u128::from(noise.next_word()) << 48;
        records.push((
            Ipv6Net::new(Ipv6Addr::from_bits(bits), length as u8)?.trunc().into(),
            region(&mut noise)?,
        ));
    }
    Ok(records)
}

/// Compiles and loads.
pub(crate) fn load(v4: usize, v6: usize) -> Result<Loaded> {
    let object = object().context("no kernel program: run `cargo xtask build`")?;
    let object = std::fs::read(&object).with_context(|| format!("reading {}", object.display()))?;
    let records = records(v4, v6)?;
    let deny: Vec<IpNet> = vec!["203.0.113.0/24".parse()?, "2001:db8:dead::/48".parse()?];
    let default_region = RegionId::new(0).context("a first region")?;
    let rules = SourceRules { default_region, records: &records, allow: &[], deny: &deny };
    let start = Instant::now();
    let tables = Arc::new(SourceTables::compile(&rules)?);
    let compile = start.elapsed();
    let local: [IpAddr; 2] = ["192.0.2.1".parse()?, "2001:db8::1".parse()?];
    let plan = NicPlan::new(tables, local, &[443])?;
    let start = Instant::now();
    let program = Program::load(&object, &plan)?;
    Ok(Loaded { program, compile, load: start.elapsed() })
}
