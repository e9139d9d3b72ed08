//! A flood of UDP packets by trafgen, from several sources of the US prefix.
//! Never endless: bounded in packets, and ended with its owner.

use anyhow::Result;
use tidegate_tests::process::Process;
use tidegate_tests::scratch::Folder;

use super::world::{EU, World};

/// Most packets one flood sends; at what one core gives here, more than a minute's worth.
const MOST: &str = "20000000";
/// The last byte of each source's address.
pub(super) const SOURCES: std::ops::RangeInclusive<u8> = 32..=39;

/// A running flood.
pub(super) struct Flood {
    _process: Process,
    _folder: Folder,
}

/// Starts it from the US client's host to port 443 of the EU edge.
pub(super) fn start(world: &World) -> Result<Flood> {
    let folder = Folder::new("flood")?;
    let (own, gateway) = (world.us.client.mac("eth0")?, world.router.mac("usclient")?);
    let packet = |last: u8| {
        format!(
            "{{ eth(da={gateway}, sa={own}) ipv4(saddr=198.51.100.{last}, daddr={}, ttl=64) udp(sp=40000, dp=443) fill(0x74, 18) }}\n",
            EU.edge.0
        )
    };
    let file = folder.write("flood.cfg", &SOURCES.map(packet).collect::<String>())?;
    let mut trafgen = world.us.client.command("trafgen");
    trafgen
        .args(["--dev", "eth0", "--cpus", "1", "--no-sock-mem", "--no-cpu-stats", "--num", MOST, "--conf"])
        .arg(file);
    let process = Process::spawn("trafgen", &mut trafgen, &folder.file("output"))?;
    Ok(Flood { _process: process, _folder: folder })
}
