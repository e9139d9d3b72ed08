//! One worker's thread: accepts, spawns a task per connection, sweeps its pool, drains. Never handles a request.

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::conn;
use super::shared::{Door, Open, Shared, Worker};
use super::stats::WorkerStats;
use super::tls::Entry;
use crate::config::types::Listener;

/// A listener's socket for one worker.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) spec: Listener,
    pub(crate) entry: Entry,
    pub(crate) socket: TcpListener,
    pub(crate) open: Arc<AtomicUsize>,
}

/// What a worker starts with.
pub(crate) struct Start {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) openings: Vec<Opening>,
    /// The upstreams' layout changed.
    pub(crate) changed: watch::Receiver<u64>,
    /// Stop accepting and let connections finish.
    pub(crate) drain: CancellationToken,
    /// Stop at once.
    pub(crate) stop: CancellationToken,
}

/// Runs a worker until it is stopped, or drained and empty. Blocks its thread.
pub(crate) fn run(start: Start) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(31)
        .max_blocking_threads(4)
        .build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(work(start));
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(())
}

async fn work(start: Start) {
    let Start { shared, stats, openings, changed, drain, stop } = start;
    let worker = Worker::new(shared, stats);
    let doors: Vec<Rc<Door>> =
        openings.into_iter().filter_map(|opening| accept_at(&worker, opening, &drain)).collect();
    tokio::task::spawn_local(follow(Rc::clone(&worker), doors, changed));
    tokio::task::spawn_local(sweep(Rc::clone(&worker)));
    tokio::select! {
        () = stop.cancelled() => {}
        () = drained(&worker, &drain) => {}
    }
}

/// Begins to accept at one listener.
fn accept_at(worker: &Rc<Worker>, opening: Opening, drain: &CancellationToken) -> Option<Rc<Door>> {
    let Opening { spec, entry, socket, open } = opening;
    let listener = tokio::net::TcpListener::from_std(socket).ok()?;
    let upstream = worker.with_topology(|topology| topology.upstreams.get(spec.upstream).cloned())?;
    let door = Rc::new(Door { spec, entry, upstream: upstream.into(), budget: Default::default(), open });
    let (worker, at, drain) = (Rc::clone(worker), Rc::clone(&door), drain.clone());
    tokio::task::spawn_local(async move {
        tokio::select! {
            () = drain.cancelled() => {}
            () = accept(&worker, &at, &listener) => {}
        }
        // Who was let into the queue is served, not reset, when the socket closes.
        while let Some(Ok((tcp, peer))) = listener.accept().now_or_never() {
            let Some(open) = at.enter() else { break };
            tokio::task::spawn_local(conn::serve(Rc::clone(&worker), Rc::clone(&at), tcp, peer, open));
        }
    });
    Some(door)
}

async fn accept(worker: &Rc<Worker>, door: &Rc<Door>, listener: &tokio::net::TcpListener) {
    loop {
        match listener.accept().await {
            Ok((tcp, peer)) => {
                let open = room(door).await;
                tokio::task::spawn_local(conn::serve(Rc::clone(worker), Rc::clone(door), tcp, peer, open));
            }
            Err(error) => {
                tracing::warn!(listener = door.spec.name, %error, "can't accept");
                // Out of descriptors or memory: accepting again at once would spin.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// Waits until there are fewer than `max_connections`; one connection per worker waits here, the rest in the kernel's queue.
async fn room(door: &Door) -> Open {
    loop {
        if let Some(open) = door.enter() {
            return open;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Points listeners at their upstreams' new layout.
async fn follow(worker: Rc<Worker>, doors: Vec<Rc<Door>>, mut changed: watch::Receiver<u64>) {
    while changed.changed().await.is_ok() {
        worker.with_topology(|topology| {
            for door in &doors {
                let name = door.upstream.borrow().spec.name.clone();
                if let Some(upstream) = topology.upstreams.iter().find(|upstream| upstream.spec.name == name)
                {
                    *door.upstream.borrow_mut() = Arc::clone(upstream);
                }
            }
        });
    }
}

async fn sweep(worker: Rc<Worker>) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    loop {
        every.tick().await;
        worker.pool.sweep();
        worker.stats.connections.store(worker.connections.borrow().len() as u64, Relaxed);
    }
}

/// Ends when every connection has finished after `drain`.
async fn drained(worker: &Worker, drain: &CancellationToken) {
    drain.cancelled().await;
    worker.draining.set(true);
    let mut every = tokio::time::interval(Duration::from_millis(20));
    while !worker.connections.borrow().is_empty() {
        worker.wake_all();
        every.tick().await;
    }
}
