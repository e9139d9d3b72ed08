//! The thread that links and applying run on. Never a client's connection.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::apply::{self, Jobs};
use super::front::pool::Pool;
use super::link::door::{Door, InPool};
use super::link::inbound::{self, Inbound};
use super::link::lanes::{Lanes, OutLane};
use super::link::outgoing::Outgoing;
use super::setup::Links;
use super::spool::Spool;
use crate::config::Config;
use crate::config::types::Transport;
use crate::decide::event::Event;
use crate::decide::region::RegionId;
use crate::decide::report::relay::LinkReport;

type Task = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Longest wait for what ends by itself after the stop.
const FAREWELL: Duration = Duration::from_secs(3);

/// Everything that runs on the thread.
pub(super) struct Plan {
    tasks: Vec<Task>,
    /// Is waited for after the stop.
    last: Option<Task>,
    stop: CancellationToken,
    pub(super) status: Vec<Arc<Mutex<LinkReport>>>,
}

/// Makes the tasks: applying for each pool, a link to each region, and the peers' links.
pub(super) fn plan(
    config: &Config,
    lanes: &[(usize, RegionId)],
    links: Links,
    spool: &Spool,
    pools: &[Arc<Pool>],
    stop: &CancellationToken,
    events: &broadcast::Sender<Arc<Event>>,
) -> Plan {
    let (mut tasks, mut last): (Vec<Task>, _) = (Vec::new(), None);
    let mut jobs: Vec<Jobs> = Vec::new();
    for pool in pools {
        let (to, task) = apply::task(Arc::clone(pool), events.clone());
        jobs.push(to);
        tasks.push(Box::pin(task));
        let pool = Arc::clone(pool);
        let flushed = Arc::clone(&pool);
        tasks.push(Box::pin(async move { pool.watch().await }));
        tasks.push(Box::pin(async move { flushed.ripen().await }));
    }
    let mut status = Vec::new();
    let regions: BTreeSet<RegionId> = lanes.iter().map(|&(_, region)| region).collect();
    let towards: Vec<Lanes> = regions
        .into_iter()
        .map(|region| {
            let report = Arc::new(Mutex::new(LinkReport { region, edge: None, failure: None }));
            status.push(Arc::clone(&report));
            Lanes {
                region,
                name: config.regions[region].name.clone(),
                spool: spool.clone(),
                group: region.index(),
                lanes: out_lanes(lanes, region, pools, &jobs),
                events: events.clone(),
                status: report,
            }
        })
        .collect();
    let door = Door {
        own: config.host.region,
        names: config.regions.map(|(_, region)| region.name.clone()),
        pools: pools.iter().map(|pool| (pool.config.name.clone(), in_pool(pool, &jobs))).collect(),
    };
    match &config.relay.transport {
        Transport::Direct => tasks.extend(direct(config, towards, door, links, stop)),
        Transport::Nats { servers } => tasks.extend(nats(config, servers, towards, door, stop)),
        Transport::Sqs { endpoint, queues } => {
            last = sqs(endpoint.as_deref(), queues, towards, door, stop);
        }
    }
    Plan { tasks, last, stop: stop.clone(), status }
}

/// Links from edge to edge, and the peers' links.
fn direct(
    config: &Config,
    towards: Vec<Lanes>,
    door: Door,
    links: Links,
    stop: &CancellationToken,
) -> Vec<Task> {
    let own = config.regions[config.host.region].name.clone();
    let mut tasks: Vec<Task> = Vec::new();
    for lanes in towards {
        let link = Outgoing {
            own: own.clone(),
            edges: config.regions[lanes.region].edges.clone(),
            tls: links.tls.clone(),
            lanes,
            stop: stop.clone(),
        };
        tasks.push(Box::pin(link.run()));
    }
    if let Some(streams) = links.inbound {
        let inbound = Inbound { door, open: AtomicUsize::new(0), stop: stop.clone() };
        tasks.push(Box::pin(inbound::accept(Arc::new(inbound), streams)));
    }
    tasks
}

#[cfg(feature = "nats")]
fn nats(
    config: &Config,
    servers: &[String],
    regions: Vec<Lanes>,
    door: Door,
    stop: &CancellationToken,
) -> Option<Task> {
    let nats = super::nats::Nats {
        servers: servers.to_vec(),
        identity: config.identity.clone(),
        door,
        regions,
        keep: config.relay.pools.iter().map(|pool| (pool.name.clone(), pool.expire_after)).collect(),
        stop: stop.clone(),
    };
    Some(Box::pin(nats.run()))
}

#[cfg(not(feature = "nats"))]
fn nats(_: &Config, _: &[String], _: Vec<Lanes>, _: Door, _: &CancellationToken) -> Option<Task> {
    None
}

#[cfg(feature = "sqs")]
fn sqs(
    endpoint: Option<&str>,
    queues: &[(RegionId, String)],
    regions: Vec<Lanes>,
    door: Door,
    stop: &CancellationToken,
) -> Option<Task> {
    let (endpoint, queues) = (endpoint.map(str::to_owned), queues.to_vec());
    Some(Box::pin(super::sqs::Sqs { endpoint, queues, door, regions, stop: stop.clone() }.run()))
}

#[cfg(not(feature = "sqs"))]
fn sqs(
    _: Option<&str>,
    _: &[(RegionId, String)],
    _: Vec<Lanes>,
    _: Door,
    _: &CancellationToken,
) -> Option<Task> {
    None
}

fn in_pool(pool: &Arc<Pool>, jobs: &[Jobs]) -> InPool {
    InPool { jobs: jobs[pool.place].clone(), regions: pool.config.regions.clone() }
}

fn out_lanes(
    lanes: &[(usize, RegionId)],
    region: RegionId,
    pools: &[Arc<Pool>],
    jobs: &[Jobs],
) -> Vec<OutLane> {
    let own = lanes.iter().enumerate().filter(|(_, lane)| lane.1 == region);
    own.map(|(lane, &(pool, _))| OutLane {
        lane,
        pool: pools[pool].config.name.clone(),
        jobs: jobs[pool].clone(),
        verify: pools[pool].config.verify,
        repeat_after: pools[pool].config.repeat_after,
    })
    .collect()
}

/// Starts the thread.
pub(super) fn start_links(plan: Plan) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("relay-link".into()).spawn(move || {
        runtime.block_on(async {
            for task in plan.tasks {
                tokio::spawn(task);
            }
            let last = plan.last.map(tokio::spawn);
            plan.stop.cancelled().await;
            if let Some(last) = last {
                _ = tokio::time::timeout(FAREWELL, last).await;
            }
        });
    })
}
