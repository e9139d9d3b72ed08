//! Whose turn it is to write much. Tasks run in the order in which they are woken, so a small request would wait for a piece of each large
//! answer that its worker writes at the time. Of these one has a turn between two looks at what has become ready, and a small request
//! waits for that one. Never looks at a byte.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

/// Bytes of an answer that are written without a turn.
const SMALL: usize = 32 << 10;
/// Bytes of a turn.
const TURN: usize = 64 << 10;

/// One worker's large answers.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    turns: RefCell<Turns>,
}

#[derive(Debug, Default)]
struct Turns {
    /// Somebody has had the turn since the last look.
    taken: bool,
    /// Tickets that have had their turn; those of who waits follow it.
    served: u64,
    waiting: VecDeque<Waker>,
    /// Who gives turns.
    keeper: Option<Waker>,
}

impl Turns {
    /// Takes the turn if nobody has it, else says when it comes.
    fn enter(&mut self, waker: &Waker) -> Option<u64> {
        if !self.taken {
            self.taken = true;
            if let Some(keeper) = self.keeper.take() {
                keeper.wake();
            }
            return None;
        }
        self.waiting.push_back(waker.clone());
        Some(self.served + self.waiting.len() as u64)
    }

    /// Whether a ticket has had its turn called; `waker` is woken then.
    fn is_called(&mut self, ticket: u64, waker: &Waker) -> bool {
        let Some(behind) = ticket.checked_sub(self.served + 1) else { return true };
        let place = usize::try_from(behind).ok().and_then(|behind| self.waiting.get_mut(behind));
        place.is_none_or(|place| {
            place.clone_from(waker);
            false
        })
    }

    /// What is ready was looked at: calls the next.
    fn call(&mut self) {
        match self.waiting.pop_front() {
            Some(next) => {
                self.served += 1;
                next.wake();
            }
            None => self.taken = false,
        }
    }
}

impl Lane {
    /// Gives turns, for as long as the worker lives.
    pub(crate) async fn keep(self: Rc<Self>) {
        loop {
            poll_fn(|cx| {
                let mut turns = self.turns.borrow_mut();
                if turns.taken {
                    return Poll::Ready(());
                }
                turns.keeper = Some(cx.waker().clone());
                Poll::Pending
            })
            .await;
            // The runtime goes on behind this when it has looked at what is ready.
            tokio::task::yield_now().await;
            self.turns.borrow_mut().call();
        }
    }
}

/// One connection's part in it.
#[derive(Debug)]
pub(crate) struct Share {
    lane: Rc<Lane>,
    /// Bytes until it needs a turn.
    left: usize,
    ticket: Option<u64>,
}

impl Share {
    /// A connection that has written nothing.
    pub(crate) fn new(lane: &Rc<Lane>) -> Self {
        Self { lane: Rc::clone(lane), left: SMALL, ticket: None }
    }

    /// Another request came: its answer may be small.
    pub(crate) fn begin(&mut self) {
        self.left = self.left.max(SMALL);
    }

    /// Ready when something may be written.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.left == 0 {
            ready!(self.poll_turn(cx));
            self.left = TURN;
        }
        Poll::Ready(())
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut turns = self.lane.turns.borrow_mut();
        let waits = match self.ticket {
            None => {
                self.ticket = turns.enter(cx.waker());
                self.ticket.is_some()
            }
            Some(ticket) => !turns.is_called(ticket, cx.waker()),
        };
        if waits {
            return Poll::Pending;
        }
        self.ticket = None;
        Poll::Ready(())
    }

    /// So much was written.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn turns_come_in_the_order_of_their_tickets() {
        let (mut turns, nobody) = (Turns::default(), Waker::noop());
        assert_eq!(turns.enter(nobody), None, "nobody has it");
        assert_eq!([turns.enter(nobody), turns.enter(nobody)], [Some(1), Some(2)]);
        assert!(!turns.is_called(1, nobody));
        turns.call();
        assert!(turns.is_called(1, nobody) && !turns.is_called(2, nobody));
        assert_eq!(turns.enter(nobody), Some(3), "behind who waits");
        turns.call();
        turns.call();
        assert!(turns.is_called(2, nobody) && turns.is_called(3, nobody));
        assert_eq!(turns.enter(nobody), Some(4), "the third has it");
        turns.call();
        turns.call();
        assert_eq!(turns.enter(nobody), None, "nobody has it again");
    }

    #[test]
    fn a_small_answer_needs_no_turn() {
        let (lane, mut cx) = (Rc::default(), Context::from_waker(Waker::noop()));
        let [mut first, mut other] = [Share::new(&lane), Share::new(&lane)];
        first.wrote(SMALL);
        assert!(first.poll(&mut cx).is_ready(), "it takes the turn");
        for _ in 0..10 {
            other.begin();
            assert!(other.poll(&mut cx).is_ready(), "it needs none");
            other.wrote(SMALL);
        }
        assert!(other.poll(&mut cx).is_pending(), "the turn is taken");
    }

    /// Large answers that are written at once, and turns that each takes.
    const LARGE: usize = 16;
    const TURNS: usize = 20;

    #[test]
    fn large_answers_have_one_turn_between_two_looks() -> std::io::Result<()> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let worker = builder.build_local(tokio::runtime::LocalOptions::default())?;
        let most = worker.block_on(async {
            let (lane, had) = (Rc::<Lane>::default(), Rc::new(Cell::new(0)));
            tokio::task::spawn_local(Rc::clone(&lane).keep());
            for _ in 0..LARGE {
                let (mut share, had) = (Share::new(&lane), Rc::clone(&had));
                tokio::task::spawn_local(async move {
                    for _ in 0..TURNS {
                        share.wrote(usize::MAX);
                        poll_fn(|cx| share.poll(cx)).await;
                        had.set(had.get() + 1);
                    }
                });
            }
            let (mut seen, mut most) = (0, 0);
            while had.get() < LARGE * TURNS {
                most = most.max(had.get() - seen);
                seen = had.get();
                tokio::task::yield_now().await;
            }
            most
        });
        assert!((1..=2).contains(&most), "{most} turns between two looks");
        Ok(())
    }
}
