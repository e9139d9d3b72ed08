//! The proxy: listeners, upstreams and links to other regions' edges. Never decides where a request goes or whether it is let in; `decide` does.
//!
//! One thread per worker with a runtime, a connection pool and counters of its own; workers share only snapshots and atomics. One more
//! thread probes. [`Proxy::start`] opens every socket or none.

mod amend;
mod bind;
mod body;
mod carry;
mod clock;
mod conn;
mod connect;
mod enter;
mod facts;
mod headers;
mod health;
mod meter;
mod pins;
mod pool;
mod raw_head;
mod relay;
mod report;
mod respond;
mod sample;
mod service;
mod shared;
mod stats;
mod stream;
mod tell;
mod tls;
mod topology;
mod tunnel;
mod worker;

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use bind::BindError;
pub use pins::PinError;

use crate::config::Config;
use crate::decide::event::Event;
use crate::decide::pin::Pins;
use crate::decide::policy::Policy;
use crate::decide::report::proxy::ProxyReport;
use crate::decide::route::Live;
use crate::link::{PeerTls, RelayStream, TlsFault};
use report::Rates;
use shared::Shared;
use stats::{Stats, WorkerStats};
use tls::Identities;
use topology::Topology;
use worker::{Opening, Start};

/// Streams for the relay that wait to be taken; more are closed.
const RELAY_STREAMS: usize = 16;

/// What the proxy starts with.
#[derive(Debug)]
pub struct ProxySetup {
    /// Listeners, upstreams and edges.
    pub config: Arc<Config>,
    /// Compiled by `app`, replaced there at each change.
    pub policy: Arc<ArcSwap<Policy>>,
    /// Where samples and changes are told.
    pub events: broadcast::Sender<Arc<Event>>,
    /// Sockets that are listening already (socket activation, hand-over), by listener name. One that fits a listener's name is used by
    /// the first worker; the others open their own beside it.
    pub inherited: Vec<(String, TcpListener)>,
}

/// The proxy could not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket could not be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A certificate, key or authority can't be used.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// `[session]` can't be used.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// A thread could not be started.
    #[error("can't start a proxy thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// The running proxy.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    config: Arc<ArcSwap<Config>>,
    stats: Stats,
    rates: Mutex<Rates>,
    relay_streams: Mutex<Option<mpsc::Receiver<RelayStream>>>,
    addresses: Vec<(String, SocketAddr)>,
    changed: watch::Sender<u64>,
    drain: CancellationToken,
    stop: CancellationToken,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
}

impl Proxy {
    /// Opens every listener's sockets and starts the workers and the prober.
    ///
    /// # Errors
    /// When an address can't be listened on or a thread can't be started.
    pub fn start(setup: ProxySetup) -> Result<Self, StartError> {
        let ProxySetup { config, policy, events, inherited } = setup;
        let workers = worker_count(&config);
        let identities = Arc::new(Identities::load(&config)?);
        let pins = ArcSwapOption::new(pins::load(&config)?);
        let (openings, addresses) = open_all(&config, &identities, inherited, workers)?;
        let (relay, relay_streams) = mpsc::channel(RELAY_STREAMS);
        let live = Arc::new(ArcSwap::from_pointee(Live::all_up(&policy.load())));
        let topology = Arc::new(ArcSwap::from_pointee(Topology::new(&config, None)));
        let shared = Arc::new(Shared {
            policy,
            live,
            topology,
            identities,
            pins,
            relay,
            events,
            pseudonym: pseudonym(&config, &addresses),
            access: config.log.access,
            draining: false.into(),
        });
        let (changed, _) = watch::channel(0);
        let mut proxy = Self {
            shared,
            config: Arc::new(ArcSwap::new(config)),
            stats: Stats((0..workers).map(|_| WorkerStats::new()).collect()),
            rates: Mutex::default(),
            relay_streams: Mutex::new(Some(relay_streams)),
            addresses,
            changed,
            drain: CancellationToken::new(),
            stop: CancellationToken::new(),
            threads: Vec::with_capacity(workers + 1),
        };
        proxy.spawn(openings)?;
        Ok(proxy)
    }

    fn spawn(&mut self, openings: Vec<Vec<Opening>>) -> Result<(), StartError> {
        for (number, openings) in openings.into_iter().enumerate() {
            let start = Start {
                shared: Arc::clone(&self.shared),
                stats: Arc::clone(&self.stats.0[number]),
                openings,
                changed: self.changed.subscribe(),
                drain: self.drain.clone(),
                stop: self.stop.clone(),
            };
            let thread = std::thread::Builder::new().name(format!("proxy-{number}"));
            self.threads.push(thread.spawn(move || worker::run(start))?);
        }
        let prober = health::Prober {
            config: Arc::clone(&self.config),
            topology: Arc::clone(&self.shared.topology),
            policy: Arc::clone(&self.shared.policy),
            live: Arc::clone(&self.shared.live),
            events: self.shared.events.clone(),
            identities: Arc::clone(&self.shared.identities),
        };
        let (changed, stop) = (self.changed.subscribe(), self.stop.clone());
        let thread = std::thread::Builder::new().name("proxy-health".to_owned());
        self.threads.push(thread.spawn(move || health::run(&prober, changed, &stop))?);
        Ok(())
    }

    /// Where each listener really listens (its port may have been 0).
    #[must_use]
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// This host's identity towards other regions, for the relay's links; `None` without `[identity]`.
    #[must_use]
    pub fn identity(&self) -> Option<Arc<PeerTls>> {
        self.shared.identities.peer.clone()
    }

    /// Reads session pins, for `explain`; `None` where nothing is pinned.
    #[must_use]
    pub fn pins(&self) -> Option<Arc<Pins>> {
        self.shared.pins.load_full()
    }

    /// Streams that peers opened for the relay on a peer listener. Given out once; streams are closed while nobody takes them.
    #[must_use]
    pub fn relay_streams(&self) -> Option<mpsc::Receiver<RelayStream>> {
        self.relay_streams.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// What is known of the other regions at this instant: for `explain` and `status`.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        self.shared.live.load_full()
    }

    /// The counters and states of this instant. Rates are averages since reports were last asked for; ask about once per second.
    #[must_use]
    pub fn report(&self) -> ProxyReport {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        report::make(&self.shared, &self.stats, &mut rates)
    }

    /// Takes over another configuration's upstreams, endpoints, edges, probes and session keys. The policy is replaced by `app`; listeners
    /// stay as they are.
    ///
    /// # Errors
    /// When `[session]` can't be used; then nothing has changed.
    pub fn reconfigure(&self, config: Arc<Config>) -> Result<(), PinError> {
        self.shared.pins.store(pins::load(&config)?);
        let topology = Topology::new(&config, Some(&self.shared.topology.load()));
        self.config.store(config);
        self.shared.topology.store(Arc::new(topology));
        self.changed.send_modify(|generation| *generation += 1);
        Ok(())
    }

    /// Stops accepting, tells peers' probes, and lets every connection finish its present request.
    pub fn drain(&self) {
        self.shared.draining.store(true, Relaxed);
        self.drain.cancel();
    }

    /// Stops at once and waits for the threads to end.
    pub fn stop(mut self) {
        self.stop.cancel();
        join(&mut self.threads);
    }

    /// Waits until every connection has finished after [`Self::drain`]; the caller bounds the time and then calls [`Self::stop`].
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let workers = self.threads.len().saturating_sub(1);
        self.threads.iter().take(workers).all(JoinHandle::is_finished)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
        join(&mut self.threads);
    }
}

fn join(threads: &mut Vec<JoinHandle<std::io::Result<()>>>) {
    for thread in threads.drain(..) {
        match thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "a proxy thread failed"),
            Err(_) => tracing::error!("a proxy thread panicked"),
        }
    }
}

fn worker_count(config: &Config) -> usize {
    match config.host.workers {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        workers => workers,
    }
}

type Openings = (Vec<Vec<Opening>>, Vec<(String, SocketAddr)>);

/// Opens every listener's sockets, one for each worker.
fn open_all(
    config: &Config,
    identities: &Identities,
    mut inherited: Vec<(String, TcpListener)>,
    workers: usize,
) -> Result<Openings, BindError> {
    let mut openings: Vec<Vec<Opening>> = (0..workers).map(|_| Vec::new()).collect();
    let mut addresses = Vec::new();
    for (spec, entry) in config.listeners.iter().zip(&identities.listeners) {
        let failed = |source| BindError { name: spec.name.clone(), address: spec.address, source };
        let known =
            inherited.iter().position(|(name, _)| *name == spec.name).map(|at| inherited.swap_remove(at).1);
        let sockets = match known {
            Some(socket) => share(socket, workers).map_err(failed)?,
            None => bind::open(&spec.name, spec.address, workers)?,
        };
        if let Some(address) = sockets.first().and_then(|socket| socket.local_addr().ok()) {
            addresses.push((spec.name.clone(), address));
        }
        let open = Arc::default();
        for (worker, socket) in openings.iter_mut().zip(sockets) {
            worker.push(Opening {
                spec: spec.clone(),
                entry: entry.clone(),
                socket,
                open: Arc::clone(&open),
            });
        }
    }
    Ok((openings, addresses))
}

/// An inherited socket serves all workers: each accepts from its own handle of it.
fn share(socket: TcpListener, workers: usize) -> std::io::Result<Vec<TcpListener>> {
    socket.set_nonblocking(true)?;
    let mut handles = (1..workers).map(|_| socket.try_clone()).collect::<Result<Vec<_>, _>>()?;
    handles.push(socket);
    Ok(handles)
}

/// This edge in `Via`: the region, and what tells it apart from the region's other edges.
fn pseudonym(config: &Config, addresses: &[(String, SocketAddr)]) -> String {
    let region = config.regions.get(config.host.region).map_or("tidegate", |region| region.name.as_str());
    let node = rustix::system::uname();
    let parts = (node.nodename().to_bytes(), &config.host.instance, addresses);
    let number = BuildHasherDefault::<DefaultHasher>::default().hash_one(parts);
    format!("tidegate-{region}-{:08x}", number >> 32)
}
