//! Ceilings with classes under simulated load: many users or one, steady and sudden, in virtual time and from seeds.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::decide::admission::{Applied, Applying, Asking, Ceiling, Tick};

#[test]
fn the_less_important_class_always_gives_way_first() {
    for step in 0..=200 {
        let pressure = f64::from(step) / 100.0;
        let shares = CLASSES.map(|class| shed_share(class, pressure));
        assert!(shares.is_sorted(), "{pressure}: {shares:?}");
        assert!(shares[0] == 0.0 || shares[1] == 1.0, "critical gives way when nothing else is left");
        let more = CLASSES.map(|class| shed_share(class, pressure + 0.01));
        assert!(shares.iter().zip(more).all(|(less, more)| *less <= more), "monotone");
    }
}

#[test]
fn the_pressure_leaves_what_is_allowed() {
    assert!(pressure_for([100.0; 4], 400.0) == 0.0);
    for (offered, allowed) in
        [([100.0; 4], 399.0), ([100.0; 4], 50.0), ([0.0, 0.0, 0.0, 9.0], 1.0), ([5.0, 0.0, 0.0, 0.0], 2.0)]
    {
        let pressure = pressure_for(offered, allowed);
        let left: f64 = CLASSES
            .iter()
            .zip(offered)
            .map(|(class, rate)| rate * (1.0 - shed_share(*class, pressure)))
            .sum();
        assert!((left - allowed).abs() < 1e-6 * allowed, "{offered:?}: {left}");
    }
}

/// A small generator of its own (xorshift64*), so that a seed says everything.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Time to the next arrival of a Poisson process.
    fn gap_ns(&mut self, per_second: f64) -> u64 {
        (-self.unit().ln() / per_second * 1e9) as u64 + 1
    }
}

/// What came of one class.
#[derive(Clone, Copy, Debug, Default)]
struct Came {
    offered: f64,
    admitted: f64,
}

struct Site {
    ceiling: Arc<Ceiling>,
    applying: Applying,
    chance: Chance,
    now_ns: u64,
    users: u64,
}

impl Site {
    fn new(per_second: f64, users: u64, seed: u64) -> Self {
        let ceiling = Arc::new(Ceiling::unlimited("everyone"));
        ceiling.rate.set(Some(per_second), Duration::from_millis(100));
        let applied = Applied {
            ceiling: Arc::clone(&ceiling),
            observe: false,
            counts: false,
            adaptive: false,
            by_class: true,
        };
        let applying = Applying::new(vec![applied]);
        Self { ceiling, applying, chance: Chance(seed | 1), now_ns: 1_000_000_000, users }
    }

    /// Poisson arrivals of all classes for some seconds; `each` is told of every request.
    fn run(&mut self, rates: [f64; 4], seconds: f64, mut each: impl FnMut(Class, u64, bool)) -> [Came; 4] {
        let mut came = [Came::default(); 4];
        let total: f64 = rates.iter().sum();
        let end = self.now_ns + (seconds * 1e9) as u64;
        while self.now_ns < end {
            self.now_ns += self.chance.gap_ns(total);
            let mut pick = self.chance.unit() * total;
            let at = rates
                .iter()
                .position(|rate| {
                    pick -= rate;
                    pick < 0.0
                })
                .unwrap_or(3);
            let user = self.chance.next() % self.users;
            let asking = Asking { class: CLASSES[at], user: place(user), foreign: false, always: false };
            let admitted = self.applying.admit(asking, Tick(self.now_ns)).is_ok();
            came[at].offered += 1.0;
            came[at].admitted += f64::from(u8::from(admitted));
            each(CLASSES[at], user, admitted);
        }
        came
    }

    fn quiet(&mut self, rates: [f64; 4], seconds: f64) -> [Came; 4] {
        self.run(rates, seconds, |_, _, _| {})
    }
}

fn admitted(came: &[Came; 4]) -> f64 {
    came.iter().map(|came| came.admitted).sum()
}

#[test]
fn nothing_is_shed_below_the_ceiling() {
    for (limit, users) in [(2_000.0, 1), (2_000.0, 5_000), (20_000.0, 50)] {
        for seed in 1..=5 {
            let mut site = Site::new(limit, users, seed);
            let came = site.quiet([0.225 * limit; 4], 30.0);
            let shed: f64 = came.iter().map(|came| came.offered - came.admitted).sum();
            assert!(
                shed == 0.0,
                "limit {limit}, {users} users, seed {seed}: {shed} shed at 0.9 of the ceiling"
            );
        }
    }
}

#[test]
fn at_four_times_the_ceiling_critical_is_untouched_and_the_ceiling_is_full() {
    for (limit, users) in [(2_000.0, 1), (2_000.0, 5_000), (500.0, 300), (20_000.0, 50)] {
        for mix in [[0.5, 0.5, 1.0, 2.0], [0.8, 3.2, 0.0, 0.0], [0.2, 0.2, 0.2, 3.4], [0.3, 3.7, 0.0, 0.0]] {
            let rates = mix.map(|times| times * limit);
            let mut site = Site::new(limit, users, 7);
            let begin = site.quiet(rates, 2.0);
            let seconds = (40_000.0 / limit).max(10.0);
            let steady = site.quiet(rates, seconds);
            let lost = steady[0].offered - steady[0].admitted;
            assert!(
                lost <= 2e-4 * steady[0].offered,
                "{limit}, {users} users, {mix:?}: {lost} critical lost"
            );
            let first = (begin[0].offered - begin[0].admitted) / begin[0].offered;
            assert!(first < 0.02, "{limit}, {users} users, {mix:?}: {first} of critical lost at the onset");
            let share = admitted(&steady) / (limit * seconds);
            assert!((share - 1.0).abs() < 0.005, "{limit}, {users} users, {mix:?}: {share} of the ceiling");
        }
    }
}

#[test]
fn less_important_classes_are_all_gone_before_the_next_loses_much() {
    let mut site = Site::new(2_000.0, 5_000, 3);
    let rates = [500.0, 1_000.0, 2_000.0, 4_000.0];
    site.quiet(rates, 5.0);
    let share = site.quiet(rates, 20.0).map(|came| came.admitted / came.offered);
    assert!(share[0] > 0.999 && share[1] > 0.75 && share[3] < 0.05, "{share:?}");
    assert!(share.is_sorted_by(|more, less| more >= less), "{share:?}");
}

#[test]
fn when_critical_alone_is_too_much_the_ceiling_is_still_full() {
    let mut site = Site::new(2_000.0, 5_000, 3);
    site.quiet([6_000.0, 500.0, 0.0, 500.0], 5.0);
    let came = site.quiet([6_000.0, 500.0, 0.0, 500.0], 20.0);
    assert!((admitted(&came) / 40_000.0 - 1.0).abs() < 0.005, "{came:?}");
    assert!(came[3].admitted < 0.01 * came[3].offered, "{came:?}");
}

#[test]
fn the_same_users_are_shed_not_every_user_now_and_then() {
    let mut site = Site::new(2_000.0, 1_000, 11);
    let rates = [0.0, 4_000.0, 0.0, 0.0];
    site.quiet(rates, 10.0);
    let mut users = vec![Came::default(); 1_000];
    site.run(rates, 20.0, |_, user, admitted| {
        let came = &mut users[usize::try_from(user).expect("few")];
        came.offered += 1.0;
        came.admitted += f64::from(u8::from(admitted));
    });
    let shares = users.iter().map(|came| came.admitted / came.offered);
    let decided = shares.filter(|share| !(0.05..=0.90).contains(share)).count();
    assert!(decided > 900, "{decided} of 1000 users are served or not, and know it");
}

#[test]
fn when_the_load_is_gone_nothing_is_shed_any_more() {
    let mut site = Site::new(2_000.0, 1_000, 5);
    site.quiet([500.0, 2_500.0, 2_500.0, 2_500.0], 10.0);
    site.quiet([450.0; 4], 0.5);
    let came = site.quiet([450.0; 4], 20.0);
    let shed: f64 = came.iter().map(|came| came.offered - came.admitted).sum();
    assert!(shed <= 2.0, "{came:?}");
}

#[test]
fn the_ceiling_is_full_while_it_moves() {
    let mut site = Site::new(2_000.0, 1_000, 5);
    let rates = [800.0, 3_000.0, 2_000.0, 4_000.0];
    site.quiet(rates, 5.0);
    let (mut allowed, mut sum) = (0.0, 0.0);
    for step in 0..200 {
        let limit = 2_000.0 + 5.0 * f64::from(step);
        site.ceiling.rate.set(Some(limit), Duration::from_millis(100));
        let came = site.quiet(rates, 0.1);
        allowed += limit * 0.1;
        sum += admitted(&came);
    }
    assert!((sum / allowed - 1.0).abs() < 0.005, "{}", sum / allowed);
}

#[test]
fn places_are_spread_evenly() {
    let mut bins = [0; 16];
    (0..16_000_u64).for_each(|user| bins[(place(user) * 16.0) as usize] += 1);
    assert!(bins.iter().all(|count| (900..=1_100).contains(count)), "{bins:?}");
}
