//! One step of the limit at the end of each window. Never sees a request.
//!
//! What a request takes without a queue (the *base*) is compared with what it takes now: above it, the limit shrinks to what the upstream can work
//! on at once; at it, a limit that is reached grows. As in Vegas (Brakmo, Peterson 1995) and Netflix's gradient limits. What is different is how
//! the base is learned: not by holding users back, nor by an average that a lasting overload would drag along, but from how times follow the
//! number in flight. While the limit is reached, it sways by a few per cent, less than the queue that it tolerates. Where times follow the sway,
//! there is a queue, and the base may be less than believed; where they don't, there is none, and what a request takes now *is* the base.

/// Where the limit may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Least.
    pub min: u64,
    /// Where it begins.
    pub start: u64,
    /// Most.
    pub max: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { min: 8, start: 256, max: 100_000 }
    }
}

impl Bounds {
    /// In order: at least one, least before most, the start between them.
    fn sound(self) -> Self {
        let max = self.max.max(1);
        let min = self.min.clamp(1, max);
        Self { min, max, start: self.start.clamp(min, max) }
    }
}

/// What happened in one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Its length.
    pub seconds: f64,
    /// Requests that were answered in the ordinary way.
    pub answers: u64,
    /// Median time until their heads, in seconds.
    pub median_s: f64,
    /// Requests in flight when these were admitted, on average.
    pub in_flight: f64,
    /// Requests that the limit refused.
    pub refused: u64,
}

/// Time in a queue that is tolerated, as a share of the base…
const TOLERANCE: f64 = 0.5;
/// …and at least, in seconds: below it, chance rules.
const SLACK_S: f64 = 0.001;
/// How far the limit sways while it is reached.
const SWAY: f64 = 0.06;
/// Windows of one sway; the first of them still shows the one before, and is left out.
const SWAY_WINDOWS: u32 = 3;
/// A window with fewer answers says nothing about times.
const FEWEST: u64 = 10;

/// The limit's state.
#[derive(Clone, Debug)]
pub struct Gradient {
    bounds: Bounds,
    limit: f64,
    base_s: f64,
    windows: u32,
    last_in_flight: f64,
    reached: bool,
    up: bool,
    block: Block,
    follow: Follow,
}

impl Gradient {
    /// Begins at the bounds' start, knowing nothing.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let bounds = bounds.sound();
        #[expect(clippy::cast_precision_loss, reason = "limits are small")]
        let limit = bounds.start as f64;
        Self {
            bounds,
            limit,
            base_s: 0.0,
            windows: 0,
            last_in_flight: 0.0,
            reached: false,
            up: false,
            block: Block::default(),
            follow: Follow::default(),
        }
    }

    /// Other bounds from now on; what was learned stays.
    pub fn bound(&mut self, bounds: Bounds) {
        self.bounds = bounds.sound();
        #[expect(clippy::cast_precision_loss, reason = "limits are small")]
        let (min, max) = (self.bounds.min as f64, self.bounds.max as f64);
        self.limit = self.limit.clamp(min, max);
    }

    /// The limit now.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between the bounds")]
    pub fn limit(&self) -> u64 {
        let sway = match (self.reached, self.up) {
            (false, _) => 0.0,
            (true, true) => SWAY,
            (true, false) => -SWAY,
        };
        // A few more than can be worked on at once, so that nobody idles while the next one is on its way.
        let ready = if self.base_s > 0.0 { 0.4 * self.limit.sqrt() } else { 0.0 };
        ((self.limit * (1.0 + sway) + ready).round() as u64).clamp(self.bounds.min, self.bounds.max)
    }

    /// What a request takes without a queue, in seconds; 0 while unknown.
    #[must_use]
    pub fn base_s(&self) -> f64 {
        self.base_s
    }

    /// Learns from one window and returns the limit for the next.
    pub fn step(&mut self, window: Window) -> u64 {
        self.reached = window.refused > 0;
        if window.answers >= FEWEST && window.median_s > 0.0 {
            self.learn_base(window.median_s);
            self.block.add(window);
            if self.block.windows == SWAY_WINDOWS {
                self.end_block();
            }
            self.move_limit(window);
        }
        self.last_in_flight = window.in_flight;
        self.limit()
    }

    /// By and by: one lucky window must not set the base for all, nor the first ones, in which only short requests can be over.
    fn learn_base(&mut self, median_s: f64) {
        self.windows = self.windows.saturating_add(1);
        let first = self.windows <= 10;
        if first || median_s < self.base_s {
            let weight = if first { 1.0 / f64::from(self.windows) } else { 0.2 };
            self.base_s += weight.max(0.2) * (median_s - self.base_s);
        }
    }

    fn end_block(&mut self) {
        self.up = !self.up;
        let block = std::mem::take(&mut self.block);
        let Some(slope) = self.follow.see(block) else { return };
        if slope < NO_QUEUE {
            let now_s = block.time.exp().min(1.25 * self.base_s);
            self.base_s += 0.3 * (now_s - self.base_s).max(0.0);
        } else if slope > QUEUE && block.reached {
            let shrink = 1.0 - SHRINK * (slope - QUEUE).min(1.0 - QUEUE) / (1.0 - QUEUE);
            self.base_s = (self.base_s * shrink).max(block.time.exp() / 3.0).min(self.base_s);
        }
    }

    fn move_limit(&mut self, window: Window) {
        let tolerated = (self.base_s * (1.0 + TOLERANCE)).max(self.base_s + SLACK_S);
        let rising = window.in_flight > 1.1 * self.last_in_flight.max(1.0);
        let wanted = if window.median_s > tolerated && (self.reached || rising) {
            // What is worked on at once when nobody waits longer than is tolerated (Little 1961).
            let fits = window.in_flight.max(self.limit / 2.0) * tolerated / window.median_s;
            // Where nobody is refused yet, there may be no queue at all: not so far down that somebody is.
            let room = if self.reached { 0.0 } else { 1.3 * window.in_flight };
            self.limit.min(fits.max(room))
        } else if window.median_s <= tolerated && self.reached {
            self.limit + self.limit.sqrt().max(self.growth(window.median_s) * self.limit)
        } else {
            self.limit
        };
        let moved = self.limit + 0.5 * (wanted.clamp(self.limit / 2.0, self.limit * 2.0) - self.limit);
        #[expect(clippy::cast_precision_loss, reason = "limits are small")]
        let (min, max) = (self.bounds.min as f64, self.bounds.max as f64);
        self.limit = moved.clamp(min, max);
    }

    /// Faster the farther the queue is from what is tolerated.
    fn growth(&self, median_s: f64) -> f64 {
        let queue = (median_s / self.base_s - 1.0) / TOLERANCE;
        0.5 * (1.0 - queue).clamp(0.0, 1.0)
    }
}

/// A slope below this says that nobody waits, and one above the other that all do.
const NO_QUEUE: f64 = 0.5;
const QUEUE: f64 = 0.85;

/// How much less the base may be than believed, after each block in which all wait.
const SHRINK: f64 = 0.04;

/// The windows of one sway, but for the first.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    windows: u32,
    /// Sums of the logarithms.
    in_flight: f64,
    time: f64,
    reached: bool,
}

impl Block {
    fn add(&mut self, window: Window) {
        self.windows += 1;
        if self.windows > 1 {
            let each = 1.0 / f64::from(SWAY_WINDOWS - 1);
            self.in_flight += each * window.in_flight.max(0.5).ln();
            self.time += each * window.median_s.max(1e-6).ln();
            self.reached |= window.refused > 0;
        }
    }
}

/// How times follow the number in flight: the slope between the changes of their logarithms from one block to the next, old ones fading.
/// Changes, not levels: when the upstream itself gets slower or faster, that is one change among many.
#[derive(Clone, Copy, Debug, Default)]
struct Follow {
    last: Option<Block>,
    squares: f64,
    products: f64,
}

impl Follow {
    const MEMORY: f64 = 0.7;
    /// Least sum of squares that says something: a few changes of more than a twentieth.
    const FEWEST: f64 = 3.0 * 0.06 * 0.06;

    /// Largest change of either that still is the sway's, or chance's.
    const UPHEAVAL: f64 = 0.3;

    /// Learns from the change to a new block; the slope, where it says something now.
    fn see(&mut self, block: Block) -> Option<f64> {
        let last = self.last.replace(block)?;
        let (moved, followed) = (block.in_flight - last.in_flight, block.time - last.time);
        // As a limit is reached for the first time, everything changes at once: that is no sway.
        if !(last.reached && block.reached) && moved.abs().max(followed.abs()) > Self::UPHEAVAL {
            return None;
        }
        // One upheaval must not outweigh all that came before.
        let bound = |change: f64| change.clamp(-Self::UPHEAVAL, Self::UPHEAVAL);
        let (moved, followed) = (bound(moved), bound(followed));
        self.squares = self.squares * Self::MEMORY + moved * moved;
        self.products = self.products * Self::MEMORY + moved * followed;
        (self.squares > Self::FEWEST).then(|| self.products / self.squares)
    }
}
