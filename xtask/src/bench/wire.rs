//! When requests left a proxy for the origin, by the kernel's clock: tcpdump on the loopback. Never slows a proxy down to ask it.
//!
//! The kernel stamps a packet while the proxy is still in its call to write: neither the origin's turn on its core nor the load's has a part in it.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tidegate_tests::process::Process;
use tidegate_tests::scratch::Folder;

use super::contender::{OTHER_CORE, pin};

/// Longest wait for tcpdump to begin, or to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// A pcap file's header, and that of each packet.
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;
/// Little-endian, with nanoseconds.
const MAGIC: [u8; 4] = [0x4d, 0x3c, 0xb2, 0xa1];

/// tcpdump, keeping the first packet of each GET that goes to one address.
pub(super) struct Wire {
    process: Process,
    folder: Folder,
}

impl Wire {
    /// Begins; what is written from now on is kept.
    pub(super) fn tap(to: SocketAddr) -> Result<Self> {
        ensure!(rustix::process::geteuid().is_root(), "reading the loopback's packets needs root");
        let folder = Folder::new("wire")?;
        let get = u32::from_be_bytes(*b"GET ");
        let filter = format!("tcp dst port {} and tcp[((tcp[12:1] & 0xf0) >> 2):4] = {get}", to.port());
        let mut command = Command::new("tcpdump");
        command.args(["-i", "lo", "-n", "-p", "-U", "-Z", "root", "-s", "128", "-B", "16384"]);
        command.args(["--time-stamp-precision=nano", "-w"]).arg(folder.file("pcap")).arg(filter);
        let mut process = Process::spawn("tcpdump", &mut command, &folder.file("log"))?;
        let log = folder.file("log");
        let listens = || fs::read_to_string(&log).is_ok_and(|said| said.contains("listening on"));
        process.wait_until("listening", PATIENCE, listens)?;
        pin(process.id(), OTHER_CORE)?;
        Ok(Self { process, folder })
    }

    /// Ends, and says when each request was written, in microseconds since the first one.
    pub(super) fn times(mut self) -> Result<Vec<u64>> {
        self.process.signal(Signal::INT)?;
        self.process.wait(PATIENCE)?;
        let said = self.process.output();
        ensure!(said.contains("\n0 packets dropped by kernel"), "tcpdump missed packets:\n{said}");
        times(&fs::read(self.folder.file("pcap"))?)
    }
}

/// The packets' times in a file that tcpdump wrote, since the first one's.
fn times(pcap: &[u8]) -> Result<Vec<u64>> {
    ensure!(pcap.starts_with(&MAGIC), "not a little-endian pcap file with nanoseconds");
    let mut rest = pcap.get(FILE_HEADER..).context("cut short")?;
    let mut stamps = Vec::new();
    while let Some(header) = rest.get(..PACKET_HEADER) {
        let [seconds, ns, kept, _] = words(header);
        stamps.push(seconds * 1_000_000 + ns / 1_000);
        rest = rest.get(PACKET_HEADER + usize::try_from(kept)?..).context("cut short")?;
    }
    stamps.sort_unstable();
    let first = stamps.first().copied().unwrap_or(0);
    Ok(stamps.into_iter().map(|stamp| stamp - first).collect())
}

/// The four numbers of a packet's header.
fn words(header: &[u8]) -> [u64; 4] {
    std::array::from_fn(|at| {
        let bytes = header[at * 4..at * 4 + 4].iter().rev();
        bytes.fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    })
}

#[cfg(test)]
mod tests {
    use super::{MAGIC, times};

    #[test]
    fn a_file_of_two_packets() {
        let mut file = MAGIC.to_vec();
        file.resize(24, 0);
        for (seconds, ns, data) in [(7_u32, 999_999_000_u32, &b"abc"[..]), (8, 1_000, b"")] {
            for word in [seconds, ns, data.len() as u32, 60] {
                file.extend(word.to_le_bytes());
            }
            file.extend(data);
        }
        assert_eq!(times(&file).unwrap(), [0, 2]);
        assert!(
            times(&file[..30]).unwrap().is_empty() && times(&file[..41]).is_err() && times(b"x").is_err()
        );
    }
}
