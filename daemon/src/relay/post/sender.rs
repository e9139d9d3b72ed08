//! One region's letters from this host. Never holds up a client: what cannot be sent waits in the spool.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Carrier, Letter, Word};
use crate::decide::relay::flight::{Flights, Told};
use crate::decide::report::relay::Verified;
use crate::relay::link::lanes::{Checks, Lanes};
use crate::relay::spool::unix_ms;

/// Rows handed over at once.
const TOGETHER: usize = 32;
/// Longest wait for a broker to take letters.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause after letters were not taken.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a refused pool waits.
const PARKED: Duration = Duration::from_secs(5);
/// Read-backs without a word; older ones are given up beyond that.
const MOST_ASKED: usize = 1024;

/// Keeps letters to one region on their way.
pub(crate) struct Sender<C> {
    pub(crate) lanes: Lanes,
    pub(crate) carrier: C,
    pub(crate) words: mpsc::Receiver<Word>,
    pub(crate) stop: CancellationToken,
}

struct State {
    flights: Flights,
    began: Instant,
    parked: Vec<(u64, usize)>,
    checks: Checks,
    /// Lanes of read-backs by the number of their letter.
    asked: HashMap<u64, usize>,
    /// The broker's name while it can be reached.
    broker: Option<String>,
    told_up: bool,
    /// The lane whose turn it is.
    turn: usize,
}

impl State {
    fn now_ms(&self) -> u64 {
        ms(self.began.elapsed())
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl<C: Carrier> Sender<C> {
    /// Works until it is stopped.
    pub(crate) async fn run(mut self) {
        let mut state = State {
            flights: Flights::new(
                C::MANNER,
                self.lanes.lanes.iter().map(|lane| ms(lane.repeat_after)).collect(),
            ),
            began: Instant::now(),
            parked: Vec::new(),
            checks: Checks::default(),
            asked: HashMap::new(),
            broker: None,
            told_up: false,
            turn: 0,
        };
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep(&mut state) => {}
        }
    }

    async fn keep(&mut self, state: &mut State) {
        let mut words = Vec::new();
        loop {
            let sent = match state.broker {
                Some(_) => self.send(state).await,
                None => Ok(false),
            };
            match sent {
                Ok(true) => {
                    while let Ok(word) = self.words.try_recv() {
                        self.hear(word, state);
                    }
                    continue;
                }
                Ok(false) => {}
                Err(why) => {
                    self.lanes.down(&why);
                    state.told_up = false;
                    sleep(PAUSE).await;
                    state.flights.again(state.now_ms());
                    while let Ok(word) = self.words.try_recv() {
                        self.hear(word, state);
                    }
                    continue;
                }
            }
            let (up, wait) = (state.broker.is_some(), Self::wait(state));
            tokio::select! {
                count = self.words.recv_many(&mut words, 256) => {
                    if count == 0 {
                        return;
                    }
                    words.drain(..).for_each(|word| self.hear(word, state));
                }
                () = self.lanes.spool.filled(self.lanes.group), if up && state.flights.is_open() => {}
                () = state.checks.looked(), if up => {}
                () = sleep(wait), if up => {}
            }
        }
    }

    /// Until something is due by itself.
    fn wait(state: &State) -> Duration {
        let now_ms = state.now_ms();
        let at = state.flights.next_due_ms().into_iter().chain(state.parked.iter().map(|&(at, _)| at)).min();
        let due = at.map(|at| Duration::from_millis(at.saturating_sub(now_ms)));
        let check = state.checks.due().map(|at| at.saturating_duration_since(Instant::now()));
        due.into_iter().chain(check).min().unwrap_or(Duration::from_secs(3600))
    }

    /// Hands over what is overdue, read-backs that are due, and new rows; whether there was anything.
    async fn send(&mut self, state: &mut State) -> Result<bool, String> {
        let now_ms = state.now_ms();
        state.parked.retain(|&(until, _)| until > now_ms);
        let mut asks = Vec::new();
        self.lanes.ask(&mut state.checks);
        while let Some((place, items)) = self.lanes.check(&mut state.checks) {
            if state.asked.len() >= MOST_ASKED {
                state.asked.clear();
            }
            let number = state.flights.number();
            state.asked.insert(number, place);
            asks.push((place, number, items));
        }
        let mut rows = state.flights.due(now_ms);
        while rows.len() < TOGETHER {
            let State { flights, parked, turn, .. } = &mut *state;
            let may = |place| flights.has_room(place) && !parked.iter().any(|&(_, parked)| parked == place);
            let row = self.lanes.turn(turn, |place| if may(place) { self.lanes.next(place) } else { None });
            let Some((place, row)) = row else { break };
            rows.push(flights.add(place, row, now_ms));
        }
        let asks =
            asks.iter().map(|(place, number, items)| (*place, *number, Cow::Borrowed(items.as_slice())));
        let unix_ms = unix_ms();
        let letters: Vec<Letter<'_>> = rows
            .iter()
            .flat_map(|&first| state.flights.letters(first, unix_ms))
            .chain(asks)
            .map(|(place, number, items)| Letter { number, pool: self.lanes.pool(place), items })
            .collect();
        if letters.is_empty() {
            return Ok(false);
        }
        let posted = timeout(PATIENCE, self.carrier.post(&letters)).await;
        posted.map_err(|_| "the broker takes nothing".to_owned())??;
        if !state.told_up {
            state.told_up = true;
            self.lanes.up(state.broker.as_deref().unwrap_or_default());
        }
        Ok(true)
    }

    fn hear(&self, word: Word, state: &mut State) {
        match word {
            Word::Ack(number, [equal, absent, stale], rests) => {
                if let Some(place) = state.asked.remove(&number) {
                    let [equal, absent, stale] = [equal, absent, stale].map(u64::from);
                    self.lanes.verified(place, Verified { equal, absent, stale });
                    return;
                }
                let (now_ms, mut told) = (state.now_ms(), Vec::new());
                state.flights.applied(number, rests, now_ms, &mut told);
                self.told(told, state);
            }
            Word::Repeated(number) => {
                let (now_ms, mut told) = (state.now_ms(), Vec::new());
                state.flights.repeated(number, now_ms, &mut told);
                self.told(told, state);
            }
            Word::Refused(number, why) => {
                let until = state.now_ms() + ms(PARKED);
                if let Some(place) = state.flights.refused(number, until) {
                    if !state.parked.iter().any(|&(_, parked)| parked == place) {
                        self.lanes.refused(place, why);
                    }
                    state.parked.push((until, place));
                }
            }
            Word::Up(broker) => {
                self.lanes.up(&broker);
                state.told_up = true;
                state.broker = Some(broker);
                state.flights.again(state.now_ms());
            }
            Word::Down(why) => {
                self.lanes.down(&why);
                state.told_up = false;
                state.broker = None;
            }
        }
    }

    fn told(&self, told: Vec<Told>, state: &mut State) {
        for told in told {
            match told {
                Told::Applied(place, row, rests) => self.lanes.applied(place, row, rests, &mut state.checks),
                Told::Repeated(place, row) => self.lanes.repeated(place, row),
            }
        }
    }
}
