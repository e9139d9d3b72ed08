//! One worker's thread: accepts, spawns a task per connection, follows the configuration, sweeps its pool, drains. Never handles a request.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::conn;
use super::leaving::{ALL_TOLD, SAYS_NOTHING};
use super::shared::{Arrived, Door, Open, Shared, Worker};
use super::stats::WorkerStats;
use super::tls::Entry;
use crate::config::types::Listener;

/// A listener's sockets for one worker.
#[derive(Debug)]
pub(crate) struct Opening {
    /// Tells these sockets from all others.
    pub(crate) number: u64,
    /// Tells these terms from those before.
    pub(crate) version: u64,
    pub(crate) spec: Listener,
    pub(crate) entry: Entry,
    pub(crate) sockets: Vec<TcpListener>,
    pub(crate) open: Arc<AtomicUsize>,
}

/// What a worker starts with.
pub(crate) struct Start {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stats: Arc<WorkerStats>,
    /// Every listener, now and whenever the configuration has changed.
    pub(crate) openings: mpsc::UnboundedReceiver<Vec<Opening>>,
    /// Let connections finish, then end.
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
    let Start { shared, stats, openings, drain, stop } = start;
    let worker = Worker::new(shared, stats);
    let closing = CancellationToken::new();
    let gates = Gates { worker: Rc::clone(&worker), open: HashMap::new(), left: Vec::new(), closing };
    let closing = gates.closing.clone();
    tokio::task::spawn_local(gates.follow(openings));
    tokio::task::spawn_local(sweep(Rc::clone(&worker)));
    tokio::task::spawn_local(Rc::clone(&worker.deadlines).run());
    tokio::task::spawn_local(Rc::clone(&worker.lane).keep());
    tokio::select! {
        () = stop.cancelled() => {}
        () = drained(&worker, &drain, &closing) => {}
    }
}

/// One listener's sockets, and the door that connections come in by at this moment.
struct Gate {
    door: RefCell<Rc<Door>>,
    version: Cell<u64>,
    stop: CancellationToken,
}

/// Every listener of a worker.
struct Gates {
    worker: Rc<Worker>,
    /// By [`Opening::number`].
    open: HashMap<u64, Rc<Gate>>,
    /// Doors that nobody comes in by any more.
    left: Vec<Weak<Door>>,
    /// Nothing is accepted any more.
    closing: CancellationToken,
}

impl Gates {
    async fn follow(mut self, mut openings: mpsc::UnboundedReceiver<Vec<Opening>>) {
        while let Some(openings) = openings.recv().await {
            let before = std::mem::take(&mut self.open);
            for opening in openings {
                let (number, known) = (opening.number, before.get(&opening.number));
                if let Some(gate) = self.take_over(opening, known) {
                    self.open.insert(number, gate);
                }
            }
            for (number, gate) in before {
                if !self.open.contains_key(&number) {
                    gate.stop.cancel();
                    self.leave(&gate.door.borrow());
                }
            }
            self.point_at_upstreams();
        }
    }

    /// Begins to accept, or goes on with other terms for who comes from now on.
    fn take_over(&mut self, opening: Opening, known: Option<&Rc<Gate>>) -> Option<Rc<Gate>> {
        let Opening { number: _, version, spec, entry, sockets, open } = opening;
        if let Some(gate) = known.filter(|gate| gate.version.get() == version) {
            return Some(Rc::clone(gate));
        }
        let upstream =
            self.worker.with_topology(|topology| topology.upstreams.get(spec.upstream).cloned())?;
        let (budget, leaving) = Default::default();
        let door = Rc::new(Door { spec, entry, upstream: upstream.into(), budget, open, leaving });
        if let Some(gate) = known {
            gate.version.set(version);
            let left = gate.door.replace(door);
            self.leave(&left);
            return Some(Rc::clone(gate));
        }
        let gate =
            Rc::new(Gate { door: door.into(), version: version.into(), stop: self.closing.child_token() });
        for socket in sockets {
            accept_from(&self.worker, &gate, socket);
        }
        Some(gate)
    }

    /// Who came in there is told to leave.
    fn leave(&mut self, door: &Rc<Door>) {
        door.leaving.set(true);
        self.left.retain(|door| door.strong_count() > 0);
        self.left.push(Rc::downgrade(door));
        self.worker.wake_all();
    }

    /// Points doors at their upstreams' new layout.
    fn point_at_upstreams(&self) {
        let left = self.left.iter().filter_map(Weak::upgrade);
        let open = self.open.values().map(|gate| Rc::clone(&gate.door.borrow()));
        self.worker.with_topology(|topology| {
            for door in left.chain(open) {
                let name = door.upstream.borrow().spec.name.clone();
                let found = topology.upstreams.iter().find(|upstream| upstream.spec.name == name);
                if let Some(upstream) = found {
                    *door.upstream.borrow_mut() = Arc::clone(upstream);
                }
            }
        });
    }
}

/// Begins to accept from one socket.
fn accept_from(worker: &Rc<Worker>, gate: &Rc<Gate>, socket: TcpListener) {
    let listener = match tokio::net::TcpListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a listening socket can't be used"),
    };
    let (worker, gate) = (Rc::clone(worker), Rc::clone(gate));
    worker.present.accepting.set(worker.present.accepting.get() + 1);
    tokio::task::spawn_local(async move {
        accept(&worker, &gate, &listener).await;
        // Who was let into the queue is served, not reset, where this was the socket's last handle.
        while let Some(Ok((tcp, peer))) = listener.accept().now_or_never() {
            let door = Rc::clone(&gate.door.borrow());
            let Some(open) = door.enter(&worker.shared.descriptors.clients) else { break };
            come_in(&worker, door, tcp, peer, open);
        }
        worker.present.accepting.set(worker.present.accepting.get() - 1);
    });
}

/// Connections that are accepted before those that are there have their turn.
const AT_ONCE: u64 = 8;

/// Accepts until the gate stops.
async fn accept(worker: &Rc<Worker>, gate: &Gate, listener: &tokio::net::TcpListener) {
    let mut stop = pin!(gate.stop.cancelled());
    let mut told = None;
    let mut row = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.as_mut() => return,
            accepted = accept_in_turn(listener, &mut row) => accepted,
        };
        match accepted {
            Ok((tcp, peer)) => {
                let door = Rc::clone(&gate.door.borrow());
                let open = room(worker, &door).await;
                come_in(worker, door, tcp, peer, open);
            }
            Err(error) => cannot_accept(gate, &error, &mut told).await,
        }
    }
}

/// Accepts one; after some in a row, whatever else there is to do comes first.
async fn accept_in_turn(
    listener: &tokio::net::TcpListener,
    row: &mut u64,
) -> std::io::Result<(TcpStream, SocketAddr)> {
    if *row >= AT_ONCE {
        *row = 0;
        tokio::task::yield_now().await;
    }
    *row += 1;
    listener.accept().await
}

fn come_in(worker: &Rc<Worker>, door: Rc<Door>, tcp: TcpStream, peer: SocketAddr, open: Open) {
    tokio::task::spawn_local(conn::serve(Arrived::new(worker, open), door, tcp, peer));
}

/// Out of descriptors or memory: accepting again at once would spin. Told once per second.
async fn cannot_accept(gate: &Gate, error: &std::io::Error, told: &mut Option<Instant>) {
    if told.is_none_or(|at| at.elapsed() >= Duration::from_secs(1)) {
        *told = Some(Instant::now());
        tracing::warn!(listener = gate.door.borrow().spec.name, %error, "can't accept");
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// Waits until there are fewer than `max_connections`, and a descriptor; one connection per worker waits here, the rest in the kernel's queue.
async fn room(worker: &Worker, door: &Door) -> Open {
    loop {
        if let Some(open) = door.enter(&worker.shared.descriptors.clients) {
            return open;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
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

/// Ends when every connection has finished after `drain`. Unless somebody else accepts already, accepting goes on until those who were
/// there have left: nobody waits meanwhile.
async fn drained(worker: &Worker, drain: &CancellationToken, closing: &CancellationToken) {
    drain.cancelled().await;
    worker.draining.set(true);
    worker.wake_all();
    let began = Instant::now();
    let mut every = tokio::time::interval(Duration::from_millis(20));
    let present = &worker.present;
    while !worker.shared.succeeded.load(Relaxed) && present.before.get() > 0 && began.elapsed() < ALL_TOLD {
        every.tick().await;
    }
    closing.cancel();
    let closed = Instant::now();
    loop {
        every.tick().await;
        let waited_for = if closed.elapsed() < SAYS_NOTHING {
            present.all.get()
        } else {
            present.all.get() - present.entering.get()
        };
        if waited_for == 0 && present.accepting.get() == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections that are there before the first is accepted.
    const WAITING: u64 = 4 * AT_ONCE;

    #[tokio::test]
    async fn others_have_their_turn_between_connections_that_are_accepted() -> std::io::Result<()> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let _crowd =
            (0..WAITING).map(|_| std::net::TcpStream::connect(address)).collect::<Result<Vec<_>, _>>()?;
        let accepted = Cell::new(0);
        let accepts = async {
            let mut row = 0;
            while accepted.get() < WAITING {
                accept_in_turn(&listener, &mut row).await?;
                accepted.set(accepted.get() + 1);
            }
            std::io::Result::Ok(())
        };
        let (mut seen, mut most) = (0, 0);
        let other = async {
            while seen < WAITING {
                most = most.max(accepted.get() - seen);
                seen = accepted.get();
                tokio::task::yield_now().await;
            }
        };
        let (ended, ()) = tokio::join!(biased; accepts, other);
        ended?;
        assert!((1..=AT_ONCE).contains(&most), "{most} were accepted in a row");
        Ok(())
    }
}
