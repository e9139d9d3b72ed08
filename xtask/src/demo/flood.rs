//! A flood of UDP packets by trafgen, from several sources of the US prefix.
//! Never endless: bounded in packets, and ended with its owner.

use std::net::UdpSocket;

use anyhow::Result;
use rustix::thread::{CpuSet, sched_setaffinity};
use tidegate_tests::process::Process;
use tidegate_tests::scratch::Folder;

use super::world::{EU, World};

/// Most packets one flood sends; at what one core gives here, more than a minute's worth.
const MOST: &str = "20000000";
/// The last byte of each source's address.
pub(super) const SOURCES: std::ops::RangeInclusive<u8> = 32..=39;

/// Packets of [`everywhere`] per CPU: more than what a CPU keeps of the shared allowance.
const A_FEW: usize = 200;

/// Sends a few packets of the same kind from each CPU, so that none is left with allowance it took before the flood.
pub(super) fn everywhere(world: &World) -> Result<()> {
    let to = format!("{}:443", EU.edge.0);
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    for cpu in 0..cpus {
        world.us.client.run(|| -> std::io::Result<()> {
            let mut one = CpuSet::new();
            one.set(cpu);
            sched_setaffinity(None, &one)?;
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            // An answer such as "port unreachable" makes a later send fail once; what counts is what was sent.
            (0..A_FEW).for_each(|_| drop(socket.send_to(&[0x74; 18], &to)));
            Ok(())
        })??;
    }
    Ok(())
}

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
    // A little before other programs: a pause longer than the ceiling's burst would lower what can be admitted.
    let mut trafgen = world.us.client.command("nice");
    trafgen
        .args(["-n", "-5", "trafgen"])
        .args(["--dev", "eth0", "--cpus", "1", "--no-sock-mem", "--no-cpu-stats", "--num", MOST, "--conf"])
        .arg(file);
    let process = Process::spawn("trafgen", &mut trafgen, &folder.file("output"))?;
    Ok(Flood { _process: process, _folder: folder })
}
