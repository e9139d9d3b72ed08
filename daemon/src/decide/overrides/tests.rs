//! Orders, expiry and confirmation against a virtual clock.

use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::decide::measure::Measure;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).expect("in range")
}

fn failover(region: &str) -> Slot {
    Slot::Failover(region.to_owned())
}

fn order(slot: Slot, setting: Option<Setting>) -> Order {
    let caller = Caller { uid: 0, pid: 1 };
    Order { changes: vec![(slot, setting)], valid_for: None, confirm: None, reason: None, caller }
}

fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

const ON: Option<Setting> = Some(Setting::Failover(true));

#[test]
fn what_was_set_for_a_time_gives_way_to_what_was_below() {
    let slot = Slot::Ceiling { name: "c".into(), key: CeilingKey::Limit(Measure::PacketsPerSecond) };
    let set = |limit| Some(Setting::limit(Some(limit)));
    let state = Overrides::default();
    let (state, _) = state.apply(&order(slot.clone(), set(5)), at(0)).expect("applied");
    let timed = Order { valid_for: seconds(30), ..order(slot.clone(), set(8)) };
    let (state, changed) = state.apply(&timed, at(1)).expect("applied");
    assert_eq!((&changed[0].old, &changed[0].new), (&set(5), &set(8)));
    assert_eq!(state.next_due(), Some(at(31)));
    let (state, changed) = state.expire(at(30));
    assert!(changed.is_empty());
    let (state, changed) = state.expire(at(31));
    assert_eq!((&changed[0].old, &changed[0].new), (&set(8), &set(5)));
    let (state, _) = state.apply(&order(slot, None), at(40)).expect("applied");
    assert_eq!(state, Overrides::default());
}

const TWO_FOR_ONE_HOME: &str = "[[region]]\nname = \"a\"\n\
    [[ceiling]]\nname = \"packets\"\nhome = \"a\"\npackets_per_second = 5\n\
    [[ceiling]]\nname = \"requests\"\nhome = \"a\"\nrequests_per_second = 5\nconcurrent_requests = \"adaptive\"\n";

#[test]
fn only_what_sets_a_limit_of_the_nic_contradicts_another_ceiling_that_does() {
    let file = std::path::Path::new("test.toml");
    let config = crate::config::from_text(file, TWO_FOR_ONE_HOME).expect("no faults").config;
    let in_force = crate::decide::inforce::InForce::of_file(&config);
    let fits = |limit: Option<Setting>| {
        let key = CeilingKey::Limit(Measure::PacketsPerSecond);
        let order = order(Slot::Ceiling { name: "requests".into(), key }, limit);
        fit(order, &config, &Overrides::default(), &in_force).is_ok()
    };
    assert!(!fits(Some(Setting::limit(Some(7)))));
    assert!(
        fits(Some(Setting::limit(None))) && fits(None),
        "the file has none here: back to it is no contradiction"
    );
    let adaptive =
        Slot::Ceiling { name: "requests".into(), key: CeilingKey::Limit(Measure::ConcurrentRequests) };
    assert_eq!(adaptive.shown(None, &config), "adaptive (file)");
}

#[test]
fn another_time_for_the_same_setting_is_a_change() {
    let slot = || failover("a");
    let timed = Order { valid_for: seconds(30), ..order(slot(), ON) };
    let (state, changed) = Overrides::default().apply(&timed, at(0)).expect("applied");
    assert_eq!((&changed[0].new, changed[0].untils), (&ON, None));
    let (state, changed) = state.apply(&order(slot(), ON), at(1)).expect("applied");
    assert_eq!((&changed[0].old, &changed[0].new, changed[0].untils), (&ON, &ON, Some([Some(at(30)), None])));
    assert!(state.apply(&order(slot(), ON), at(2)).expect("applied").1.is_empty());
}

#[test]
fn unconfirmed_is_undone_also_over_a_second_unconfirmed_change() {
    let state = Overrides::default();
    let unsure = Order { confirm: seconds(60), ..order(failover("a"), ON) };
    let (state, _) = state.apply(&unsure, at(0)).expect("applied");
    let again = Order { confirm: seconds(60), ..order(failover("a"), Some(Setting::Failover(false))) };
    let (state, _) = state.apply(&again, at(10)).expect("applied");
    assert_eq!(state.pending().len(), 1);
    let (kept, count) = state.confirm();
    assert_eq!((count, kept.expire(at(100)).1.len()), (1, 0));
    let (state, changed) = state.expire(at(70));
    assert_eq!((state, changed.len()), (Overrides::default(), 1));
}

#[test]
fn a_plain_change_settles_what_waited_for_a_confirmation() {
    let unsure = Order { confirm: seconds(60), ..order(failover("a"), ON) };
    let (state, _) = Overrides::default().apply(&unsure, at(0)).expect("applied");
    let (state, _) = state.apply(&order(failover("a"), ON), at(5)).expect("applied");
    assert!(state.pending().is_empty());
    assert_eq!(state.expire(at(100)).0.setting(&failover("a")), ON.as_ref());
}

#[test]
fn a_ramp_is_linear_and_a_new_one_begins_where_the_old_one_stands() {
    let slot = Slot::Ceiling { name: "c".into(), key: CeilingKey::Limit(Measure::RequestsPerSecond) };
    let ramp = |from, to| Some(Setting::ramp(from, to, Duration::from_secs(100)));
    let (state, _) =
        Overrides::default().apply(&order(slot.clone(), ramp(1000, 2000)), at(0)).expect("applied");
    let limit = |state: &Overrides, now| state.setting(&slot).and_then(|s| s.limit_at(now)).flatten();
    assert_eq!([0, 50, 100, 500].map(|s| limit(&state, at(s))), [1000, 1500, 2000, 2000].map(Some));
    let (state, _) = state.apply(&order(slot.clone(), ramp(1, 500)), at(50)).expect("applied");
    assert_eq!([50, 100, 150].map(|s| limit(&state, at(s))), [1500, 1000, 500].map(Some));
}

#[test]
fn what_is_out_of_bounds_changes_nothing() {
    let state = Overrides::default();
    let never = Order { valid_for: seconds(0), ..order(failover("a"), ON) };
    assert_eq!(state.apply(&never, at(0)).err(), Some(Refused::Time("for")));
    let chatty = Order { reason: Some("x".repeat(501)), ..order(failover("a"), ON) };
    assert_eq!(state.apply(&chatty, at(0)).err(), Some(Refused::Reason));
}

proptest! {
    /// Whatever is ordered and however time passes: stored and read again it is the same, and nothing outlives its end.
    #[test]
    fn survives_being_stored_and_nothing_outlives_its_end(
        steps in proptest::collection::vec((0u8..4, 0u8..3, 0u64..60, 0u64..60, 0i64..40), 1..40),
    ) {
        let mut state = Overrides::default();
        let mut now = 0;
        for (region, what, time, confirm, pause) in steps {
            now += pause;
            state = state.expire(at(now)).0;
            let setting = [None, ON, Some(Setting::Failover(false))][usize::from(what)].clone();
            let order = Order {
                valid_for: (time > 0).then(|| Duration::from_secs(time)),
                confirm: (confirm > 0).then(|| Duration::from_secs(confirm)),
                ..order(failover(&region.to_string()), setting)
            };
            state = state.apply(&order, at(now)).expect("within bounds").0;
            let text = serde_json::to_string(&state).expect("serialises");
            prop_assert_eq!(&serde_json::from_str::<Overrides>(&text).expect("reads back"), &state);
            prop_assert!(state.next_due().is_none_or(|due| due > at(now)));
        }
        let settled = state.expire(at(now + 120)).0;
        prop_assert_eq!(settled.next_due(), None);
        prop_assert_eq!(settled.expire(at(now + 10_000)), (settled.clone(), Vec::new()));
    }
}
