//! What the relay's bench measures: two regions with a front and a memcached each, and twemproxy before a memcached of the first.
//! Never anything that stays when the bench has ended.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use tidegate_tests::memcached::{Places, RelayRegion};
use tidegate_tests::ports::free_address;
use tidegate_tests::process::{Process, wait_until};
use tidegate_tests::scratch::Folder;

/// Longest wait for a region to be told everything.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Two regions.
pub(super) struct Pair {
    pub(super) eu: RelayRegion,
    pub(super) us: RelayRegion,
    /// Of `eu`: what is set here is not captured.
    pub(super) uncaptured: SocketAddr,
}

impl Pair {
    /// Starts them; `relay` are further lines of `[relay]`.
    pub(super) fn start(binary: PathBuf, relay: &str) -> Result<Self> {
        let places = Places::pick_for(binary)?.with_workers(1);
        let uncaptured = free_address()?;
        let pool = format!("repeat_after = \"0s\"\nrefill_listen = \"{uncaptured}\"");
        let eu = places.region(0, 1, relay, &pool)?;
        let us = places.region(1, 1, relay, "repeat_after = \"0s\"")?;
        let pair = Self { eu, us, uncaptured };
        pair.linked()?;
        Ok(pair)
    }

    /// Waits until the link is there.
    pub(super) fn linked(&self) -> Result<()> {
        wait_until("the link", PATIENCE, || {
            self.eu.report().is_ok_and(|report| report.contains("\"edge\": \"http"))
        })
    }

    /// The first region's daemon.
    pub(super) fn process(&self) -> Result<u32> {
        self.eu.daemon.id().context("tidegate ended")
    }
}

/// A twemproxy before one server.
pub(super) struct Twemproxy {
    pub(super) address: SocketAddr,
    process: Process,
    _folder: Folder,
}

impl Twemproxy {
    pub(super) fn start(server: SocketAddr) -> Result<Self> {
        let (folder, address, stats) = (Folder::new("twemproxy")?, free_address()?, free_address()?);
        let text = format!(
            "bench:\n  listen: {address}\n  hash: fnv1a_64\n  distribution: ketama\n  auto_eject_hosts: false\n  servers:\n   - {server}:1\n"
        );
        let file = folder.write("nutcracker.yml", &text)?;
        let mut command = Command::new("nutcracker");
        command.arg("-c").arg(file).args(["-v", "0", "-a", "127.0.0.1", "-s", &stats.port().to_string()]);
        command.arg("-p").arg(folder.file("pid")).arg("-o").arg(folder.file("own.log"));
        let mut process = Process::spawn("nutcracker", &mut command, &folder.file("log"))?;
        process.wait_until("accepting", Duration::from_secs(10), || {
            std::net::TcpStream::connect(address).is_ok()
        })?;
        Ok(Self { address, process, _folder: folder })
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }
}
