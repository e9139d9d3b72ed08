//! A worker's turns, and its wait for the spool: what its clients hand over in one turn goes into one commit, and one wake-up per commit comes
//! from the spool's thread, and from here one for each client whose captures it holds. Never lets an answer go before its ticket.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::relay::spool::Spool;

/// Who waits on a worker.
pub(crate) struct Gate {
    spool: Spool,
    /// Requests that may be writes and have no answer yet.
    under_way: Arc<AtomicUsize>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<(u64, Waker)>,
    task: Option<Waker>,
    /// The spool knows that more is coming.
    open: bool,
}

impl State {
    fn call(&self) {
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }
}

impl Gate {
    pub(crate) fn new(spool: Spool) -> Arc<Self> {
        Arc::new(Self { spool, under_way: Arc::default(), state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A poisoned lock means that a thread panicked between two plain assignments; the data is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the worker's lines count requests that may be writes and have no answer yet.
    pub(super) fn under_way(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.under_way)
    }

    /// A client is about to hand something to the spool: what the others have that are ready now goes with it. Whether it is in a turn,
    /// at whose end the spool is called; before the worker's gate has run, nobody would.
    pub(super) fn turn(&self) -> bool {
        let mut state = self.lock();
        if !self.spool.gathers() || state.task.is_none() {
            return false;
        }
        if !state.open {
            state.open = true;
            self.spool.open_turn();
        }
        state.call();
        true
    }

    /// Whether this ticket is durable.
    pub(super) fn is_durable(&self, ticket: u64) -> bool {
        self.spool.is_durable(ticket)
    }

    /// The same; if not, the client is called when it is.
    pub(super) fn poll_durable(&self, ticket: u64, waker: &Waker) -> bool {
        if self.spool.is_durable(ticket) {
            return true;
        }
        let mut state = self.lock();
        if state.waiting.is_empty() {
            state.call();
        }
        // A connection asks several times in a row, and for a later ticket after an earlier one.
        match state.waiting.last() {
            Some((last, other)) if *last == ticket && other.will_wake(waker) => {}
            _ => state.waiting.push((ticket, waker.clone())),
        }
        false
    }

    /// Calls clients for ever; one such task runs on each worker.
    pub(crate) async fn run(self: Arc<Self>) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }

    /// Runs behind every client that was ready when it was called.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut state = self.lock();
            if !state.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
                state.task = Some(cx.waker().clone());
            }
            let durable = |(ticket, _): &mut (u64, Waker)| self.spool.is_durable(*ticket);
            let due: Vec<_> = state.waiting.extract_if(.., durable).collect();
            let first = state.waiting.iter().map(|(ticket, _)| *ticket).min();
            let over = self.under_way.load(Ordering::Relaxed) == 0;
            let open = state.open;
            state.open = open && !over;
            drop(state);
            if open {
                self.spool.hand_over(over);
            }
            due.into_iter().for_each(|(_, waker)| waker.wake());
            match first {
                Some(ticket) if self.spool.poll_durable(ticket, cx.waker()) => {}
                _ => return Poll::Pending,
            }
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if self.lock().open {
            self.spool.hand_over(true);
        }
    }
}
