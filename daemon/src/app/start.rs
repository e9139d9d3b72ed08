//! Starts every part in order, serves until told to stop, and stops in order. Decides nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::error::RunError;
use super::nic::{self, NicPart};
use super::relay::RelayPart;
use super::{geo, logs, notify, ramp_file};
use crate::admin::{self, Admin, Ask, Desk, Store};
use crate::config::{self, Config, Loaded};
use crate::decide::admission::Book;
use crate::decide::event::{Event, RelayWhat, What};
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
/// How often time is looked at.
const TICK: Duration = Duration::from_millis(200);
/// Longest wait for open requests at the end.
const DRAIN: Duration = Duration::from_secs(15);

/// Runs until told to stop.
pub(super) async fn run(path: &Path) -> Result<(), RunError> {
    let Loaded { config, warnings, files } = config::load(path)?;
    logs::init(&config.log);
    let mut told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    let mut signals = Signals::new().map_err(RunError::Runtime)?;
    let (desk, asks) = Desk::new();
    let mut core = start(path, config, files, desk, &mut told).await?;
    for warning in &told {
        tracing::warn!("{warning}");
    }
    core.warnings = told;
    let stop = CancellationToken::new();
    let doors = open_doors(&core, &stop).await?;
    core.sample().await;
    notify::ready(&core.line());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "{}", core.line());
    serve(&mut core, asks, &mut signals).await;
    finish(core, &mut signals).await;
    stop.cancel();
    for door in doors {
        _ = door.await;
    }
    Ok(())
}

/// Builds everything; what fails undoes nothing but itself, since nothing outside was changed before the NIC.
async fn start(
    path: &Path,
    config: Config,
    files: Vec<std::path::PathBuf>,
    desk: Desk,
    told: &mut Vec<String>,
) -> Result<Core, RunError> {
    let now = Timestamp::now();
    let config = Arc::new(config);
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
    let mut nic = NicPart::open(&config, &events).await?;
    if let Some(report) = nic.apply(&config, &in_force, &tables).await?
        && let Some(error) = nic::fatal(report)
    {
        return Err(RunError::NicAttach(error));
    }
    let setup = ProxySetup {
        config: Arc::clone(&config),
        policy: Arc::clone(&policy),
        events: events.clone(),
        inherited: Vec::new(),
    };
    let proxy = Arc::new(Proxy::start(setup)?);
    let relay = RelayPart::start(&config, &proxy, &events)?;
    let write_group = std::sync::Mutex::new(config.admin.write_group.clone());
    let admin = Arc::new(Admin { desk, events: events.clone(), write_group });
    Ok(Core {
        path: path.to_owned(),
        source: ConfigSource { files, generation: 1, loaded: now, last_reload: None },
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
        rollback: None,
        config,
    })
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

/// What the daemon is told from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// One thing after the other, until told to end.
async fn serve(core: &mut Core, mut asks: mpsc::Receiver<Ask>, signals: &mut Signals) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut alive = tokio::time::interval(notify::watchdog_interval().unwrap_or(Duration::from_secs(3600)));
    let mut events = core.events.subscribe();
    let mut addresses = core.nic.watch();
    loop {
        // A reload may have opened the NIC.
        addresses = addresses.or_else(|| core.nic.watch());
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            // SIGHUP's outcome is in the log and in `status`.
            _ = signals.hangup.recv() => drop(core.reload(None, None).await),
            Some(ask) = asks.recv() => core.answer(ask).await,
            _ = tick.tick() => core.tick().await,
            _ = second.tick() => core.sample().await,
            _ = alive.tick() => notify::alive(),
            () = nic::addresses_changed(&mut addresses) => core.addresses_changed().await,
            event = events.recv() => notice(core, event.ok().as_deref()),
        }
    }
}

fn notice(core: &mut Core, event: Option<&Event>) {
    if let Some(What::Relay(relay)) = event.map(|event| &event.what)
        && relay.what == RelayWhat::Flushed
    {
        core.cache_flushed();
    }
}

/// Lets open requests finish; a second signal ends it at once. The program stays on the interfaces.
async fn finish(core: Core, signals: &mut Signals) {
    notify::stopping();
    tracing::info!("stopping: the NIC program stays attached and enforces until its lease ends");
    core.proxy.drain();
    let until = Instant::now() + DRAIN;
    while !core.proxy.is_drained() && Instant::now() < until {
        tokio::select! {
            () = signals.end() => break,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
    let socket = core.config.admin.socket.clone();
    // The view tasks hold the proxy for moments only; whoever is last stops it.
    drop(core);
    _ = std::fs::remove_file(socket);
}
