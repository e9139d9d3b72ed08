//! Where one request goes, and why. Never opens a connection, never counts and never asks a ceiling.

use std::net::IpAddr;

use http::{HeaderMap, Method};

use super::home::List;
use super::policy::Policy;
use super::reason::{Reason, RouteKind};
use super::region::{RegionId, Regions};
use crate::config::types::{Class, MisrouteMode, WhenUnreachable};

/// What a route depends on, read off one request's head.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    /// The client, after trusted proxies and peers were believed.
    pub client: IpAddr,
    /// Request method.
    pub method: &'a Method,
    /// Path without the query.
    pub path: &'a str,
    /// The head's fields.
    pub headers: &'a HeaderMap,
    /// Region-to-region hops so far, as a believed peer says; 0 from anyone else.
    pub hops: u8,
    /// `Via` names this very edge.
    pub seen_here: bool,
    /// The query carries `tg_from`: another region redirected the client here.
    pub redirected: bool,
    /// Home region by a valid session pin.
    pub pin: Option<RegionId>,
}

/// What the host sees of the other regions at this instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Edges that count as up, by region.
    pub edges_up: Regions<u32>,
    /// Regions whose edges say that their region is in failover.
    pub peer_failover: Regions<bool>,
}

impl Live {
    /// Every edge of `policy` up, nobody in failover: the state at start.
    #[must_use]
    pub fn all_up(policy: &Policy) -> Self {
        Self {
            edges_up: policy.regions.map(|(_, region)| region.edges),
            peer_failover: policy.regions.map(|_| false),
        }
    }
}

/// A request's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of it.
    pub route: RouteKind,
    /// Why.
    pub reason: Reason,
    /// The client's home region; where an isthmus or a redirect leads.
    pub home: RegionId,
    /// The list that the client is on: `Allow` is never shed by a ceiling.
    pub list: List,
}

impl Decision {
    fn to(self, route: RouteKind, reason: Reason) -> Self {
        Self { route, reason, ..self }
    }
}

/// Decides the way of one request; ceilings come after (only for what is carried: `local` and `isthmus`).
#[must_use]
pub fn route(facts: &RequestFacts<'_>, policy: &Policy, live: &Live) -> Decision {
    let source = policy.homes.look_up(facts.client);
    let home = facts.pin.unwrap_or(source.home);
    let decision = Decision { route: RouteKind::Local, reason: Reason::Home, home, list: source.list };
    if let Some(reason) = refusal(facts, policy, source.list) {
        return decision.to(RouteKind::Shed, reason);
    }
    if home == policy.own {
        return decision;
    }
    if let Some(reason) = failover(policy, live, home) {
        return decision.to(RouteKind::Local, reason);
    }
    match policy.mode_for(facts.method, facts.path) {
        MisrouteMode::Local => decision.to(RouteKind::Local, Reason::ModeLocal),
        MisrouteMode::Redirect => redirect(decision, facts, policy, Reason::Misrouted),
        MisrouteMode::Isthmus if live.edges_up[home] == 0 => unreachable(decision, facts, policy),
        MisrouteMode::Isthmus if facts.hops >= policy.max_hops => {
            decision.to(RouteKind::Shed, Reason::TooManyHops)
        }
        MisrouteMode::Isthmus => decision.to(RouteKind::Isthmus, Reason::Misrouted),
    }
}

/// What becomes of a request whose home region has no edge that answers (`when_unreachable`).
#[must_use]
pub fn unreachable(decision: Decision, facts: &RequestFacts<'_>, policy: &Policy) -> Decision {
    match policy.when_unreachable {
        WhenUnreachable::Local => decision.to(RouteKind::Local, Reason::Unreachable),
        WhenUnreachable::Redirect => redirect(decision, facts, policy, Reason::Unreachable),
        WhenUnreachable::Shed => decision.to(RouteKind::Shed, Reason::Unreachable),
    }
}

/// The class of a request: the first `[[priority]]` that matches, else degraded.
#[must_use]
pub fn class(facts: &RequestFacts<'_>, policy: &Policy) -> Class {
    let matches = |priority: &&crate::config::types::Priority| {
        priority.path_prefix.as_deref().is_none_or(|prefix| facts.path.starts_with(prefix))
            && (priority.methods.is_empty() || priority.methods.contains(facts.method))
            && priority.header.as_ref().is_none_or(|(name, value)| {
                facts.headers.get_all(name).iter().any(|found| found.as_bytes() == value.as_bytes())
            })
    };
    policy.priorities.iter().find(matches).map_or(Class::Degraded, |priority| priority.class)
}

fn refusal(facts: &RequestFacts<'_>, policy: &Policy, list: List) -> Option<Reason> {
    if facts.seen_here {
        Some(Reason::Loop)
    } else if facts.hops > policy.max_hops {
        Some(Reason::TooManyHops)
    } else {
        (list == List::Deny).then_some(Reason::Denied)
    }
}

/// Why mis-routed requests to `home` stay here; `None` where nothing is in failover.
fn failover(policy: &Policy, live: &Live, home: RegionId) -> Option<Reason> {
    if policy.failover[policy.own] {
        Some(Reason::OwnFailover)
    } else if policy.failover[home] || live.peer_failover[home] {
        Some(Reason::Failover)
    } else {
        automatic_failover(policy, live, home).then_some(Reason::AutomaticFailover)
    }
}

/// Whether `region` counts as in failover because it has edges and none is up.
#[must_use]
pub fn automatic_failover(policy: &Policy, live: &Live, region: RegionId) -> bool {
    policy.automatic_failover
        && region != policy.own
        && policy.regions[region].edges > 0
        && live.edges_up[region] == 0
}

fn redirect(decision: Decision, facts: &RequestFacts<'_>, policy: &Policy, reason: Reason) -> Decision {
    if facts.redirected {
        decision.to(RouteKind::Local, Reason::AlreadyRedirected)
    } else if policy.regions[decision.home].public_url.is_none() {
        decision.to(RouteKind::Local, Reason::NoPublicUrl)
    } else {
        decision.to(RouteKind::Redirect, reason)
    }
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
