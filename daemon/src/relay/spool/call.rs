//! When the spool's thread sleeps, and who wakes it. Never locks, waits or asks for the time: it is a part of the inbox, under its lock.
//!
//! Whoever brings something in a worker's turn leaves the call to the end of that turn, which is certain to come. Everyone else calls.

/// Where the thread is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum At {
    /// At work: it looks at the inbox before it sleeps.
    #[default]
    Work,
    /// Asleep, because there is nothing to do.
    Idle,
    /// Asleep for a moment, because workers have more for the commit.
    Gathering,
}

/// The thread and the workers' turns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Call {
    at: At,
    /// Workers that have handed over something and have more.
    turns: usize,
}

impl Call {
    /// The thread looks, and goes where this says: `due` is whether there is something to do, `gather` whether it may wait for more.
    pub(super) fn look(&mut self, due: bool, gather: bool) -> At {
        self.at = match (due, gather && self.turns > 0) {
            (false, _) => At::Idle,
            (true, true) => At::Gathering,
            (true, false) => At::Work,
        };
        self.at
    }

    /// Whether the thread sleeps.
    pub(super) fn sleeps(&self) -> bool {
        self.at != At::Work
    }

    /// Whether no worker's turn is open.
    #[cfg(test)]
    pub(super) fn between_turns(&self) -> bool {
        self.turns == 0
    }

    /// A worker's turn begins; [`Self::hand_over`] must follow.
    pub(super) fn open_turn(&mut self) {
        self.turns += 1;
    }

    /// Something was submitted, in a turn of its worker's or not; `full` when the thread must not wait for more. Whether to wake it.
    pub(super) fn submitted(&self, in_turn: bool, full: bool) -> bool {
        self.sleeps() && (!in_turn || full)
    }

    /// A worker has handed over what it had, and with `all` its turn is over. Whether to wake the thread.
    pub(super) fn hand_over(&mut self, all: bool) -> bool {
        self.turns -= usize::from(all);
        self.sleeps() && (self.turns == 0 || self.at == At::Idle)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// A step of a worker, which is one thread.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Step {
        /// A client is about to submit something; the gate opens a turn unless one is open, if it has run before.
        Turn,
        Submit,
        /// The gate runs behind the clients; with `true` no request is under way.
        Gate(bool),
    }
    use Step::{Gate, Submit, Turn};

    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct Worker {
        at: usize,
        gate_ran: bool,
        open: bool,
    }

    /// The thread sleeps where `call` says, and `called` is a wake-up that it has not had yet.
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct World {
        call: Call,
        called: bool,
        /// Submitted, and taken by a commit.
        ticket: u32,
        taken: u32,
        workers: Vec<Worker>,
    }

    /// Whether to wake the thread for what is submitted in a turn, or not.
    type Rule = fn(&Call, bool) -> bool;

    impl World {
        fn new(ran: &[bool]) -> Self {
            let worker = |&gate_ran| Worker { at: 0, gate_ran, open: false };
            let workers = ran.iter().map(worker).collect();
            Self { call: Call::default(), called: false, ticket: 0, taken: 0, workers }
        }

        fn worker(&mut self, place: usize, step: Step, rule: Rule) {
            let worker = &mut self.workers[place];
            worker.at += 1;
            let wakes = match step {
                Turn if worker.gate_ran && !worker.open => {
                    worker.open = true;
                    self.call.open_turn();
                    false
                }
                Turn => false,
                Submit => {
                    self.ticket += 1;
                    rule(&self.call, worker.open)
                }
                Gate(over) => {
                    worker.gate_ran = true;
                    let open = std::mem::take(&mut worker.open);
                    worker.open = open && !over;
                    open && self.call.hand_over(over)
                }
            };
            self.called |= wakes && self.call.sleeps();
        }

        /// The thread looks at the inbox; `late` when it has gathered for as long as it may.
        fn thread(&mut self, late: bool) {
            self.called = false;
            if self.call.look(self.ticket > self.taken, !late) == At::Work {
                self.taken = self.ticket;
            }
        }

        /// Every state that can follow. Sleep without work ends by a call alone here: the tick is not there to be relied upon.
        fn next(&self, scripts: &[&[Step]], rule: Rule) -> Vec<Self> {
            let mut next = Vec::new();
            for (place, script) in scripts.iter().enumerate() {
                if let Some(&step) = script.get(self.workers[place].at) {
                    next.push(self.clone());
                    next.last_mut().expect("pushed").worker(place, step, rule);
                }
            }
            if !self.call.sleeps() || self.called {
                next.push(self.clone());
                next.last_mut().expect("pushed").thread(false);
            }
            if self.call.at == At::Gathering {
                next.push(self.clone());
                next.last_mut().expect("pushed").thread(true);
            }
            next.retain(|world| world != self);
            next
        }
    }

    /// In every order of steps: the states in which nothing can happen any more and something submitted lies there; and how many there are.
    fn lost(scripts: &[&[Step]], ran: &[bool], rule: Rule) -> (Vec<World>, usize) {
        let mut seen = HashSet::new();
        let mut open = vec![World::new(ran)];
        let mut lost = Vec::new();
        while let Some(world) = open.pop() {
            if !seen.insert(world.clone()) {
                continue;
            }
            let next = world.next(scripts, rule);
            if next.is_empty() && world.ticket > world.taken {
                lost.push(world);
            } else {
                open.extend(next);
            }
        }
        (lost, seen.len())
    }

    /// Workers whose server answers, hangs, and answers late; and one whose gate has not run.
    const SCRIPTS: [&[Step]; 6] = [
        &[Turn, Submit, Turn, Submit, Gate(true)],
        &[Turn, Submit, Gate(false)],
        &[Turn, Submit, Gate(false), Turn, Submit, Gate(false)],
        &[Turn, Submit, Gate(false), Turn, Submit, Gate(true), Turn, Submit, Gate(true)],
        &[Turn, Submit],
        &[Gate(true), Turn, Submit, Gate(true)],
    ];

    fn all(rule: Rule) -> (usize, usize) {
        let (mut losses, mut states) = (0, 0);
        for first in SCRIPTS {
            for second in SCRIPTS {
                for ran in [[false, false], [false, true], [true, false], [true, true]] {
                    // A gate that has run is called when its worker's turn opens: it runs again.
                    let gated = |script: &[Step], ran: bool| !ran || matches!(script.last(), Some(Gate(_)));
                    if gated(first, ran[0]) && gated(second, ran[1]) {
                        let (lost, seen) = lost(&[first, second], &ran, rule);
                        (losses, states) = (losses + lost.len(), states + seen);
                    }
                }
            }
        }
        (losses, states)
    }

    #[test]
    fn no_order_of_two_workers_and_the_thread_loses_a_call() {
        let (losses, states) = all(|call, in_turn| call.submitted(in_turn, false));
        assert_eq!(losses, 0);
        assert!(states > 5_000, "only {states} states");
    }

    #[test]
    fn the_orders_show_a_call_that_is_left_to_another_workers_turn() {
        assert!(all(|call, _| call.sleeps() && call.turns == 0).0 > 0);
        assert!(all(|_, _| false).0 > 0);
    }

    #[test]
    fn whoever_waits_for_more_is_called_when_it_is_too_much() {
        let mut call = Call::default();
        call.open_turn();
        assert_eq!(call.look(true, true), At::Gathering);
        assert!(!call.submitted(true, false) && call.submitted(true, true));
        assert!(!call.hand_over(false) && call.hand_over(true));
    }
}
