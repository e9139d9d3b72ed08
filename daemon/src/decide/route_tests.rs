//! Routes as a table: one row per rule of the contract.

use std::sync::Arc;

use super::*;
use crate::config::types::{MisrouteRule, Priority};
use crate::decide::home::PrefixHomes;
use crate::decide::policy::PolicyRegion;
use Reason::*;
use RouteKind::{Isthmus, Local, Redirect, Shed};

const EU: &str = "192.0.2.1";
const US: &str = "198.51.100.1";
const AP: &str = "203.0.113.1";

fn region(index: usize) -> RegionId {
    RegionId::new(index).expect("small")
}

fn policy() -> Policy {
    let named = |name: &'static str, public_url: Option<&str>, edges| PolicyRegion {
        name: http::HeaderValue::from_static(name),
        public_url: public_url.map(str::to_owned),
        edges,
    };
    let regions = vec![
        named("eu", Some("https://eu.example.com"), 1),
        named("us", Some("https://us.example.com"), 2),
        named("ap", None, 0),
    ];
    let net = |text: &str| text.parse().expect("prefix");
    let records = [(net("198.51.100.0/24"), region(1)), (net("203.0.113.0/24"), region(2))];
    let homes = PrefixHomes::new(region(0), records, &[net("198.51.100.7/32")], &[net("198.51.100.6/31")]);
    Policy {
        generation: 1,
        own: region(0),
        regions: Regions::new(regions).expect("three"),
        mode: MisrouteMode::Isthmus,
        rules: Vec::new(),
        redirect_status: 307,
        when_unreachable: WhenUnreachable::Local,
        max_hops: 1,
        automatic_failover: true,
        failover: Regions::new(vec![false; 3]).expect("three"),
        homes: Arc::new(homes),
        ceilings: Regions::new(vec![super::super::admission::Applying::default(); 3]).expect("three"),
        priorities: Vec::new(),
    }
}

/// One request and what surrounds it.
struct Case {
    policy: Policy,
    live: Live,
    client: &'static str,
    path: &'static str,
    hops: u8,
    seen_here: bool,
    redirected: bool,
    pin: Option<RegionId>,
}

impl Case {
    fn from(client: &'static str) -> Self {
        let policy = policy();
        let live = Live::all_up(&policy);
        Self { policy, live, client, path: "/", hops: 0, seen_here: false, redirected: false, pin: None }
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn decide(&self) -> (RouteKind, Reason, usize) {
        let headers = HeaderMap::new();
        let facts = RequestFacts {
            client: self.client.parse().expect("address"),
            method: &Method::GET,
            path: self.path,
            headers: &headers,
            hops: self.hops,
            seen_here: self.seen_here,
            redirected: self.redirected,
            pin: self.pin,
        };
        let decision = route(&facts, &self.policy, &self.live);
        (decision.route, decision.reason, decision.home.index())
    }
}

#[test]
#[rustfmt::skip]
fn every_rule_of_the_contract() {
    let redirecting = |case: &mut Case| case.policy.mode = MisrouteMode::Redirect;
    let no_edge_up = |case: &mut Case| case.live.edges_up[region(1)] = 0;
    let not_automatic = |case: &mut Case| { case.live.edges_up[region(1)] = 0; case.policy.automatic_failover = false; };
    let rows: Vec<(&str, Case, (RouteKind, Reason, usize))> = vec![
        ("home", Case::from(EU), (Local, Home, 0)),
        ("isthmus", Case::from(US), (Isthmus, Misrouted, 1)),
        ("redirect", Case::from(US).with(redirecting), (Redirect, Misrouted, 1)),
        ("mode local", Case::from(US).with(|c| c.policy.mode = MisrouteMode::Local), (Local, ModeLocal, 1)),
        ("redirected once already", Case::from(US).with(redirecting).with(|c| c.redirected = true), (Local, AlreadyRedirected, 1)),
        ("redirected, but by isthmus it may still go", Case::from(US).with(|c| c.redirected = true), (Isthmus, Misrouted, 1)),
        ("no public_url", Case::from(AP).with(redirecting), (Local, NoPublicUrl, 2)),
        ("own region in failover", Case::from(US).with(|c| c.policy.failover[region(0)] = true), (Local, OwnFailover, 1)),
        ("home in failover", Case::from(US).with(|c| c.policy.failover[region(1)] = true), (Local, Failover, 1)),
        ("home in failover, redirecting", Case::from(US).with(redirecting).with(|c| c.policy.failover[region(1)] = true), (Local, Failover, 1)),
        ("home says so itself", Case::from(US).with(|c| c.live.peer_failover[region(1)] = true), (Local, Failover, 1)),
        ("a third region's failover is nothing to us", Case::from(US).with(|c| c.policy.failover[region(2)] = true), (Isthmus, Misrouted, 1)),
        ("no edge up", Case::from(US).with(no_edge_up), (Local, AutomaticFailover, 1)),
        ("no edge up, redirecting", Case::from(US).with(no_edge_up).with(redirecting), (Local, AutomaticFailover, 1)),
        ("unreachable, local", Case::from(US).with(not_automatic), (Local, Unreachable, 1)),
        ("unreachable, redirect", Case::from(US).with(not_automatic).with(|c| c.policy.when_unreachable = WhenUnreachable::Redirect), (Redirect, Unreachable, 1)),
        ("unreachable, redirect once", Case::from(US).with(not_automatic).with(|c| { c.policy.when_unreachable = WhenUnreachable::Redirect; c.redirected = true; }), (Local, AlreadyRedirected, 1)),
        ("unreachable, shed", Case::from(US).with(not_automatic).with(|c| c.policy.when_unreachable = WhenUnreachable::Shed), (Shed, Unreachable, 1)),
        ("without edges nothing was watched: no failover", Case::from(AP).with(|c| c.policy.when_unreachable = WhenUnreachable::Shed), (Shed, Unreachable, 2)),
        ("from a peer, home here", Case::from(EU).with(|c| c.hops = 1), (Local, Home, 0)),
        ("from a peer, home elsewhere", Case::from(US).with(|c| c.hops = 1), (Shed, TooManyHops, 1)),
        ("from a peer, two hops allowed", Case::from(US).with(|c| { c.hops = 1; c.policy.max_hops = 2; }), (Isthmus, Misrouted, 1)),
        ("more hops than allowed", Case::from(EU).with(|c| c.hops = 2), (Shed, TooManyHops, 0)),
        ("own Via", Case::from(EU).with(|c| c.seen_here = true), (Shed, Loop, 0)),
        ("denied", Case::from("198.51.100.6"), (Shed, Denied, 1)),
        ("allow beats deny", Case::from("198.51.100.7"), (Isthmus, Misrouted, 1)),
        ("pinned here", Case::from(US).with(|c| c.pin = Some(region(0))), (Local, Home, 0)),
        ("pinned elsewhere", Case::from(EU).with(|c| c.pin = Some(region(1))), (Isthmus, Misrouted, 1)),
        ("mapped address", Case::from("::ffff:198.51.100.1"), (Isthmus, Misrouted, 1)),
    ];
    for (name, case, expected) in rows {
        assert_eq!(case.decide(), expected, "{name}");
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rule = |path: &str, methods: &[Method], mode| MisrouteRule {
        path_prefix: Some(path.to_owned()),
        methods: methods.to_vec(),
        mode,
    };
    let rules = [
        rule("/web/api", &[], MisrouteMode::Local),
        rule("/web/", &[Method::GET, Method::HEAD], MisrouteMode::Redirect),
        rule("/post", &[Method::POST], MisrouteMode::Local),
    ];
    let at = |path| {
        Case::from(US).with(|case| {
            case.policy.rules = rules.to_vec();
            case.path = path;
        })
    };
    assert_eq!(at("/web/api/x").decide(), (Local, ModeLocal, 1));
    assert_eq!(at("/web/x").decide(), (Redirect, Misrouted, 1));
    assert_eq!(at("/web").decide(), (Isthmus, Misrouted, 1));
    assert_eq!(at("/post").decide(), (Isthmus, Misrouted, 1));
}

#[test]
fn the_first_priority_that_matches_gives_the_class() {
    let mut policy = policy();
    policy.priorities = vec![
        Priority { class: Class::Critical, path_prefix: Some("/play".into()), methods: vec![], header: None },
        Priority {
            class: Class::Bulk,
            path_prefix: None,
            methods: vec![Method::GET],
            header: Some((http::HeaderName::from_static("x-prefetch"), "1".into())),
        },
    ];
    let of = |path, value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert("x-prefetch", http::HeaderValue::from_static(value));
        let client = EU.parse().expect("address");
        let facts = RequestFacts {
            client,
            method: &Method::GET,
            path,
            headers: &headers,
            hops: 0,
            seen_here: false,
            redirected: false,
            pin: None,
        };
        class(&facts, &policy)
    };
    assert_eq!(of("/play/1", "1"), Class::Critical);
    assert_eq!(of("/other", "1"), Class::Bulk);
    assert_eq!(of("/other", "0"), Class::Degraded);
}
