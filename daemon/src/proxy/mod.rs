//! The proxy: listeners, upstreams and links to other regions' edges. Never decides where a request goes or whether it is let in; `decide` does.
//!
//! One thread per worker with a runtime, a connection pool and counters of its own; workers share only snapshots and atomics. One more
//! thread probes. [`Proxy::start`] opens every socket or none.

mod answer;
mod bind;
mod body;
mod breather;
mod carry;
mod clock;
mod conn;
mod connect;
mod deadline;
mod descriptors;
mod enter;
mod facts;
mod framed;
mod gather;
mod headers;
mod health;
mod http1;
mod intake;
mod lane;
mod leaving;
mod linger;
mod listening;
mod meter;
mod pins;
mod pool;
mod relay;
mod report;
mod respond;
mod sample;
mod serve;
mod service;
mod shared;
mod stats;
mod stock;
mod stream;
mod tell;
mod tls;
mod topology;
mod tunnel;
mod turn;
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
use crate::decide::admission::Tick;
use crate::decide::event::Event;
use crate::decide::pin::Pins;
use crate::decide::policy::Policy;
use crate::decide::report::proxy::ProxyReport;
use crate::decide::route::Live;
use crate::link::{PeerTls, RelayStream, TlsFault};
use descriptors::Descriptors;
use listening::{ListenError, Listening};
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
    /// Sockets that are listening already (socket activation, hand-over), by listener name. Those that are where a listener of the name
    /// is configured to be are all accepted from, and no others opened beside them; the rest is closed.
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

impl From<ListenError> for StartError {
    fn from(error: ListenError) -> Self {
        match error {
            ListenError::Bind(error) => Self::Bind(error),
            ListenError::Tls(fault) => Self::Tls(fault),
        }
    }
}

/// The running proxy.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    config: Arc<ArcSwap<Config>>,
    stats: Stats,
    rates: Mutex<Rates>,
    relay_streams: Mutex<Option<mpsc::Receiver<RelayStream>>>,
    listening: ArcSwap<Listening>,
    /// Every worker hears of its listeners here: once, and at each reload.
    openings: Vec<mpsc::UnboundedSender<Vec<Opening>>>,
    changed: watch::Sender<u64>,
    drain: CancellationToken,
    stop: CancellationToken,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
}

/// Another configuration, with everything that could fail about it done. Dropped, nothing has changed.
#[derive(Debug)]
pub struct Prepared {
    config: Arc<Config>,
    listening: Listening,
    openings: Vec<Vec<Opening>>,
    pins: Option<Arc<Pins>>,
}

impl Proxy {
    /// Opens every listener's sockets and starts the workers and the prober; nothing is accepted before [`Self::accept`].
    ///
    /// # Errors
    /// When an address can't be listened on or a thread can't be started.
    pub fn start(setup: ProxySetup) -> Result<Self, StartError> {
        let ProxySetup { config, policy, events, mut inherited } = setup;
        let workers = worker_count(&config);
        let identities = Arc::new(Identities::load(&config)?);
        let pins = ArcSwapOption::new(pins::load(&config)?);
        let listening =
            Listening::plan(&config, &identities, &Listening::default(), &mut inherited, workers)?;
        tell_unused(&inherited);
        identities.show(listening.shown());
        let descriptors = descriptors(&config, &listening)?;
        let (relay, relay_streams) = mpsc::channel(RELAY_STREAMS);
        let live = Arc::new(ArcSwap::from_pointee(Live::all_up(&policy.load())));
        let topology = Arc::new(ArcSwap::from_pointee(Topology::new(&config, None)));
        let pseudonym = pseudonym(&config, &listening.addresses());
        let shared = Arc::new(Shared {
            policy,
            live,
            topology,
            identities,
            descriptors,
            pins,
            relay,
            events,
            via: headers::Vias::of(&pseudonym),
            pseudonym,
            access: config.log.access,
            draining: false.into(),
            succeeded: false.into(),
        });
        let (changed, _) = watch::channel(0);
        let mut proxy = Self {
            shared,
            config: Arc::new(ArcSwap::new(config)),
            stats: Stats((0..workers).map(|_| WorkerStats::new()).collect()),
            rates: Mutex::default(),
            relay_streams: Mutex::new(Some(relay_streams)),
            listening: ArcSwap::from_pointee(listening),
            openings: Vec::with_capacity(workers),
            changed,
            drain: CancellationToken::new(),
            stop: CancellationToken::new(),
            threads: Vec::with_capacity(workers + 1),
        };
        proxy.spawn(workers)?;
        Ok(proxy)
    }

    fn spawn(&mut self, workers: usize) -> Result<(), StartError> {
        for number in 0..workers {
            let (sender, openings) = mpsc::unbounded_channel();
            self.openings.push(sender);
            let start = Start {
                shared: Arc::clone(&self.shared),
                stats: Arc::clone(&self.stats.0[number]),
                openings,
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
            holds: Arc::default(),
        };
        let (changed, stop) = (self.changed.subscribe(), self.stop.clone());
        let thread = std::thread::Builder::new().name("proxy-health".to_owned());
        self.threads.push(thread.spawn(move || health::run(&prober, changed, &stop))?);
        Ok(())
    }

    /// Begins to accept. Whoever had inherited sockets and fails before has served nobody badly.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn accept(&self) -> std::io::Result<()> {
        let (listening, workers) = (self.listening.load(), self.openings.len());
        for (number, worker) in self.openings.iter().enumerate() {
            _ = worker.send(listening.openings(number, workers)?);
        }
        Ok(())
    }

    /// Where each listener really listens (its port may have been 0).
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, SocketAddr)> {
        self.listening.load().addresses()
    }

    /// Handles of all listening sockets, by listener name, for whoever listens next: as long as one handle is open, nobody who connects is
    /// refused.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn sockets(&self) -> std::io::Result<Vec<(String, TcpListener)>> {
        self.listening.load().sockets()
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

    /// The instant by which ceilings are asked.
    #[must_use]
    pub fn now(&self) -> Tick {
        clock::now()
    }

    /// The counters and states of this instant. Rates are averages since reports were last asked for; ask about once per second.
    #[must_use]
    pub fn report(&self) -> ProxyReport {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        report::make(&self.shared, &self.stats, &mut rates)
    }

    /// Does all of taking over another configuration that can fail: reads certificates and session keys, opens sockets. Workers and
    /// `[identity]` stay as they are.
    ///
    /// # Errors
    /// When an address can't be listened on, or a file can't be used.
    pub fn prepare(&self, config: Arc<Config>) -> Result<Prepared, StartError> {
        let pins = pins::load(&config)?;
        self.shared.identities.learn(&config)?;
        let (before, workers) = (self.listening.load(), self.stats.0.len());
        let listening = Listening::plan(&config, &self.shared.identities, &before, &mut Vec::new(), workers)?;
        let openings = (0..workers).map(|worker| listening.openings(worker, workers));
        let openings = openings.collect::<Result<_, _>>()?;
        Ok(Prepared { config, listening, openings, pins })
    }

    /// Takes it over: listeners with their terms and certificates, upstreams, endpoints, edges, probes and session keys. Who is connected
    /// through a listener that is gone or has other terms is told to leave. The policy is replaced by `app`.
    pub fn commit(&self, prepared: Prepared) {
        let Prepared { config, listening, openings, pins } = prepared;
        self.shared.pins.store(pins);
        let topology = Topology::new(&config, Some(&self.shared.topology.load()));
        self.config.store(config);
        self.shared.topology.store(Arc::new(topology));
        self.shared.identities.show(listening.shown());
        self.listening.store(Arc::new(listening));
        for (worker, openings) in self.openings.iter().zip(openings) {
            _ = worker.send(openings);
        }
        self.changed.send_modify(|generation| *generation += 1);
    }

    /// Tells peers' probes and every connection to leave, lets each finish its present request, and goes on accepting until they have
    /// left. With `succeeded` somebody else accepts from the same sockets: accepting ends at once.
    pub fn drain(&self, succeeded: bool) {
        self.shared.succeeded.store(succeeded, Relaxed);
        self.shared.draining.store(true, Relaxed);
        // The workers' own handles are the last ones here: with them the sockets close, once their queues are empty.
        self.listening.store(Arc::default());
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

/// Shares out the process's descriptors, and tells where listeners are promised more than there are.
fn descriptors(config: &Config, listening: &Listening) -> std::io::Result<Descriptors> {
    let descriptors = Descriptors::new(listening.sockets()?.len());
    let most = descriptors.most();
    let promised = config.listeners.iter().map(|listener| listener.limits.max_connections).max();
    if let Some(promised) = promised.filter(|promised| *promised > most) {
        tracing::warn!(
            most,
            promised,
            "the limit on open files allows fewer connections than max_connections: raise it"
        );
    }
    Ok(descriptors)
}

fn tell_unused(inherited: &[(String, TcpListener)]) {
    for (name, socket) in inherited {
        let address = socket.local_addr().map_or_else(|_| "no IP address".to_owned(), |at| at.to_string());
        tracing::warn!(
            name,
            address,
            "a socket that was handed over fits no [[listener]] (name and address): closed"
        );
    }
}

/// This edge in `Via`: the region, and what tells it apart from the region's other edges.
fn pseudonym(config: &Config, addresses: &[(String, SocketAddr)]) -> String {
    let region = config.regions.get(config.host.region).map_or("tidegate", |region| region.name.as_str());
    let node = rustix::system::uname();
    let parts = (node.nodename().to_bytes(), &config.host.instance, addresses);
    let number = BuildHasherDefault::<DefaultHasher>::default().hash_one(parts);
    format!("tidegate-{region}-{:08x}", number >> 32)
}
