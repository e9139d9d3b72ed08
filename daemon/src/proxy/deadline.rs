//! Deadlines of one worker's requests, kept coarsely: noting and forgetting one costs a slot of a list, not a place in the runtime's timer.
//! Never early, and late by at most [`STEP`].

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;

use super::clock;

/// How often it is looked whether something is overdue, while anything waits.
pub(crate) const STEP: Duration = Duration::from_millis(20);

/// Everything that one worker waits for with a limit.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    waiting: RefCell<Slab<Waiting>>,
    begun: Notify,
}

#[derive(Debug)]
struct Waiting {
    /// On the proxy's clock.
    at_ns: u64,
    over: bool,
    waker: Waker,
}

impl Deadlines {
    /// Wakes what is overdue, for ever.
    pub(crate) async fn run(self: Rc<Self>) {
        loop {
            if self.waiting.borrow().is_empty() {
                self.begun.notified().await;
            }
            tokio::time::sleep(STEP).await;
            self.sweep(clock::now().0);
        }
    }

    fn sweep(&self, now_ns: u64) {
        for (_, waiting) in &mut *self.waiting.borrow_mut() {
            if waiting.at_ns <= now_ns && !waiting.over {
                waiting.over = true;
                waiting.waker.wake_by_ref();
            }
        }
    }

    /// A deadline `wait` after `now_ns`; it begins with its first poll.
    pub(crate) fn after(&self, now_ns: u64, wait: Duration) -> Deadline<'_> {
        let wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Deadline { all: self, at_ns: now_ns.saturating_add(wait_ns), slot: None }
    }

    fn begin(&self, at_ns: u64, waker: Waker) -> usize {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            self.begun.notify_one();
        }
        waiting.insert(Waiting { at_ns, over: false, waker })
    }
}

/// One deadline; forgotten when dropped.
#[derive(Debug)]
pub(crate) struct Deadline<'a> {
    all: &'a Deadlines,
    at_ns: u64,
    slot: Option<usize>,
}

impl Deadline<'_> {
    /// Ready once it has passed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(slot) = self.slot else {
            self.slot = Some(self.all.begin(self.at_ns, cx.waker().clone()));
            return Poll::Pending;
        };
        let mut waiting = self.all.waiting.borrow_mut();
        let Some(this) = waiting.get_mut(slot) else { return Poll::Pending };
        if this.over {
            return Poll::Ready(());
        }
        if !this.waker.will_wake(cx.waker()) {
            this.waker.clone_from(cx.waker());
        }
        Poll::Pending
    }
}

impl Drop for Deadline<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.all.waiting.borrow_mut().try_remove(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_passes_once_it_is_due_and_is_forgotten() {
        let all = Deadlines::default();
        let mut cx = Context::from_waker(Waker::noop());
        let (mut soon, mut late) =
            (all.after(1_000, Duration::from_nanos(10)), all.after(1_000, Duration::MAX));
        assert!(soon.poll(&mut cx).is_pending() && late.poll(&mut cx).is_pending());
        all.sweep(1_009);
        assert!(soon.poll(&mut cx).is_pending());
        all.sweep(1_010);
        assert!(soon.poll(&mut cx).is_ready() && late.poll(&mut cx).is_pending());
        drop((soon, late));
        assert!(all.waiting.borrow().is_empty());
    }
}
