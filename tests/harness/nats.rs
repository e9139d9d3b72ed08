//! A real NATS server with JetStream. Never keeps its store beyond its owner.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::ports::free_address;
use crate::process::Process;
use crate::scratch::Folder;

/// Longest wait for a server to accept.
const BOUND: Duration = Duration::from_secs(60);

/// A server that ends with its owner.
#[derive(Debug)]
pub struct NatsServer {
    address: SocketAddr,
    folder: Folder,
    process: Option<Process>,
}

impl NatsServer {
    /// Starts one; `further` are lines of its configuration.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(further: &str) -> Result<Self> {
        let (address, folder) = (free_address()?, Folder::new("nats")?);
        let store = folder.file("store");
        folder.write(
            "nats.conf",
            &format!("listen: \"{address}\"\njetstream {{ store_dir: {store:?} }}\n{further}\n"),
        )?;
        let mut server = Self { address, folder, process: None };
        server.run()?;
        Ok(server)
    }

    /// Starts it again on the same address, with what it had stored.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn run(&mut self) -> Result<()> {
        let mut command = Command::new("nats-server");
        command.arg("--config").arg(self.folder.file("nats.conf"));
        let mut process = Process::spawn("nats-server", &mut command, &self.folder.file("log"))?;
        let address = self.address;
        process.wait_until("nats-server accepting", BOUND, || TcpStream::connect(address).is_ok())?;
        self.process = Some(process);
        Ok(())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("nats-server does not run")?.kill()
    }

    /// Forgets all that it had stored; only while it is killed.
    ///
    /// # Errors
    /// When its store can't be removed.
    pub fn forget(&self) -> Result<()> {
        Ok(std::fs::remove_dir_all(self.folder.file("store"))?)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
