//! A worker's wait for the spool: one wake-up per commit from the spool's thread, and from there one for each client whose captures it
//! holds. Never lets an answer go before its ticket.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::relay::spool::Spool;

/// Who waits on a worker.
pub(crate) struct Gate {
    spool: Spool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: Vec<(u64, Waker)>,
    task: Option<Waker>,
}

impl Gate {
    pub(crate) fn new(spool: Spool) -> Arc<Self> {
        Arc::new(Self { spool, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A poisoned lock means that a thread panicked between two plain assignments; the data is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
        // A connection asks several times in a row, and for a later ticket after an earlier one.
        match state.waiting.last() {
            Some((last, other)) if *last == ticket && other.will_wake(waker) => {}
            _ => state.waiting.push((ticket, waker.clone())),
        }
        if let Some(task) = state.task.take() {
            task.wake();
        }
        false
    }

    /// Calls clients for ever; one such task runs on each worker.
    pub(crate) async fn run(self: Arc<Self>) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut due = Vec::new();
            let mut state = self.lock();
            state.waiting.retain(|(ticket, waker)| {
                let wait = !self.spool.is_durable(*ticket);
                if !wait {
                    due.push(waker.clone());
                }
                wait
            });
            let first = state.waiting.iter().map(|(ticket, _)| *ticket).min();
            // Who comes first into an empty room calls this task; while somebody waits, the spool does.
            state.task = first.is_none().then(|| cx.waker().clone());
            drop(state);
            due.into_iter().for_each(Waker::wake);
            match first {
                Some(ticket) if self.spool.poll_durable(ticket, cx.waker()) => {}
                _ => return Poll::Pending,
            }
        }
    }
}
