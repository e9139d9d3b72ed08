//! The relay's place in the daemon. Never forwards a byte itself.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::error::RunError;
use crate::config::Config;
use crate::decide::event::Event;
use crate::decide::report::relay::RelayReport;
use crate::proxy::Proxy;
use crate::relay::{self, Links, Relay};

/// The relay, or that there is none.
pub(super) struct RelayPart(Option<Arc<Relay>>);

/// A handle for questions.
#[derive(Clone)]
pub(super) struct RelayHandle(Option<Arc<Relay>>);

impl RelayPart {
    /// Starts it where the configuration has pools; peers' streams come from the proxy's listeners.
    pub(super) fn start(
        config: &Config,
        proxy: &Proxy,
        events: &broadcast::Sender<Arc<Event>>,
    ) -> Result<Self, RunError> {
        if config.relay.pools.is_empty() {
            return Ok(Self(None));
        }
        let state = config.host.state_dir.join(&config.host.instance);
        let links = Links { tls: proxy.identity(), inbound: proxy.relay_streams() };
        let relay = relay::start(config, &state, links, events)
            .map_err(|error| RunError::Relay(error.to_string()))?;
        Ok(Self(Some(Arc::new(relay))))
    }

    /// A handle.
    pub(super) fn handle(&self) -> RelayHandle {
        RelayHandle(self.0.clone())
    }
}

impl RelayHandle {
    /// What the relay tells of itself; `None` without pools.
    pub(super) fn report(&self) -> Option<RelayReport> {
        self.0.as_ref().map(|relay| relay.report())
    }

    /// Has keys forgotten in the pool's other regions.
    pub(super) async fn invalidate(&self, pool: &str, keys: Vec<Vec<u8>>) -> Result<(), String> {
        let Some(relay) = &self.0 else { return Err("the relay is not running".to_owned()) };
        relay.invalidate(pool, &keys).await.map(drop).map_err(|error| error.to_string())
    }
}
