//! Edges inside the test's own process: the proxy with a policy compiled from a configuration's text. Never a daemon, never the NIC.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use tidegate::config::{self, Config};
use tidegate::decide::admission::Book;
use tidegate::decide::event::Event;
use tidegate::decide::home::PrefixHomes;
use tidegate::decide::inforce::InForce;
use tidegate::decide::policy::Policy;
use tidegate::decide::region::RegionId;
use tidegate::proxy::{Proxy, ProxySetup};
use tokio::sync::broadcast;

/// A running edge; stopped when dropped.
#[derive(Debug)]
pub struct Edge {
    /// Its configuration.
    pub config: Arc<Config>,
    /// Its proxy.
    pub proxy: Proxy,
    policy: Arc<ArcSwap<Policy>>,
    book: Book,
    in_force: InForce,
    events: broadcast::Sender<Arc<Event>>,
}

impl Edge {
    /// Starts an edge from a configuration's text.
    ///
    /// # Errors
    /// When the configuration has faults or an address can't be listened on.
    pub fn start(text: &str) -> Result<Self> {
        let loaded = config::from_text(Path::new("edge.toml"), text)
            .map_err(|error| anyhow::anyhow!("{error}\n{text}"))?;
        let config = Arc::new(loaded.config);
        let in_force = InForce::of_file(&config);
        let mut book = Book::default();
        let policy = Arc::new(ArcSwap::from_pointee(compile(&config, &in_force, &mut book)?));
        let (events, _) = broadcast::channel(1024);
        let proxy = Proxy::start(ProxySetup {
            config: Arc::clone(&config),
            policy: Arc::clone(&policy),
            events: events.clone(),
            inherited: Vec::new(),
        })?;
        proxy.accept()?;
        Ok(Self { config, proxy, policy, book, in_force, events })
    }

    /// Where a listener listens.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn address(&self, listener: &str) -> Result<SocketAddr> {
        let found = self.proxy.addresses().into_iter().find(|(name, _)| name == listener);
        found.map(|(_, address)| address).with_context(|| format!("no listener {listener}"))
    }

    /// Changes what is in force, as an operator would.
    ///
    /// # Errors
    /// When the policy does not compile.
    pub fn change(&mut self, change: impl FnOnce(&mut InForce)) -> Result<()> {
        change(&mut self.in_force);
        self.policy.store(Arc::new(compile(&self.config, &self.in_force, &mut self.book)?));
        Ok(())
    }

    /// The region with this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn region(&self, name: &str) -> Result<RegionId> {
        let found = self.config.regions.iter().find(|(_, region)| region.name == name);
        found.map(|(id, _)| id).with_context(|| format!("no region {name}"))
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }
}

fn compile(config: &Config, in_force: &InForce, book: &mut Book) -> Result<Policy> {
    let records = config.geo.records.iter();
    let records = records.flat_map(|record| record.prefixes.iter().map(|prefix| (*prefix, record.region)));
    let homes = PrefixHomes::new(config.geo.default_region, records, &in_force.allow, &in_force.deny);
    Ok(Policy::compile(config, in_force, Arc::new(homes), book, 1)?)
}
