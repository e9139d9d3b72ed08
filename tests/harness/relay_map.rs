//! A relay of several regions on one host: each region a daemon with its own memcached server, each link over a cable that can be cut.
//! Never uses a port that another holds.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;

use crate::cable::Cable;
use crate::daemon::{Daemon, binary};
use crate::memcached::{Memcached, RelayRegion};
use crate::ports::free_address;

/// The regions' names, by their place.
pub const NAMES: [&str; 3] = ["eu", "us", "ap"];

/// Files of a region's `[identity]`.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Whose certificates are believed.
    pub authority: PathBuf,
}

/// Addresses and cables, before anything runs.
#[derive(Debug)]
pub struct Map {
    peers: Vec<SocketAddr>,
    /// From one region to another.
    cables: Vec<Vec<Cable>>,
    identities: Vec<Option<Identity>>,
    binary: PathBuf,
}

impl Map {
    /// So many regions on private links.
    ///
    /// # Errors
    /// When there are no ports left.
    pub fn new(regions: usize) -> Result<Self> {
        let peers = (0..regions).map(|_| free_address()).collect::<Result<Vec<_>>>()?;
        let all = || peers.iter().map(|&peer| Cable::to(peer)).collect::<Result<Vec<_>>>();
        let cables = (0..regions).map(|_| all()).collect::<Result<Vec<_>>>()?;
        Ok(Self { identities: vec![None; regions], peers, cables, binary: binary()? })
    }

    /// A region speaks over mutual TLS with this identity, and its peers are asked for theirs.
    #[must_use]
    pub fn with(mut self, identities: Vec<Identity>) -> Self {
        self.identities = identities.into_iter().map(Some).collect();
        self
    }

    /// The cable between two regions, on the way of the first one's link.
    #[must_use]
    pub fn cable(&self, from: usize, to: usize) -> &Cable {
        &self.cables[from][to]
    }

    /// Where a region's peers come in.
    #[must_use]
    pub fn peer(&self, region: usize) -> SocketAddr {
        self.peers[region]
    }

    /// Starts a region over one server; `relay` are further lines of `[relay]`, `pool` of `[[relay.pool]]`.
    ///
    /// # Errors
    /// When something does not start.
    pub fn start(&self, own: usize, relay: &str, pool: &str) -> Result<RelayRegion> {
        self.start_at(own, (relay, pool), free_address()?, free_address()?)
    }

    /// The same with addresses of one's own for the server and the front.
    ///
    /// # Errors
    /// When something does not start.
    pub fn start_at(
        &self,
        own: usize,
        (relay, pool): (&str, &str),
        server: SocketAddr,
        front: SocketAddr,
    ) -> Result<RelayRegion> {
        let server = Memcached::start_at(server, &[])?;
        let body = self.body(own, relay, pool, front, server.address())?;
        let mut daemon = Daemon::prepare_from(self.binary.clone(), None, NAMES[own], &body)?;
        daemon.run()?;
        Ok(RelayRegion::over(daemon, vec![server], front))
    }

    /// The configuration of a region.
    ///
    /// # Errors
    /// None but of formatting.
    pub fn body(
        &self,
        own: usize,
        relay: &str,
        pool: &str,
        front: SocketAddr,
        server: SocketAddr,
    ) -> Result<String> {
        let mut body = String::new();
        for (place, cable) in self.cables[own].iter().enumerate() {
            let scheme = if self.identities[own].is_some() { "https" } else { "http" };
            writeln!(
                body,
                "[[region]]\nname = {:?}\nedges = [\"{scheme}://{}\"]",
                NAMES[place], cable.address
            )?;
        }
        let trusted = if self.identities[own].is_some() { "[]" } else { "[\"127.0.0.0/8\"]" };
        if let Some(Identity { certificate, key, authority }) = &self.identities[own] {
            writeln!(
                body,
                "[identity]\ncertificate = {certificate:?}\nkey = {key:?}\nauthority = {authority:?}"
            )?;
        }
        let others: Vec<&str> = (0..self.peers.len()).filter(|&at| at != own).map(|at| NAMES[at]).collect();
        write!(
            body,
            r#"
[geo]
default_region = "eu"
[[upstream]]
name = "none"
endpoints = ["http://127.0.0.1:9"]
[[listener]]
name = "peer"
address = "{}"
kind = "peer"
trusted_peers = {trusted}
upstream = "none"
[relay]
{relay}
[[relay.pool]]
name = "p"
listen = "{front}"
servers = ["{server}"]
regions = {others:?}
{pool}
"#,
            self.peers[own],
        )?;
        Ok(body)
    }
}
