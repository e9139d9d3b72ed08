//! Admission over several ceilings: a refusal takes nothing, guards give back, many threads stay exact.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::decide::inforce::InForce;

const ASKING: Asking = Asking { class: Class::Degraded, user: 0.5, foreign: false, always: false };

fn ceiling(name: &str, rate: Option<f64>, slots: Option<u64>) -> Arc<Ceiling> {
    let ceiling = Ceiling::unlimited(name);
    ceiling.rate.set(rate, Duration::from_secs(1));
    ceiling.slots.set(slots);
    Arc::new(ceiling)
}

fn applied(ceiling: &Arc<Ceiling>) -> Applied {
    Applied {
        ceiling: Arc::clone(ceiling),
        observe: false,
        counts: ceiling.slots.limit().is_some(),
        adaptive: false,
        by_class: false,
    }
}

#[test]
fn a_refusal_by_the_last_ceiling_takes_nothing_from_the_first() {
    let (first, last) = (ceiling("first", Some(10.0), Some(10)), ceiling("last", Some(10.0), Some(1)));
    let applying = Applying::new(vec![applied(&first), applied(&last)]);
    let now = Tick(10_000_000_000);
    let held = applying.admit(ASKING, now).expect("empty");
    let spent = first.rate.fill(now);
    for _ in 0..100 {
        let refused = applying.admit(ASKING, now).expect_err("one in flight");
        assert_eq!(refused, Refused { ceiling: "last", reason: Reason::ConcurrentRequests });
    }
    assert!((first.rate.fill(now) - spent).abs() < 1e-9);
    assert_eq!((first.slots.used(), last.slots.used()), (1, 1));
    drop(held);
    assert_eq!((first.slots.used(), last.slots.used()), (0, 0));
}

#[test]
fn charging_gives_back_when_a_later_ceiling_refuses_after_all() {
    let (first, last) = (ceiling("first", Some(10.0), Some(10)), ceiling("last", Some(1.0), None));
    let applying = Applying::new(vec![applied(&first), applied(&last)]);
    let now = Tick(10_000_000_000);
    assert!(applying.charge(ASKING, now).is_ok());
    let spent = first.rate.fill(now);
    assert!(applying.charge(ASKING, now).is_err(), "the second is over the last ceiling");
    assert!((first.rate.fill(now) - spent).abs() < 1e-9);
    assert_eq!(first.slots.used(), 1);
}

#[test]
fn what_refuses_every_request_is_told_without_asking_for_one() {
    let (first, last) = (ceiling("first", Some(1.0), None), ceiling("last", Some(0.0), None));
    let now = Tick(10_000_000_000);
    let applying = Applying::new(vec![applied(&first), Applied { observe: true, ..applied(&last) }]);
    assert_eq!((applying.full(now), first.rate.fill(now)), (None, 0.0));
    let applying = Applying::new(vec![applied(&first), applied(&last)]);
    assert_eq!(applying.full(now), Some(Refused { ceiling: "last", reason: Reason::RequestsPerSecond }));
}

#[test]
fn an_observing_ceiling_tells_and_lets_through() {
    let full = ceiling("watch", Some(1.0), None);
    let applying = Applying::new(vec![Applied { observe: true, ..applied(&full) }]);
    let now = Tick(10_000_000_000);
    assert!(applying.admit(ASKING, now).expect("first").observed.is_none());
    let second = applying.admit(ASKING, now).expect("observed only");
    assert_eq!(second.observed.map(|refused| refused.reason), Some(Reason::RequestsPerSecond));
}

#[test]
fn the_allow_list_is_counted_but_never_refused() {
    let full = ceiling("everyone", Some(1.0), Some(1));
    let applying = Applying::new(vec![applied(&full)]);
    let now = Tick(10_000_000_000);
    let always = Asking { always: true, ..ASKING };
    let held: Vec<_> = (0..5).map(|_| applying.admit(always, now).expect("allowed")).collect();
    assert_eq!(full.slots.used(), 5);
    assert!(applying.admit(ASKING, now).is_err());
    drop(held);
    assert_eq!(full.slots.used(), 0);
}

#[test]
fn bulk_gives_way_before_degraded_and_critical_holds() {
    let shared = ceiling("everyone", Some(100.0), None);
    let applying = Applying::new(vec![Applied { by_class: true, ..applied(&shared) }]);
    let now = Tick(10_000_000_000);
    let mut admitted = |class| {
        let asking = Asking { class, user: 0.3, foreign: false, always: false };
        (0..200).take_while(|_| applying.admit(asking, now).is_ok()).count()
    };
    let counts = [Class::Bulk, Class::BestEffort, Class::Degraded, Class::Critical].map(&mut admitted);
    assert!(
        counts.iter().all(|count| *count > 0),
        "each class finds room that the one before left: {counts:?}"
    );
    assert_eq!(counts.iter().sum::<usize>(), 100, "{counts:?}");
}

#[test]
fn threads_together_admit_what_one_would() {
    let shared = ceiling("everyone", Some(1_000.0), Some(7));
    let applying = Applying::new(vec![applied(&shared)]);
    let admitted: usize = std::thread::scope(|scope| {
        let ask = || {
            let now = Tick(10_000_000_000);
            (0..5_000).filter(|_| applying.admit(ASKING, now).is_ok()).count()
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    assert_eq!(admitted, 1_000);
    assert_eq!(shared.slots.used(), 0);
}

#[test]
fn foreign_traffic_gets_what_home_users_leave() {
    let shared = ceiling("everyone", Some(1_000.0), None);
    let applying = Applying::new(vec![applied(&shared)]);
    let foreign = Asking { foreign: true, ..ASKING };
    let admitted = |asking, from_ms: u64, per_ms: u64| {
        let offered = (0..1_000 * per_ms)
            .map(|at| Tick(10_000_000_000 + from_ms * 1_000_000 + at * 1_000_000 / per_ms));
        offered.filter(|now| applying.admit(asking, *now).is_ok()).count()
    };
    let alone = admitted(foreign, 0, 4);
    assert!((1_490..=1_510).contains(&alone), "half the burst and the whole rate: {alone}");
    // Both at once, home users below the ceiling: none of them is refused.
    let (mut home, mut others) = (0, 0);
    for at in 0..4_000_u64 {
        let now = Tick(12_000_000_000 + at * 250_000);
        others += usize::from(applying.admit(foreign, now).is_ok());
        home += usize::from(at % 5 != 0 || applying.admit(ASKING, now).is_ok());
    }
    assert_eq!(home, 4_000);
    assert!(others < 900, "{others}");
}

#[test]
fn home_users_come_first_under_a_low_ceiling_too() {
    let shared = ceiling("everyone", None, None);
    shared.rate.set(Some(80.0), Duration::from_millis(100));
    let applying = Applying::new(vec![applied(&shared)]);
    let foreign = Asking { foreign: true, ..ASKING };
    let (mut home, mut others) = (0, 0);
    for at in 0..8_000_u64 {
        let now = Tick(10_000_000_000 + at * 1_250_000);
        others += usize::from(applying.admit(foreign, now).is_ok());
        home += usize::from(at % 20 == 0 && applying.admit(ASKING, now).is_ok());
    }
    assert_eq!(home, 400, "home users ask for half of it, and get it");
    assert!((395..=410).contains(&others), "foreign traffic gets the other half: {others}");
}

#[test]
fn the_files_bounds_reach_a_ceiling_that_finds_itself() {
    let enforced = |book: &mut Book, bounds: &str| {
        let text = format!(
            "[host]\nregion = \"a\"\n[[region]]\nname = \"a\"\n[[ceiling]]\nname = \"c\"\nconcurrent_requests = \"adaptive\"\n{bounds}"
        );
        let config = crate::config::from_text(std::path::Path::new("t.toml"), &text).expect("sound").config;
        book.enforce(&config, &InForce::of_file(&config));
        book.get("c").expect("there").slots.limit()
    };
    let mut book = Book::default();
    assert_eq!(enforced(&mut book, ""), Some(256));
    assert_eq!(enforced(&mut book, "adaptive_max = 40"), Some(40), "a reload holds at once");
    assert_eq!(enforced(&mut book, "adaptive_min = 500"), Some(500));
}
