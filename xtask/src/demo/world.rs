//! Two regions, a router between them, and clients in both regions' prefixes.
//! Never uses other addresses than those set aside for documentation (RFC 5737, RFC 3849).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tidegate_tests::daemon::Daemon;
use tidegate_tests::netns::{Netns, link};
use tidegate_tests::nginx::Nginx;

use super::store::{MEMCACHED, Store};
use super::tale::Tale;

/// Packets per second that the EU edge lets in from clients whose home is the US region.
pub(super) const CEILING_PPS: u64 = 10_000;
/// How long the NIC goes on enforcing without a daemon.
pub(super) const LEASE_S: u64 = 15;

/// The relay's front that the application uses, and one whose pool repeats nothing.
pub(super) const FRONT: &str = "127.0.0.1:11311";
/// See [`FRONT`].
pub(super) const BARE_FRONT: &str = "127.0.0.1:11312";
/// `repeat_after` of the first.
pub(super) const REPEAT_AFTER_S: u32 = 3;

/// What tells the two regions apart.
pub(super) struct Plan {
    /// The region's name.
    pub(super) region: &'static str,
    /// The edge's address, v4 and v6.
    pub(super) edge: (&'static str, &'static str),
    /// The router's address towards the edge.
    edge_gateway: (&'static str, &'static str),
    /// The client's address.
    pub(super) client: (&'static str, &'static str),
    /// The router's address towards the client.
    pub(super) client_gateway: (&'static str, &'static str),
}

/// Europe.
pub(super) const EU: Plan = Plan {
    region: "eu-west-1",
    edge: ("203.0.113.2", "2001:db8:f1::2"),
    edge_gateway: ("203.0.113.1", "2001:db8:f1::1"),
    client: ("192.0.2.10", "2001:db8:e1::10"),
    client_gateway: ("192.0.2.1", "2001:db8:e1::1"),
};

/// United States.
pub(super) const US: Plan = Plan {
    region: "us-east-1",
    edge: ("203.0.113.6", "2001:db8:f2::2"),
    edge_gateway: ("203.0.113.5", "2001:db8:f2::1"),
    client: ("198.51.100.10", "2001:db8:a1::10"),
    client_gateway: ("198.51.100.1", "2001:db8:a1::1"),
};

/// One region's hosts.
pub(super) struct Region {
    /// Its names and addresses.
    pub(super) plan: &'static Plan,
    /// tidegate on the edge. Declared before its namespace: it ends first.
    pub(super) daemon: Daemon,
    _origin: Nginx,
    /// Its store and cache.
    pub(super) store: Store,
    /// The edge host.
    pub(super) edge: Netns,
    /// A host in the region's client prefix.
    pub(super) client: Netns,
}

/// Everything there is.
pub(super) struct World {
    /// Europe.
    pub(super) eu: Region,
    /// United States.
    pub(super) us: Region,
    /// Between all of them.
    pub(super) router: Netns,
    binary: PathBuf,
}

impl World {
    /// Makes namespaces, links, origins and daemons.
    pub(super) fn build(tale: &Tale, binary: PathBuf) -> Result<Self> {
        tale.act("Two regions on this machine");
        let router = Netns::new("router")?;
        router.forward()?;
        let eu = Region::build(&EU, "eu", 1, &router, &binary)?;
        let us = Region::build(&US, "us", 2, &router, &binary)?;
        tale.tell("eu-west-1: edge 203.0.113.2 (tidegate on eth0, nginx behind), clients 192.0.2.0/24");
        tale.tell("us-east-1: edge 203.0.113.6 (tidegate on eth0, nginx behind), clients 198.51.100.0/24");
        Ok(Self { eu, us, router, binary })
    }

    /// Prints the end of both daemons' logs, for when something went wrong.
    pub(super) fn show_logs(&self) {
        for region in [&self.eu, &self.us] {
            let log = fs::read_to_string(region.daemon.log()).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("--- the end of {}'s log", region.plan.region);
            lines[lines.len().saturating_sub(12)..].iter().for_each(|line| eprintln!("{line}"));
        }
    }

    /// Commands for a reader to try.
    pub(super) fn what_to_try(&self) -> Vec<String> {
        let tidegate = format!("{} --socket {}", self.binary.display(), self.eu.daemon.socket().display());
        let inside = |namespace: &Netns| format!("nsenter --net={}", namespace.path().display());
        vec![
            format!("{tidegate} status"),
            format!("{tidegate} failover on us-east-1    # and: off"),
            format!("{tidegate} misroute redirect"),
            format!("{tidegate} explain --from 198.51.100.10 --port 443 --proto udp"),
            format!(
                "{} curl -i http://203.0.113.2/      # a US client at the EU edge",
                inside(&self.us.client)
            ),
            format!("{tidegate} relay"),
            format!("{tidegate} invalidate profiles ada    # us-east-1 reads ada from its store again"),
            format!("{} tcpdump -ni eth0                 # the EU edge's link", inside(&self.eu.edge)),
        ]
    }
}

impl Region {
    fn build(plan: &'static Plan, label: &str, number: u32, router: &Netns, binary: &Path) -> Result<Self> {
        let edge = Netns::new(&format!("{label}edge"))?;
        let client = Netns::new(&format!("{label}client"))?;
        let (to_edge, to_client) = (format!("{label}edge"), format!("{label}client"));
        join(router, &to_edge, &edge, plan.edge_gateway, plan.edge, 30)?;
        join(router, &to_client, &client, plan.client_gateway, plan.client, 24)?;
        let origin = Nginx::start(Some(&edge), "127.0.0.1:8080".parse()?, plan.region)?;
        let store = Store::start(&edge, plan.edge.0, number)?;
        let own = configuration(plan);
        let mut daemon = Daemon::prepare_from(binary.to_path_buf(), Some(&edge), plan.region, &own)?;
        daemon.run().with_context(|| format!("starting tidegate in {}", plan.region))?;
        Ok(Self { plan, daemon, _origin: origin, store, edge, client })
    }
}

/// Links a host to the router, with addresses and a default route for v4 and v6.
fn join(
    router: &Netns,
    link_name: &str,
    host: &Netns,
    gateway: (&str, &str),
    own: (&str, &str),
    prefix: u8,
) -> Result<()> {
    link((router, link_name), (host, "eth0"))?;
    router.address(link_name, &format!("{}/{prefix}", gateway.0))?;
    router.address(link_name, &format!("{}/64", gateway.1))?;
    host.address("eth0", &format!("{}/{prefix}", own.0))?;
    host.address("eth0", &format!("{}/64", own.1))?;
    host.route("default", gateway.0)?;
    host.route("default", gateway.1)
}

/// What this region's daemon reads besides `[host]` and `[admin]`.
fn configuration(plan: &Plan) -> String {
    let region = |plan: &Plan| {
        format!(
            "[[region]]\nname = \"{}\"\npublic_url = \"http://{}\"\nedges = [\"http://{}:8443\"]\n\
             [region.health]\ninterval = \"250ms\"\ntimeout = \"500ms\"\nfall = 3\nrise = 2\n\n",
            plan.region, plan.edge.0, plan.edge.0
        )
    };
    let (v4, v6) = plan.edge;
    format!(
        r#"{}{}
[geo]
default_region = "eu-west-1"
[[geo.record]]
region = "eu-west-1"
prefixes = ["192.0.2.0/24", "2001:db8:e1::/48"]
[[geo.record]]
region = "us-east-1"
prefixes = ["198.51.100.0/24", "2001:db8:a1::/48"]

[misroute]
mode = "isthmus"
when_unreachable = "local"

[[listener]]
name = "public"
address = "{v4}:80"
upstream = "origin"
[[listener]]
name = "public-v6"
address = "[{v6}]:80"
upstream = "origin"
[[listener]]
name = "isthmus"
address = "{v4}:8443"
kind = "peer"
trusted_peers = ["203.0.113.0/24"]
upstream = "origin"

[[upstream]]
name = "origin"
endpoints = ["http://127.0.0.1:8080"]

[[ceiling]]
name = "from-us"
home = "us-east-1"
packets_per_second = {CEILING_PPS}
burst = "100ms"
over = "drop"

[xdp]
interfaces = ["eth0"]
ports = [80, 443, 8443]
allow = ["203.0.113.0/24"]
lease = "{LEASE_S}s"
{}"#,
        region(&EU),
        region(&US),
        pools(plan)
    )
}

/// The relay's pools: one as it should be, and one that repeats nothing, over the same memcached.
fn pools(plan: &Plan) -> String {
    let other = if plan.region == EU.region { US.region } else { EU.region };
    let pool = |name: &str, front: &str, repeat_after_s: u32| {
        format!(
            "\n[[relay.pool]]\nname = \"{name}\"\nlisten = \"{front}\"\nservers = [\"{MEMCACHED}\"]\n\
             regions = [\"{other}\"]\nrepeat_after = \"{repeat_after_s}s\"\n"
        )
    };
    pool("profiles", FRONT, REPEAT_AFTER_S) + &pool("bare", BARE_FRONT, 0)
}
