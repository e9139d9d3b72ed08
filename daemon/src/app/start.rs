//! Builds every part in order. Decides nothing, and serves nobody.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Instant;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::desk;
use super::error::RunError;
use super::hand_over::{self, Named, Successor};
use super::nic::{NicPart, Wanted};
use super::relay::RelayPart;
use super::reload::{Rollback, Sources};
use super::{geo, inherit, notify, ramp_file};
use crate::admin::{self, Admin, Ask, Desk, Questions, Store};
use crate::config::Config;
use crate::decide::admission::Book;
use crate::decide::inforce::InForce;
use crate::decide::policy::Policy;
use crate::decide::pressure::Pressure;
use crate::decide::ramps::Ramps;
use crate::decide::rates::{Meter, Rates};
use crate::decide::sources::SourceTables;
use crate::decide::view::ConfigSource;
use crate::proxy::{Proxy, ProxySetup};

/// Events that a slow reader may be behind.
const EVENTS: usize = 4096;

/// What a daemon begins with.
pub(super) struct Beginning {
    /// The configuration's file.
    pub(super) path: PathBuf,
    /// What was read from it.
    pub(super) config: Arc<Config>,
    /// The texts of its files.
    pub(super) sources: Sources,
    /// What is odd about them.
    pub(super) warnings: Vec<String>,
    /// Sockets that listen already.
    pub(super) inherited: Named,
    /// What comes back unless it is confirmed in time.
    pub(super) rollback: Option<Rollback>,
}

/// A daemon that accepts.
pub(super) struct Running {
    pub(super) core: Core,
    pub(super) asks: mpsc::Receiver<Ask>,
    /// Daemons that want to take over.
    pub(super) successors: mpsc::Receiver<Successor>,
    /// Ends the doors and the views.
    pub(super) stop: CancellationToken,
    pub(super) doors: Vec<JoinHandle<()>>,
}

/// Starts everything and says so.
pub(super) async fn start(beginning: Beginning) -> Result<Running, RunError> {
    let (desk, questions) = Desk::new();
    let mut told = beginning.warnings.clone();
    let (mut core, successors) = build(beginning, desk, &mut told).await?;
    for warning in &told {
        tracing::warn!("{warning}");
    }
    core.warnings = told;
    let stop = CancellationToken::new();
    let mut doors = open_doors(&core, &stop).await?;
    core.sample().await;
    core.publish_view();
    let Questions { asks, views } = questions;
    doors.push(tokio::spawn(desk::answer_views(views, Arc::clone(&core.shown), stop.clone())));
    core.proxy.accept().map_err(RunError::Runtime)?;
    inherit::store(&core.proxy);
    notify::ready(&core.line());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "{}", core.line());
    Ok(Running { core, asks, successors, stop, doors })
}

/// Builds everything; what fails undoes nothing but itself, since nothing outside was changed before the NIC.
async fn build(
    beginning: Beginning,
    desk: Desk,
    told: &mut Vec<String>,
) -> Result<(Core, mpsc::Receiver<Successor>), RunError> {
    let Beginning { path, config, sources, inherited, rollback, .. } = beginning;
    let files = sources.iter().map(|(path, _)| path.clone()).collect();
    let now = Timestamp::now();
    let store = Arc::new(Store::open(&config.host.state_dir, &config.host.instance)?);
    let found = store.load()?;
    told.extend(found.set_aside);
    // What ran out while no daemon was there is gone before anything is put into force.
    let (overrides, _) = found.overrides.expire(now);
    let records = geo::records(&config, false)?;
    told.extend(records.warnings.clone());
    let ramps = Ramps::at_start(ramp_file::load(store.folder()), &config.ceilings, now);
    let in_force = InForce::at(&config, &overrides, &ramps, now);
    let (tables, compile_ms) = geo::compile(&config, &records, &in_force.allow, &in_force.deny)?;
    let mut book = Book::default();
    let policy = first_policy(&config, &in_force, &tables, &mut book)?;
    let (events, _) = broadcast::channel(EVENTS);
    let wanted = Wanted { config: &config, in_force: &in_force, tables: &tables };
    let nic = NicPart::begin(wanted, &events).await?;
    let setup = ProxySetup {
        config: Arc::clone(&config),
        policy: Arc::clone(&policy),
        events: events.clone(),
        inherited,
    };
    let proxy = Arc::new(Proxy::start(setup)?);
    let (offer, successors) = listen_for_successors(store.folder(), &proxy);
    let relay = RelayPart::start(&config, &proxy, &events)?;
    let write_group = std::sync::Mutex::new(config.admin.write_group.clone());
    let admin = Arc::new(Admin { desk, events: events.clone(), write_group });
    let core = Core {
        path,
        source: ConfigSource { files, generation: 1, loaded: now, last_reload: None },
        sources,
        warnings: Vec::new(),
        started: now,
        steady: Instant::now(),
        store,
        overrides: Arc::new(overrides),
        ramps,
        failover: in_force.failover.clone(),
        in_force: Arc::new(in_force),
        records: geo::Records {
            summary: crate::decide::view::GeoSummary { compile_ms, ..records.summary },
            ..records
        },
        tables,
        policy,
        book,
        proxy,
        nic,
        relay,
        admin,
        events,
        meter: Meter::default(),
        rates: Arc::new(Rates::default()),
        pressure: Pressure::default(),
        rollback,
        shown: Arc::new(ArcSwap::from_pointee(None)),
        last_nic: None,
        offer,
        config,
    };
    Ok((core, successors))
}

/// Without it the daemon runs as well; only `run --replace` finds nobody.
fn listen_for_successors(
    folder: &Path,
    proxy: &Arc<Proxy>,
) -> (Option<hand_over::Offer>, mpsc::Receiver<Successor>) {
    let (to, successors) = mpsc::channel(1);
    let proxy: Weak<Proxy> = Arc::downgrade(proxy);
    let sockets = move || {
        let ending = || std::io::Error::other("the daemon is ending");
        proxy.upgrade().ok_or_else(ending)?.sockets()
    };
    let offer = hand_over::offer(&folder.join(hand_over::NAME), sockets, to);
    let told = |error: &std::io::Error| tracing::warn!(%error, "`run --replace` will not find this daemon");
    (offer.inspect_err(told).ok(), successors)
}

/// What the proxy goes by until something changes.
fn first_policy(
    config: &Arc<Config>,
    in_force: &InForce,
    tables: &Arc<SourceTables>,
    book: &mut Book,
) -> Result<Arc<ArcSwap<Policy>>, RunError> {
    let homes = Arc::clone(tables) as Arc<dyn crate::decide::home::Homes>;
    Ok(Arc::new(ArcSwap::from_pointee(Policy::compile(config, in_force, homes, book, 1)?)))
}

/// Opens the admin socket and the metrics address.
async fn open_doors(core: &Core, stop: &CancellationToken) -> Result<Vec<JoinHandle<()>>, RunError> {
    let socket = admin::bind_socket(&core.config.admin.socket)?;
    let mut doors = vec![tokio::spawn(admin::serve_socket(socket, Arc::clone(&core.admin), stop.clone()))];
    if let Some(address) = core.config.admin.metrics {
        let listener = admin::bind_metrics(address).await?;
        doors.push(tokio::spawn(admin::serve_metrics(listener, Arc::clone(&core.admin), stop.clone())));
    }
    Ok(doors)
}
