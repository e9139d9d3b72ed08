//! Builds the relay from the configuration. Never runs it.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::error::RelayError;
use super::front::{self, pool::Pool};
use super::hub::Relay;
use super::spool::{self, LaneConfig, LaneEvent, Spool, SpoolConfig, StoreError, Teller};
use super::threads;
use super::workers::{self, FrontSocket};
use crate::config::Config;
use crate::config::types::{self, SpoolSync, Transport, WhenUnknown};
use crate::decide::event::{Event, RelayWhat, What};
use crate::decide::region::RegionId;
use crate::link::{PeerTls, RelayStream};

/// The spool's file, in the instance's state folder.
const SPOOL: &str = "relay.redb";

/// How the relay reaches other regions and they reach it.
#[derive(Debug, Default)]
pub struct Links {
    /// This host's identity; `None` where edges are cleartext on a private link.
    pub tls: Option<Arc<PeerTls>>,
    /// Streams that peers opened on a peer listener.
    pub inbound: Option<mpsc::Receiver<RelayStream>>,
}

/// Starts the relay: fronts, spool, links. `state` is `STATE_DIR/INSTANCE`.
///
/// # Errors
/// See [`RelayError`]; nothing is left running then.
pub fn start(
    config: &Config,
    state: &Path,
    links: Links,
    events: &broadcast::Sender<Arc<Event>>,
) -> Result<Relay, RelayError> {
    match config.relay.transport {
        Transport::Nats { .. } if !cfg!(feature = "nats") => return Err(RelayError::Transport("nats")),
        Transport::Sqs { .. } if !cfg!(feature = "sqs") => return Err(RelayError::Transport("sqs")),
        _ => {}
    }
    let stop = CancellationToken::new();
    let lanes = lanes(config);
    let (spool, spool_thread) = open_spool(config, state, &lanes, events)?;
    let pools: Vec<Arc<Pool>> = config
        .relay
        .pools
        .iter()
        .enumerate()
        .map(|(place, pool)| {
            let (name, events) = (pool.name.clone(), events.clone());
            let on_flush = Box::new(move || send(&events, &name, None, RelayWhat::Flushed));
            Arc::new(Pool::new(place, pool.clone(), spool.clone(), on_flush))
        })
        .collect();
    let mut threads = Vec::new();
    let mut started = start_workers(config, &pools, &stop, &mut threads);
    let plan = threads::plan(config, &lanes, links, &spool, &pools, &stop, events);
    let status = plan.status.clone();
    if started.is_ok() {
        started = threads::start_links(plan).map(|thread| threads.push(thread)).map_err(RelayError::Thread);
    }
    threads.push(spool_thread);
    let relay = Relay::new(spool, pools, lanes, stop, threads, status);
    match started {
        Ok(()) => Ok(relay),
        Err(error) => {
            relay.stop();
            Err(error)
        }
    }
}

/// Every pool and region, in order.
fn lanes(config: &Config) -> Vec<(usize, RegionId)> {
    let own = config.host.region;
    let pools = config.relay.pools.iter().enumerate();
    pools
        .flat_map(|(place, pool)| pool.regions.iter().map(move |&region| (place, region)))
        .filter(|&(_, region)| region != own)
        .collect()
}

fn lane_config(config: &Config, pool: usize, region: RegionId) -> LaneConfig {
    let from: &types::Pool = &config.relay.pools[pool];
    LaneConfig {
        pool,
        name: format!("{}\0{}", from.name, config.regions[region].name),
        group: region.index(),
        expire_after: from.expire_after,
        flush_unknown: from.when_unknown == WhenUnknown::Flush,
    }
}

fn open_spool(
    config: &Config,
    state: &Path,
    lanes: &[(usize, RegionId)],
    events: &broadcast::Sender<Arc<Event>>,
) -> Result<(Spool, std::thread::JoinHandle<()>), RelayError> {
    std::fs::create_dir_all(state).map_err(|source| RelayError::Folder { path: state.into(), source })?;
    let path = state.join(SPOOL);
    let spool_config = SpoolConfig {
        limit_bytes: config.relay.spool_bytes,
        group: config.relay.spool_sync == SpoolSync::Group,
        lanes: lanes.iter().map(|&(pool, region)| lane_config(config, pool, region)).collect(),
        pools: config.relay.pools.len(),
        tick: spool::TICK,
    };
    let fail = |source| RelayError::Spool { path: path.clone(), source };
    let tell = || teller(config, lanes, events.clone());
    match Spool::open(spool::file(path.clone()), &spool_config, false, tell()) {
        Err(error @ StoreError::Damaged(_)) => {
            let aside = state.join(format!("{SPOOL}.damaged-{}", Timestamp::now().as_second()));
            std::fs::rename(&path, &aside)
                .map_err(|source| RelayError::Folder { path: path.clone(), source })?;
            tracing::error!(%error, aside = %aside.display(), "the spool was set aside; what it held is unknown");
            Spool::open(spool::file(path.clone()), &spool_config, true, tell()).map_err(fail)
        }
        other => other.map_err(fail),
    }
}

fn teller(config: &Config, lanes: &[(usize, RegionId)], events: broadcast::Sender<Arc<Event>>) -> Teller {
    let names: Vec<(String, RegionId)> =
        lanes.iter().map(|&(pool, region)| (config.relay.pools[pool].name.clone(), region)).collect();
    Box::new(move |lane, what| {
        let (pool, region) = &names[lane];
        let what = match what {
            LaneEvent::Converted(keys) => RelayWhat::Converted(keys),
            LaneEvent::Unknown => RelayWhat::Unknown(1),
        };
        tracing::warn!(%pool, region = region.index(), ?what, "relay");
        send(&events, pool, Some(*region), what);
    })
}

/// Tells of something that the relay did; nobody may be listening.
pub(super) fn send(
    events: &broadcast::Sender<Arc<Event>>,
    pool: &str,
    region: Option<RegionId>,
    what: RelayWhat,
) {
    let relay = crate::decide::event::Relay { pool: pool.into(), region, what };
    let _listeners = events.send(Arc::new(Event { at: Timestamp::now(), what: What::Relay(relay) }));
}

fn start_workers(
    config: &Config,
    pools: &[Arc<Pool>],
    stop: &CancellationToken,
    threads: &mut Vec<std::thread::JoinHandle<()>>,
) -> Result<(), RelayError> {
    if pools.is_empty() {
        return Ok(());
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = if config.host.workers == 0 { cores } else { config.host.workers };
    for number in 0..workers {
        let mut sockets = Vec::new();
        for pool in pools {
            let ways = [(Some(pool.config.listen), false), (pool.config.refill_listen, true)];
            for (address, refill_port) in
                ways.into_iter().filter_map(|(address, port)| Some((address?, port)))
            {
                let listener = front::listen(address).map_err(|source| RelayError::Listen {
                    pool: pool.config.name.clone(),
                    address,
                    source,
                })?;
                sockets.push(FrontSocket { listener, pool: Arc::clone(pool), refill_port });
            }
        }
        threads.push(
            workers::start(number, sockets, pools[0].spool.clone(), stop.clone())
                .map_err(RelayError::Thread)?,
        );
    }
    Ok(())
}
