//! One edge: its configuration, what is in force, what it sees of the others. Decides by the real functions alone.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;

use super::chance::Chance;
use crate::config::{self, Config};
use crate::decide::admission::Book;
use crate::decide::hold::Hold;
use crate::decide::home::{Homes, PrefixHomes};
use crate::decide::inforce::InForce;
use crate::decide::overrides::{Caller, Order, Overrides, Setting, Slot};
use crate::decide::policy::Policy;
use crate::decide::ramps::{Ramps, Trigger};
use crate::decide::region::{RegionId, Regions};
use crate::decide::route::{Live, automatic_failover};
use crate::decide::watch::Watch;

pub(super) const FALL: u32 = 3;
pub(super) const RISE: u32 = 2;
pub(super) const PROBE_NS: u64 = 200_000_000;
/// What a failover lasts at least with such probes.
pub(super) const HELD_NS: u64 = 1_000_000_000;

/// Another region's edge, as this one sees it.
pub(super) struct Watched {
    pub(super) host: usize,
    pub(super) region: RegionId,
    pub(super) watch: Watch,
    /// It said of its own region that it is in failover.
    pub(super) failover: bool,
    /// Changes of sides, and of what it really was.
    pub(super) changes: u32,
    pub(super) truths: u32,
    pub(super) truth: bool,
}

pub(super) struct Host {
    pub(super) region: RegionId,
    pub(super) alive: bool,
    pub(super) config: Arc<Config>,
    pub(super) overrides: Overrides,
    pub(super) ramps: Ramps,
    pub(super) homes: Arc<dyn Homes>,
    pub(super) book: Book,
    pub(super) policy: Policy,
    pub(super) live: Live,
    pub(super) watched: Vec<Watched>,
    in_failover: Regions<bool>,
    holds: Regions<Hold>,
}

/// What all hosts of a world have in common.
pub(super) struct Plan {
    pub(super) regions: usize,
    pub(super) edges: usize,
    pub(super) max_hops: u8,
    pub(super) automatic: bool,
}

/// Clients of each region, by documentation prefixes.
pub(super) fn client(region: usize, number: usize) -> IpAddr {
    let last = u8::try_from(region * 32 + number % 32).expect("small");
    std::net::Ipv4Addr::new(198, 51, 100, last).into()
}

impl Host {
    pub(super) fn new(plan: &Plan, region: usize, chance: &mut Chance, now: Timestamp) -> Self {
        let text = text(plan, region, chance);
        let config = config::from_text(Path::new("sim"), &text).expect("no fault").config;
        let records = config.geo.records.iter().flat_map(|record| {
            let prefixes: Vec<(IpNet, RegionId)> =
                record.prefixes.iter().map(|net| (*net, record.region)).collect();
            prefixes
        });
        let homes: Arc<dyn Homes> = Arc::new(PrefixHomes::new(config.geo.default_region, records, &[], &[]));
        let ramps = Ramps::at_start(None, &config.ceilings, now);
        let overrides = Overrides::default();
        let in_force = InForce::at(&config, &overrides, &ramps, now);
        let mut book = Book::default();
        let policy = Policy::compile(&config, &in_force, Arc::clone(&homes), &mut book, 1).expect("names");
        let live = Live::all_up(&policy);
        let in_failover = config.regions.map(|_| false);
        let holds = config.regions.map(|_| Hold::default());
        let region = RegionId::new(region).expect("few");
        Self {
            region,
            alive: true,
            config: Arc::new(config),
            overrides,
            ramps,
            homes,
            book,
            policy,
            live,
            watched: Vec::new(),
            in_failover,
            holds,
        }
    }

    /// Puts into force what holds now, as the daemon does at each tick and after each change.
    pub(super) fn tick(&mut self, now: Timestamp) {
        let (overrides, _) = self.overrides.expire(now);
        self.overrides = overrides;
        let failing = self.config.regions.map(|(id, _)| {
            self.policy.failover[id]
                || self.live.peer_failover[id]
                || automatic_failover(&self.policy, &self.live, id)
        });
        for (id, on) in failing.iter() {
            if *on && !self.in_failover[id] {
                self.ramps.trigger(Trigger::Failover(id), &self.config.ceilings, now);
            }
        }
        self.in_failover = failing;
        let in_force = InForce::at(&self.config, &self.overrides, &self.ramps, now);
        self.ramps.tidy(&self.config.ceilings, now);
        let homes = Arc::clone(&self.homes);
        let generation = self.policy.generation + 1;
        self.policy =
            Policy::compile(&self.config, &in_force, homes, &mut self.book, generation).expect("names");
    }

    /// An operator's order.
    pub(super) fn order(
        &mut self,
        slot: Slot,
        setting: Option<Setting>,
        valid_for: Option<Duration>,
        now: Timestamp,
    ) {
        let changes = vec![(slot, setting)];
        let order = Order { changes, valid_for, confirm: None, reason: None, caller: Caller::default() };
        let (next, _) = self.overrides.apply(&order, now).expect("within bounds");
        self.overrides = next;
        self.tick(now);
    }

    /// A probe's result, with what the edge says of its own region. Returns that region if it came to have an edge that counts as up, or lost
    /// its last one.
    pub(super) fn probed(&mut self, at: usize, answer: Option<bool>, now_ns: u64) -> Option<RegionId> {
        let watched = &mut self.watched[at];
        if watched.watch.observe(answer.is_some()).is_some() {
            watched.changes += 1;
        }
        watched.failover = answer.unwrap_or(watched.failover);
        let region = watched.region;
        let of_region = self.watched.iter().filter(|watched| watched.region == region);
        let up = of_region.filter(|watched| watched.watch.is_up());
        let (count, failover) =
            up.fold((0, false), |(count, any), watched| (count + 1, any || watched.failover));
        let before = self.live.edges_up[region];
        let counted = self.holds[region].counts(count, PROBE_NS / 1_000_000, now_ns / 1_000_000);
        self.live.edges_up[region] = counted;
        self.live.peer_failover[region] = failover;
        ((before == 0) != (counted == 0)).then_some(region)
    }
}

/// The configuration file of a host. Regions may disagree about who belongs where: that is what the hop guard is for.
fn text(plan: &Plan, own: usize, chance: &mut Chance) -> String {
    use std::fmt::Write;
    let mode = chance.pick(&["isthmus", "isthmus", "isthmus", "redirect", "local"]);
    let unreachable = chance.pick(&["local", "redirect", "shed"]);
    let redirects = mode == "redirect" || unreachable == "redirect";
    let mut text = format!("[host]\nregion = \"r{own}\"\n");
    for region in 0..plan.regions {
        let edges: Vec<String> =
            (0..plan.edges).map(|edge| format!("\"http://192.0.2.{}:80\"", region * 8 + edge)).collect();
        let edges = if region == own { String::new() } else { format!("edges = [{}]\n", edges.join(", ")) };
        let url = if redirects || chance.percent(80) {
            format!("public_url = \"https://r{region}.example.com\"\n")
        } else {
            String::new()
        };
        _ = write!(text, "[[region]]\nname = \"r{region}\"\n{url}{edges}");
    }
    _ = write!(text, "[geo]\ndefault_region = \"r{}\"\n", chance.below(plan.regions));
    for region in 0..plan.regions {
        let home = if chance.percent(70) { region } else { chance.below(plan.regions) };
        _ = write!(
            text,
            "[[geo.record]]\nregion = \"r{home}\"\nprefixes = [\"198.51.100.{}/27\"]\n",
            region * 32
        );
    }
    _ = write!(
        text,
        "[misroute]\nmode = \"{mode}\"\nwhen_unreachable = \"{unreachable}\"\nmax_hops = {}\nautomatic_failover = {}\n",
        plan.max_hops, plan.automatic
    );
    let (rate, slots) = (chance.between(20, 200), chance.between(3, 40));
    let ramp = "ramp = { on = [\"start\", \"failover\"], from = 0.2, over = \"2s\" }\n";
    let ramp = if chance.percent(50) { ramp } else { "" };
    _ = write!(
        text,
        "[[ceiling]]\nname = \"everyone\"\nrequests_per_second = {rate}\nconcurrent_requests = {slots}\n{ramp}"
    );
    let (home, rate) = (chance.below(plan.regions), chance.between(10, 100));
    _ = write!(text, "[[ceiling]]\nname = \"some\"\nhome = \"r{home}\"\nrequests_per_second = {rate}\n");
    if chance.percent(30) {
        text.push_str("[[priority]]\nclass = \"critical\"\npath_prefix = \"/play\"\n");
    }
    text
}
