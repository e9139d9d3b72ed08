//! The thread that links and applying run on. Never a client's connection.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::apply::{self, Jobs};
use super::front::pool::Pool;
use super::link::inbound::{self, InPool, Inbound};
use super::link::outgoing::{OutLane, Outgoing};
use super::setup::Links;
use super::spool::Spool;
use crate::config::Config;
use crate::decide::event::Event;
use crate::decide::region::RegionId;
use crate::decide::report::relay::LinkReport;
use crate::link::RelayStream;

type Task = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// Everything that runs on the thread.
pub(super) struct Plan {
    tasks: Vec<Task>,
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
    let mut tasks: Vec<Task> = Vec::new();
    let mut jobs: Vec<Jobs> = Vec::new();
    for pool in pools {
        let (to, task) = apply::task(Arc::clone(pool), events.clone());
        jobs.push(to);
        tasks.push(Box::pin(task));
        let pool = Arc::clone(pool);
        tasks.push(Box::pin(async move { pool.watch().await }));
    }
    let mut status = Vec::new();
    let regions: BTreeSet<RegionId> = lanes.iter().map(|&(_, region)| region).collect();
    for region in regions {
        let report = Arc::new(Mutex::new(LinkReport { region, edge: None, failure: None }));
        status.push(Arc::clone(&report));
        let link = Outgoing {
            own: config.regions[config.host.region].name.clone(),
            region,
            name: config.regions[region].name.clone(),
            edges: config.regions[region].edges.clone(),
            tls: links.tls.clone(),
            spool: spool.clone(),
            group: region.index(),
            lanes: out_lanes(lanes, region, pools, &jobs),
            events: events.clone(),
            status: report,
            stop: stop.clone(),
        };
        tasks.push(Box::pin(link.run()));
    }
    if let Some(streams) = links.inbound {
        tasks.push(Box::pin(peers(config, pools, &jobs, stop, streams)));
    }
    Plan { tasks, stop: stop.clone(), status }
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

fn peers(
    config: &Config,
    pools: &[Arc<Pool>],
    jobs: &[Jobs],
    stop: &CancellationToken,
    streams: mpsc::Receiver<RelayStream>,
) -> impl Future<Output = ()> + use<> {
    let shared =
        |pool: &Arc<Pool>| InPool { jobs: jobs[pool.place].clone(), regions: pool.config.regions.clone() };
    let pools: HashMap<String, InPool> =
        pools.iter().map(|pool| (pool.config.name.clone(), shared(pool))).collect();
    let inbound = Inbound {
        own: config.host.region,
        names: config.regions.map(|(_, region)| region.name.clone()),
        pools,
        open: AtomicUsize::new(0),
        stop: stop.clone(),
    };
    inbound::accept(Arc::new(inbound), streams)
}

/// Starts the thread.
pub(super) fn start_links(plan: Plan) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("relay-link".into()).spawn(move || {
        runtime.block_on(async {
            for task in plan.tasks {
                tokio::spawn(task);
            }
            plan.stop.cancelled().await;
        });
    })
}
