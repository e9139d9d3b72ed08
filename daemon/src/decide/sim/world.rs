//! Regions, edges, clients, and what befalls them. Never decides anything about a request.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

use http::{HeaderMap, Method};
use jiff::Timestamp;

use super::chance::Chance;
use super::host::{FALL, Host, PROBE_NS, Plan, RISE, Watched, client};
use super::ledger::{Ended, Ledger};
use crate::config::types::{Class, MisrouteMode};
use crate::decide::admission::{Asking, Permit, Tick};
use crate::decide::measure::Measure;
use crate::decide::overrides::{CeilingKey, Setting, Slot};
use crate::decide::priority;
use crate::decide::reason::{Reason, RouteKind};
use crate::decide::region::RegionId;
use crate::decide::route::{self, Decision, RequestFacts};
use crate::decide::watch::Watch;

/// Virtual time: the daemon's clock starts at one second.
const BEGIN_NS: u64 = 1_000_000_000;
const STORMY_NS: u64 = 6_000_000_000;
const TICK_NS: u64 = 100_000_000;
/// Long enough for every watch to see what is, and for ramps to be over.
const QUIET_NS: u64 = (FALL as u64 + RISE as u64 + 3) * PROBE_NS + 2_500_000_000;
const LAST_NS: u64 = 1_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    Probe(usize),
    Tick,
    Disturb,
    Leave(usize),
}

pub(super) struct World {
    chance: Chance,
    plan: Plan,
    hosts: Vec<Host>,
    /// Pairs of regions that can't reach each other.
    cut: BTreeSet<(RegionId, RegionId)>,
    /// Hosts whose every other probe fails.
    flapping: BTreeSet<usize>,
    /// Regions that are away for as many probes as it takes, and back for as many, again and again.
    limping: BTreeSet<RegionId>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    number: u64,
    now_ns: u64,
    probes: u64,
    flights: Vec<Vec<Permit>>,
    pub(super) ledger: Ledger,
}

struct Request {
    number: usize,
    address: std::net::IpAddr,
    path: &'static str,
    redirected: bool,
}

/// What a host makes of a request.
enum Answer {
    Served(usize),
    Shed(Reason),
    Redirected(RegionId),
}

impl World {
    pub(super) fn new(mut chance: Chance) -> Self {
        let plan = Plan {
            regions: chance.pick(&[3, 4, 5]),
            edges: chance.pick(&[1, 2]),
            max_hops: chance.pick(&[1, 2, 3]),
            automatic: chance.percent(75),
        };
        let now = at(BEGIN_NS);
        let places = (0..plan.regions).flat_map(|region| std::iter::repeat_n(region, plan.edges));
        let mut hosts: Vec<Host> = places.map(|region| Host::new(&plan, region, &mut chance, now)).collect();
        let regions: Vec<RegionId> = hosts.iter().map(|host| host.region).collect();
        for host in &mut hosts {
            let others = regions.iter().enumerate().filter(|(_, region)| **region != host.region);
            let watched = others.map(|(at, region)| Watched {
                host: at,
                region: *region,
                watch: Watch::new(FALL, RISE),
                failover: false,
                changes: 0,
                truths: 0,
                truth: true,
            });
            host.watched = watched.collect();
        }
        let (events, flights) = (BinaryHeap::new(), Vec::new());
        let (cut, flapping, limping) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let ledger = Ledger::default();
        Self {
            chance,
            plan,
            hosts,
            cut,
            flapping,
            limping,
            events,
            number: 0,
            now_ns: BEGIN_NS,
            probes: 0,
            flights,
            ledger,
        }
    }

    fn at(&mut self, when_ns: u64, event: Event) {
        self.number += 1;
        self.events.push(Reverse((when_ns, self.number, event)));
    }

    pub(super) fn run(&mut self) {
        self.at(BEGIN_NS, Event::Arrive);
        self.at(BEGIN_NS, Event::Tick);
        self.at(BEGIN_NS + 300_000_000, Event::Disturb);
        for host in 0..self.hosts.len() {
            let first = BEGIN_NS + self.chance.between(0, PROBE_NS);
            self.at(first, Event::Probe(host));
        }
        self.until(BEGIN_NS + STORMY_NS);
        self.flapping.clear();
        self.limping.clear();
        let restless = self.changes();
        self.until(BEGIN_NS + STORMY_NS + QUIET_NS);
        self.check_settled(&restless);
        let settled = self.changes();
        self.until(BEGIN_NS + STORMY_NS + QUIET_NS + LAST_NS);
        assert!(self.changes() == settled, "nothing changes any more, but health does");
        self.finish();
    }

    fn until(&mut self, end_ns: u64) {
        while let Some(Reverse((when, _, event))) = self.events.peek().copied() {
            if when >= end_ns {
                return;
            }
            self.events.pop();
            self.now_ns = when;
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive => {
                self.request();
                let gap = self.chance.gap_ns(160.0);
                self.at(self.now_ns + gap, Event::Arrive);
            }
            Event::Probe(host) => {
                self.probe(host);
                self.at(self.now_ns + PROBE_NS, Event::Probe(host));
            }
            Event::Tick => {
                let now = at(self.now_ns);
                self.hosts.iter_mut().for_each(|host| host.tick(now));
                self.at(self.now_ns + TICK_NS, Event::Tick);
            }
            Event::Disturb if self.now_ns < BEGIN_NS + STORMY_NS - 200_000_000 => {
                self.disturb();
                let gap = self.chance.gap_ns(4.0);
                self.at(self.now_ns + gap, Event::Disturb);
            }
            Event::Disturb => {}
            Event::Leave(flight) => self.flights[flight].clear(),
        }
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        let (a, b) = (self.hosts[from].region, self.hosts[to].region);
        let away =
            self.limping.contains(&b) && self.now_ns / PROBE_NS % u64::from(FALL + RISE) < u64::from(FALL);
        self.hosts[from].alive && self.hosts[to].alive && !self.cut.contains(&(a.min(b), a.max(b))) && !away
    }

    fn probe(&mut self, from: usize) {
        self.probes += 1;
        for at in 0..self.hosts[from].watched.len() {
            let to = self.hosts[from].watched[at].host;
            let truth = self.reaches(from, to);
            let watched = &mut self.hosts[from].watched[at];
            watched.truths += u32::from(watched.truth != truth);
            watched.truth = truth;
            // Every other probe only: never as many in a row as it takes.
            let flaps = self.flapping.contains(&to) && (self.now_ns / PROBE_NS).is_multiple_of(2);
            let region = self.hosts[to].region;
            let answer = (truth && !flaps).then(|| self.hosts[to].policy.failover[region]);
            if self.hosts[from].alive
                && let Some(region) = self.hosts[from].probed(at, answer, self.now_ns)
            {
                self.ledger.failed_over(from, region, self.now_ns);
            }
        }
    }

    fn disturb(&mut self) {
        self.ledger.count(|totals| totals.disturbances += 1);
        let (host, now) = (self.chance.below(self.hosts.len()), at(self.now_ns));
        let region = self.hosts[host].region;
        match self.chance.below(8) {
            0 => self.hosts[host].alive ^= true,
            1 => {
                let other = self.hosts[self.chance.below(self.hosts.len())].region;
                let pair = (region.min(other), region.max(other));
                if !self.cut.remove(&pair) && region != other {
                    self.cut.insert(pair);
                }
            }
            2 => {
                self.flapping.insert(host);
            }
            3 => self.toggle_failover(region, now),
            4 => self.heal(),
            5 => {
                let mode =
                    self.chance.pick(&[MisrouteMode::Isthmus, MisrouteMode::Redirect, MisrouteMode::Local]);
                self.hosts[host].order(Slot::Misroute, Some(Setting::Misroute(mode)), None, now);
            }
            6 => {
                self.limping.insert(region);
            }
            _ => {
                let (from, to) = (self.chance.between(10, 200), self.chance.between(0, 200));
                let key = CeilingKey::Limit(Measure::RequestsPerSecond);
                let setting = Setting::ramp(from, to, Duration::from_millis(self.chance.between(0, 1_500)));
                let valid_for = Some(Duration::from_secs(self.chance.between(1, 3)));
                self.hosts[host].order(
                    Slot::Ceiling { name: "everyone".into(), key },
                    Some(setting),
                    valid_for,
                    now,
                );
            }
        }
    }

    /// Somebody repaired everything.
    fn heal(&mut self) {
        self.cut.clear();
        self.flapping.clear();
        self.limping.clear();
        self.hosts.iter_mut().for_each(|host| host.alive = true);
    }

    /// An operator puts a whole region into failover, or takes it out.
    fn toggle_failover(&mut self, region: RegionId, now: Timestamp) {
        let on = !self.hosts.iter().any(|host| host.region == region && host.policy.failover[region]);
        let valid_for = self.chance.percent(30).then(|| Duration::from_secs(1));
        for host in self.hosts.iter_mut().filter(|host| host.region == region) {
            let name = host.config.regions[region].name.clone();
            host.order(Slot::Failover(name), Some(Setting::Failover(on)), valid_for, now);
        }
    }

    /// A client asks any host, and follows one redirect, as a browser would.
    fn request(&mut self) {
        let there: Vec<usize> = (0..self.hosts.len()).filter(|host| self.hosts[*host].alive).collect();
        if there.is_empty() {
            return;
        }
        let (home, number) = (self.chance.below(self.plan.regions), self.chance.below(32));
        let path = self.chance.pick(&["/play", "/browse"]);
        let address = client(home, number);
        let mut request = Request { number: self.ledger.arrived(), address, path, redirected: false };
        let first = self.chance.pick(&there);
        let ended = match self.handle(first, &request, 0, &mut Vec::new()) {
            Answer::Redirected(region) => {
                self.ledger.count(|totals| totals.redirects += 1);
                request.redirected = true;
                let second = there.iter().copied().find(|host| self.hosts[*host].region == region);
                match second.map(|host| self.handle(host, &request, 0, &mut Vec::new())) {
                    None => Ended::NobodyThere,
                    Some(Answer::Redirected(_)) => panic!("request {} is redirected again", request.number),
                    Some(answer) => ended(&answer),
                }
            }
            answer => ended(&answer),
        };
        self.ledger.ended(request.number, ended);
    }

    /// One host's part, and that of those behind it.
    fn handle(&mut self, at: usize, request: &Request, hops: u8, way: &mut Vec<usize>) -> Answer {
        let headers = HeaderMap::new();
        let facts = RequestFacts {
            client: request.address,
            method: &Method::GET,
            path: request.path,
            headers: &headers,
            hops,
            seen_here: way.contains(&at),
            redirected: request.redirected,
            pin: None,
        };
        let host = &self.hosts[at];
        let decision = route::route(&facts, &host.policy, &host.live);
        self.judge(at, decision, facts.seen_here);
        way.push(at);
        assert!(
            way.len() <= usize::from(self.plan.max_hops) + 2,
            "request {} goes round: {way:?}",
            request.number
        );
        match decision.route {
            RouteKind::Shed => Answer::Shed(decision.reason),
            RouteKind::Redirect => Answer::Redirected(decision.home),
            RouteKind::Local | RouteKind::Isthmus => match self.admit(at, decision, &facts) {
                Err(reason) => Answer::Shed(reason),
                Ok(()) if decision.route == RouteKind::Local => self.serve(at, request, hops),
                Ok(()) => self.isthmus(at, request, decision, &facts, way),
            },
        }
    }

    /// What must hold of every decision.
    fn judge(&mut self, at: usize, decision: Decision, seen: bool) {
        let Host { policy, live, .. } = &self.hosts[at];
        let carried = matches!(decision.route, RouteKind::Isthmus | RouteKind::Redirect);
        let failing = policy.failover[policy.own]
            || policy.failover[decision.home]
            || live.peer_failover[decision.home];
        assert!(!(carried && failing), "host {at}: traffic for a region in failover: {decision:?}");
        assert!(!(carried && decision.home == policy.own), "host {at}: sent away from home: {decision:?}");
        assert!(!seen || decision.reason == Reason::Loop, "host {at}: seen before: {decision:?}");
        let reasons = [Reason::OwnFailover, Reason::Failover, Reason::AutomaticFailover];
        let failover = reasons.contains(&decision.reason);
        self.ledger.count(|totals| totals.failovers += u64::from(failover));
    }

    fn admit(&mut self, at: usize, decision: Decision, facts: &RequestFacts<'_>) -> Result<(), Reason> {
        let policy = &self.hosts[at].policy;
        let class = if policy.priorities.is_empty() { Class::Degraded } else { route::class(facts, policy) };
        let user = priority::place(u64::from(match facts.client {
            std::net::IpAddr::V4(address) => address.to_bits(),
            std::net::IpAddr::V6(_) => 0,
        }));
        let applying = policy.ceilings[decision.home].clone();
        let admitted =
            applying.admit(Asking { class, user, foreign: facts.hops > 0, always: false }, Tick(self.now_ns));
        let permit = admitted.map_err(|refused| refused.reason)?.permit;
        for applied in applying.list() {
            let ceiling = &applied.ceiling;
            let limit = ceiling.rate.per_second().unwrap_or(f64::INFINITY);
            self.ledger.admitted(at, &ceiling.name, self.now_ns, limit);
            let slots = &ceiling.slots;
            assert!(slots.limit().is_none_or(|limit| slots.used() <= limit), "host {at}: too many in flight");
        }
        self.flights.push(vec![permit]);
        let leave = self.now_ns + self.chance.between(1_000_000, 150_000_000);
        self.at(leave, Event::Leave(self.flights.len() - 1));
        Ok(())
    }

    fn serve(&mut self, at: usize, request: &Request, hops: u8) -> Answer {
        self.ledger.upstream(request.number, hops, self.plan.max_hops);
        Answer::Served(at)
    }

    /// Hands over to an edge that is up, skips those that don't answer, and does what is configured when none does.
    fn isthmus(
        &mut self,
        at: usize,
        request: &Request,
        decision: Decision,
        facts: &RequestFacts<'_>,
        way: &mut Vec<usize>,
    ) -> Answer {
        let up =
            self.hosts[at].watched.iter().filter(|edge| edge.region == decision.home && edge.watch.is_up());
        let edges: Vec<usize> = up.map(|edge| edge.host).collect();
        let answering = edges.into_iter().find(|edge| self.reaches(at, *edge));
        if let Some(edge) = answering {
            return self.handle(edge, request, facts.hops + 1, way);
        }
        self.ledger.count(|totals| totals.unreachable += 1);
        let decision = route::unreachable(decision, facts, &self.hosts[at].policy);
        match decision.route {
            RouteKind::Redirect => Answer::Redirected(decision.home),
            RouteKind::Shed => Answer::Shed(decision.reason),
            RouteKind::Local | RouteKind::Isthmus => self.serve(at, request, facts.hops),
        }
    }

    /// Changes of sides so far, by watch.
    fn changes(&self) -> Vec<u32> {
        self.hosts.iter().flat_map(|host| host.watched.iter().map(|watched| watched.changes)).collect()
    }

    /// After a quiet time, every host sees what is; no watch changed sides more often than the truth did.
    fn check_settled(&mut self, restless: &[u32]) {
        let settled = self.changes();
        assert!(
            settled.iter().zip(restless).all(|(after, before)| after - before <= 1),
            "health flaps in the quiet"
        );
        for (at, host) in self.hosts.iter().enumerate().filter(|(_, host)| host.alive) {
            for watched in &host.watched {
                assert!(
                    watched.watch.is_up() == self.reaches(at, watched.host),
                    "host {at} is wrong about {}",
                    watched.host
                );
                assert!(watched.changes <= watched.truths + 1, "host {at}: health of {} flaps", watched.host);
            }
            for (region, _) in host.config.regions.iter().filter(|(region, _)| *region != host.region) {
                let there = |other: &usize| self.hosts[*other].region == region && self.reaches(at, *other);
                let others: Vec<usize> = (0..self.hosts.len()).filter(there).collect();
                let said = others.iter().any(|other| self.hosts[*other].policy.failover[region]);
                assert!(
                    host.live.peer_failover[region] == said,
                    "host {at} is wrong about the failover of {region:?}"
                );
                let automatic = route::automatic_failover(&host.policy, &host.live, region);
                let expected = self.plan.automatic && others.is_empty();
                assert!(
                    automatic == expected,
                    "host {at}: automatic failover of {region:?} has not converged"
                );
            }
        }
        let sides: u32 = settled.iter().sum();
        self.ledger.count(|totals| totals.sides_changed += u64::from(sides));
    }

    /// Everything in flight leaves; nothing is left behind.
    fn finish(&mut self) {
        self.flights.clear();
        for host in &self.hosts {
            for name in ["everyone", "some"] {
                let used = host.book.get(name).map_or(0, |ceiling| ceiling.slots.used());
                assert!(used == 0, "{used} places in flight of {name} were never given back");
            }
        }
        self.ledger.check(0.1);
    }
}

fn at(now_ns: u64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("in range") + Duration::from_nanos(now_ns)
}

fn ended(answer: &Answer) -> Ended {
    match answer {
        Answer::Served(host) => Ended::Served { host: *host },
        Answer::Shed(reason) => Ended::Shed(*reason),
        Answer::Redirected(_) => Ended::NobodyThere,
    }
}
