//! The limit against a modelled upstream, in virtual time and from seeds: workers, a queue, and changes of both.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::*;

/// When, and how many were in flight then.
type Arrived = (u64, u64);

struct Chance(u64);

impl Chance {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -self.unit().ln() * mean
    }
}

/// So many workers, each taking so long for a request; what they can't take waits in line.
struct Upstream {
    workers: usize,
    takes_s: f64,
    /// 0: always the same; 1: a long tail.
    spread: f64,
    busy: BinaryHeap<Reverse<(u64, Arrived)>>,
    waiting: VecDeque<Arrived>,
    limit: u64,
    adaptive: Adaptive,
    chance: Chance,
    now_ns: u64,
}

#[derive(Debug, Default)]
struct Came {
    answered: f64,
    refused: f64,
    times: Vec<f64>,
}

impl Came {
    fn median(&mut self) -> f64 {
        self.times.sort_by(f64::total_cmp);
        self.times[self.times.len() / 2]
    }
}

impl Upstream {
    fn new(workers: usize, takes_s: f64, spread: f64, seed: u64) -> Self {
        let bounds = Bounds::default();
        Self {
            workers,
            takes_s,
            spread,
            busy: BinaryHeap::new(),
            waiting: VecDeque::new(),
            limit: bounds.start,
            adaptive: Adaptive::new(bounds),
            chance: Chance(seed | 1),
            now_ns: 1,
        }
    }

    fn capacity(&self) -> f64 {
        self.workers as f64 / self.takes_s
    }

    fn begin(&mut self, arrived: Arrived) {
        let steady = self.takes_s * (1.0 - self.spread);
        let takes = steady + self.chance.exponential(self.takes_s * self.spread);
        self.busy.push(Reverse((self.now_ns + (takes * 1e9) as u64, arrived)));
    }

    fn in_flight(&self) -> u64 {
        (self.busy.len() + self.waiting.len()) as u64
    }

    fn finish(&mut self, came: &mut Came) {
        let Some(Reverse((at, (arrived, in_flight)))) = self.busy.pop() else { return };
        self.now_ns = at;
        let took = Duration::from_nanos(at - arrived);
        came.answered += 1.0;
        came.times.push(took.as_secs_f64());
        if let Some(limit) = self.adaptive.record(Outcome::Answered(took), in_flight, Tick(self.now_ns)) {
            self.limit = limit;
        }
        while self.busy.len() < self.workers {
            let Some(arrived) = self.waiting.pop_front() else { break };
            self.begin(arrived);
        }
    }

    /// Poisson arrivals for some seconds.
    fn run(&mut self, per_second: f64, seconds: f64) -> Came {
        let mut came = Came::default();
        let end = self.now_ns + (seconds * 1e9) as u64;
        let mut next = self.now_ns + (self.chance.exponential(1.0 / per_second) * 1e9) as u64;
        while next < end {
            while self.busy.peek().is_some_and(|Reverse((at, _))| *at <= next) {
                self.finish(&mut came);
            }
            self.now_ns = next;
            next += (self.chance.exponential(1.0 / per_second) * 1e9) as u64 + 1;
            if self.in_flight() >= self.limit {
                came.refused += 1.0;
                self.adaptive.refused();
            } else if self.busy.len() < self.workers {
                self.begin((self.now_ns, self.in_flight()));
            } else {
                self.waiting.push_back((self.now_ns, self.in_flight()));
            }
        }
        came
    }

    fn settle(&mut self, times_capacity: f64, seconds: f64) -> (f64, f64) {
        let capacity = self.capacity();
        let mut came = self.run(times_capacity * capacity, seconds);
        (came.answered / (capacity * seconds), came.median() / self.takes_s)
    }
}

#[test]
fn nobody_is_refused_below_capacity() {
    for seed in 1..=3 {
        let mut upstream = Upstream::new(100, 0.02, 0.5, seed);
        for load in [0.3, 0.8, 0.5, 0.7, 0.2, 0.8] {
            let came = upstream.run(load * upstream.capacity(), 20.0);
            assert!(came.refused == 0.0, "seed {seed}: {} refused at {load}", came.refused);
        }
    }
}

#[test]
fn twice_the_capacity_keeps_the_upstream_busy_and_the_queue_short() {
    for (workers, takes) in [(100, 0.02), (8, 0.01), (1_000, 0.1), (40, 0.5)] {
        for spread in [0.0, 0.5, 1.0] {
            let mut upstream = Upstream::new(workers, takes, spread, 9);
            upstream.run(0.5 * upstream.capacity(), 10.0);
            upstream.run(2.0 * upstream.capacity(), 15.0);
            let (busy, time) = upstream.settle(2.0, 30.0);
            assert!(busy > 0.9, "{workers} workers, {takes} s, spread {spread}: {busy} of the capacity");
            assert!(time < 2.2, "{workers} workers, {takes} s, spread {spread}: {time} times as long");
        }
    }
}

#[test]
fn a_lasting_overload_does_not_drag_the_base_along() {
    let mut upstream = Upstream::new(20, 0.02, 0.5, 4);
    upstream.run(0.5 * upstream.capacity(), 10.0);
    for minute in 0..10 {
        upstream.run(3.0 * upstream.capacity(), 50.0);
        let (busy, time) = upstream.settle(3.0, 10.0);
        assert!(busy > 0.93 && time < 2.2, "after {minute} minutes: busy {busy}, {time} times as long");
    }
}

#[test]
fn overload_from_the_first_second_is_found_out() {
    let mut upstream = Upstream::new(50, 0.02, 0.3, 5);
    upstream.run(4.0 * upstream.capacity(), 60.0);
    let (busy, time) = upstream.settle(4.0, 20.0);
    assert!(busy > 0.9, "busy {busy}");
    assert!(time < 6.0, "{time} times as long: nobody has ever seen it without a queue");
}

#[test]
fn half_the_workers_are_gone_and_come_back() {
    let mut upstream = Upstream::new(100, 0.02, 0.5, 6);
    upstream.run(0.7 * upstream.capacity(), 10.0);
    upstream.run(1.5 * upstream.capacity(), 10.0);
    upstream.workers = 50;
    upstream.run(3.0 * upstream.capacity(), 10.0);
    let (busy, time) = upstream.settle(3.0, 20.0);
    assert!(busy > 0.93 && time < 2.2, "halved: busy {busy}, {time} times as long");
    upstream.workers = 100;
    upstream.run(1.5 * upstream.capacity(), 10.0);
    let (busy, time) = upstream.settle(1.5, 20.0);
    assert!(busy > 0.93 && time < 2.2, "whole again: busy {busy}, {time} times as long");
}

#[test]
fn an_upstream_that_takes_twice_as_long_is_not_starved() {
    let mut upstream = Upstream::new(100, 0.02, 0.5, 8);
    upstream.run(0.7 * upstream.capacity(), 20.0);
    upstream.takes_s = 0.04;
    let offered = 0.7 * upstream.capacity();
    let came = upstream.run(offered, 30.0);
    assert!(came.refused < 0.02 * offered * 30.0, "{} refused below the capacity", came.refused);
    upstream.run(2.0 * upstream.capacity(), 20.0);
    let (busy, time) = upstream.settle(2.0, 20.0);
    assert!(busy > 0.9 && time < 2.5, "busy {busy}, {time} times as long");
    upstream.takes_s = 0.02;
    upstream.run(2.0 * upstream.capacity(), 10.0);
    let (busy, time) = upstream.settle(2.0, 20.0);
    assert!(busy > 0.93 && time < 2.2, "fast again: busy {busy}, {time} times as long");
}

#[test]
fn streams_cancels_and_failures_teach_nothing() {
    let adaptive = Adaptive::new(Bounds::default());
    let mut limit = None;
    for request in 0..10_000_u64 {
        let now = Tick(1 + request * 1_000_000);
        limit = adaptive.record(Outcome::LeftOut, 500, now).or(limit);
    }
    assert_eq!(limit, Some(Bounds::default().start));
}

#[test]
fn the_bounds_hold() {
    let bounds = Bounds { min: 10, start: 20, max: 40 };
    let mut gradient = Gradient::new(bounds);
    let window =
        |median_s, in_flight, refused| Window { seconds: 0.2, answers: 100, median_s, in_flight, refused };
    (0..100).for_each(|_| _ = gradient.step(window(0.01, 40.0, 5)));
    assert!((37..=40).contains(&gradient.limit()), "{}", gradient.limit());
    (0..100).for_each(|step| _ = gradient.step(window(1.0 + f64::from(step), 10.0 + f64::from(step), 5)));
    assert!((10..=11).contains(&gradient.limit()), "{}", gradient.limit());
    assert_eq!(Gradient::new(Bounds { min: 0, start: 0, max: 0 }).limit(), 1);
}

#[test]
fn other_bounds_hold_at_once() {
    let adaptive = Adaptive::new(Bounds::default());
    assert_eq!(adaptive.limit(), 256);
    adaptive.bound(Bounds { min: 8, start: 256, max: 40 });
    assert_eq!(adaptive.limit(), 40);
    adaptive.bound(Bounds { min: 300, start: 256, max: 1_000 });
    assert_eq!(adaptive.limit(), 300);
}
