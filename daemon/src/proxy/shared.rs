//! What all workers share, and what each worker has for itself. Never serves a request.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::task::Waker;

use arc_swap::{ArcSwap, ArcSwapOption, Cache};
use slab::Slab;
use tokio::sync::{broadcast, mpsc};

use super::clock::Dice;
use super::deadline::Deadlines;
use super::descriptors::{Descriptors, Place, Places};
use super::headers::Vias;
use super::lane::Lane;
use super::pool::Pool;
use super::sample::Sampler;
use super::stats::WorkerStats;
use super::stock::Stock;
use super::tls::{Entry, Identities};
use super::topology::{Topology, UpstreamNet};
use crate::config::types::{AccessLog, Listener};
use crate::decide::event::Event;
use crate::decide::pin::Pins;
use crate::decide::policy::Policy;
use crate::decide::retry::Budget;
use crate::decide::route::Live;
use crate::link::RelayStream;

/// Snapshots and names that every worker reads.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Compiled by `app`.
    pub(crate) policy: Arc<ArcSwap<Policy>>,
    /// Kept by the probes.
    pub(crate) live: Arc<ArcSwap<Live>>,
    /// Changes with the configuration.
    pub(crate) topology: Arc<ArcSwap<Topology>>,
    /// Certificates, and whom they are for.
    pub(crate) identities: Arc<Identities>,
    /// Connections that there are descriptors for.
    pub(crate) descriptors: Descriptors,
    /// Reads and writes session pins.
    pub(crate) pins: ArcSwapOption<Pins>,
    /// Where streams go that a peer opened for the relay.
    pub(crate) relay: mpsc::Sender<RelayStream>,
    /// Samples of what happens.
    pub(crate) events: broadcast::Sender<Arc<Event>>,
    /// This edge in `Via`.
    pub(crate) pseudonym: String,
    /// The same as it is written.
    pub(crate) via: Vias,
    /// Which requests are logged.
    pub(crate) access: AccessLog,
    /// No new work: responses close their connections, health says so.
    pub(crate) draining: AtomicBool,
    /// While draining: somebody else accepts from the same sockets.
    pub(crate) succeeded: AtomicBool,
}

/// One worker: a thread with its own runtime, connections and counters.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) pool: Rc<Pool>,
    pub(crate) dice: Dice,
    pub(crate) deadlines: Rc<Deadlines>,
    pub(crate) sampler: Sampler,
    /// Buffers that no connection needs at the moment.
    pub(crate) stock: Rc<Stock>,
    /// Large answers, one at a time.
    pub(crate) lane: Rc<Lane>,
    /// Tasks of the open connections: woken to drain.
    pub(crate) connections: RefCell<Slab<Waker>>,
    /// Their way out: told with the present or next response, closed when idle.
    pub(crate) draining: Cell<bool>,
    /// How many there are.
    pub(crate) present: Present,
    policy: RefCell<Cache<Arc<ArcSwap<Policy>>, Arc<Policy>>>,
    live: RefCell<Cache<Arc<ArcSwap<Live>>, Arc<Live>>>,
    topology: RefCell<Cache<Arc<ArcSwap<Topology>>, Arc<Topology>>>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, stats: Arc<WorkerStats>) -> Rc<Self> {
        let policy = RefCell::new(Cache::new(Arc::clone(&shared.policy)));
        let live = RefCell::new(Cache::new(Arc::clone(&shared.live)));
        let topology = RefCell::new(Cache::new(Arc::clone(&shared.topology)));
        let stock = Rc::<Stock>::default();
        Rc::new(Self {
            stats,
            pool: Pool::new(
                Arc::clone(&shared.identities),
                Arc::clone(&shared.descriptors.upstreams),
                Rc::clone(&stock),
            ),
            dice: Dice::new(),
            deadlines: Rc::default(),
            sampler: Sampler::default(),
            stock,
            lane: Rc::default(),
            connections: RefCell::default(),
            draining: Cell::new(false),
            present: Present::default(),
            policy,
            live,
            topology,
            shared,
        })
    }

    /// Reads the policy of this instant, with what is known of the other regions.
    pub(crate) fn with_policy<T>(&self, read: impl FnOnce(&Policy, &Live) -> T) -> T {
        read(self.policy.borrow_mut().load(), self.live.borrow_mut().load())
    }

    /// Reads the endpoints and edges of this instant.
    pub(crate) fn with_topology<T>(&self, read: impl FnOnce(&Topology) -> T) -> T {
        read(self.topology.borrow_mut().load())
    }

    /// Wakes every connection of this worker.
    pub(crate) fn wake_all(&self) {
        self.connections.borrow().iter().for_each(|(_, waker)| waker.wake_by_ref());
    }
}

/// A listener as one worker sees it.
#[derive(Debug)]
pub(crate) struct Door {
    /// As configured.
    pub(crate) spec: Listener,
    /// What it speaks.
    pub(crate) entry: Entry,
    /// Where its requests go; changes with the configuration.
    pub(crate) upstream: RefCell<Arc<UpstreamNet>>,
    /// Retries that its requests may still make.
    pub(crate) budget: Budget,
    /// Connections open through it, from all workers.
    pub(crate) open: Arc<AtomicUsize>,
    /// The listener is gone or has other terms: who came in here leaves as when draining.
    pub(crate) leaving: Cell<bool>,
}

/// One connection through a listener; dropped with it.
#[derive(Debug)]
pub(crate) struct Open(Arc<AtomicUsize>, #[expect(dead_code, reason = "held for its drop")] Place);

/// A worker's connections, counted by where they stand.
#[derive(Debug, Default)]
pub(crate) struct Present {
    /// From accept to close.
    pub(crate) all: Cell<usize>,
    /// Of them: accepted before draining began.
    pub(crate) before: Cell<usize>,
    /// Of them: they have not said yet what they speak.
    pub(crate) entering: Cell<usize>,
    /// Sockets that are accepted from.
    pub(crate) accepting: Cell<usize>,
}

/// One connection, from accept to close.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) worker: Rc<Worker>,
    pub(crate) open: Arc<Open>,
    before: bool,
    entering: Cell<bool>,
}

impl Arrived {
    pub(crate) fn new(worker: &Rc<Worker>, open: Open) -> Self {
        let before = !worker.draining.get();
        add(&worker.present.all, 1);
        add(&worker.present.entering, 1);
        add(&worker.present.before, usize::from(before));
        Self { worker: Rc::clone(worker), open: Arc::new(open), before, entering: Cell::new(true) }
    }

    /// It speaks.
    pub(crate) fn entered(&self) {
        if self.entering.replace(false) {
            take(&self.worker.present.entering, 1);
        }
    }
}

impl Drop for Arrived {
    fn drop(&mut self) {
        self.entered();
        take(&self.worker.present.all, 1);
        take(&self.worker.present.before, usize::from(self.before));
    }
}

fn add(count: &Cell<usize>, more: usize) {
    count.set(count.get() + more);
}

fn take(count: &Cell<usize>, less: usize) {
    count.set(count.get().saturating_sub(less));
}

impl Door {
    /// Counts one connection, unless there are `max_connections` already, or as many as descriptors allow.
    pub(crate) fn enter(&self, places: &Arc<Places>) -> Option<Open> {
        let place = places.take()?;
        let most = self.spec.limits.max_connections;
        let add = |open: usize| (open < most).then_some(open + 1);
        self.open.fetch_update(Relaxed, Relaxed, add).ok().map(|_| Open(Arc::clone(&self.open), place))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
