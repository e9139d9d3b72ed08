//! Probing endpoints and edges, on a thread of its own so that load never looks like an outage. Never routes a request.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::clock::{self, Dice};
use super::connect::{self, ConnectError, Need};
use super::headers::FAILOVER;
use super::tls::{self, Identities};
use super::topology::{Endpoint, Probing, Topology};
use crate::config::Config;
use crate::config::units::show_origin;
use crate::decide::event::{Cause, Event, Failover, Health, HealthTarget, What};
use crate::decide::hold::Hold;
use crate::decide::policy::Policy;
use crate::decide::region::RegionId;
use crate::decide::route::{self, Live};
use crate::decide::watch::Watch;
use crate::link;

/// How often certificate files are looked at.
const FRESH: Duration = Duration::from_secs(2);

/// A probe's failure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// HTTP broke.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// Not a success.
    #[error("answered {0}")]
    Status(StatusCode),
    /// Nothing within the time allowed.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The configured path or host can't be asked for.
    #[error(transparent)]
    Request(#[from] http::Error),
}

/// What the prober works on.
#[derive(Clone)]
pub(crate) struct Prober {
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) topology: Arc<ArcSwap<Topology>>,
    pub(crate) policy: Arc<ArcSwap<Policy>>,
    pub(crate) live: Arc<ArcSwap<Live>>,
    pub(crate) events: broadcast::Sender<Arc<Event>>,
    pub(crate) identities: Arc<Identities>,
    /// How long automatic failovers have lasted.
    pub(crate) holds: Arc<Mutex<Vec<Hold>>>,
}

/// Probes until stopped; begins anew whenever the layout changes. Blocks its thread.
pub(crate) fn run(
    prober: &Prober,
    changed: watch::Receiver<u64>,
    stop: &CancellationToken,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = keep_fresh(&prober.identities, changed.clone()) => {}
            () = rounds(prober.clone(), changed) => {}
        }
    });
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(())
}

/// Looks at the certificate files that the configuration of the moment names.
async fn keep_fresh(identities: &Identities, mut changed: watch::Receiver<u64>) {
    loop {
        let ended = tokio::select! {
            () = link::keep_fresh(identities.fresh(), FRESH, tls::tell) => true,
            ended = changed.changed() => ended.is_err(),
        };
        if ended {
            return std::future::pending().await;
        }
    }
}

async fn rounds(prober: Prober, mut changed: watch::Receiver<u64>) {
    let prober = Rc::new(prober);
    loop {
        let round = CancellationToken::new();
        prober.begin(&round);
        let ended = changed.changed().await.is_err();
        round.cancel();
        if ended {
            return;
        }
    }
}

/// One endpoint or edge as it is watched.
struct Target {
    endpoint: Arc<Endpoint>,
    probing: Probing,
    whose: HealthTarget,
}

impl Prober {
    fn begin(self: &Rc<Self>, round: &CancellationToken) {
        let (config, topology) = (self.config.load(), self.topology.load());
        let upstreams = topology.upstreams.iter().flat_map(|upstream| {
            let health = upstream.spec.health.iter();
            let each =
                health.flat_map(|health| upstream.endpoints.iter().map(move |endpoint| (health, endpoint)));
            each.map(|(health, endpoint)| Target {
                endpoint: Arc::clone(endpoint),
                probing: health.into(),
                whose: HealthTarget::Upstream(upstream.spec.name.clone()),
            })
        });
        let edges = topology.edges.iter().flat_map(|(region, edges)| {
            let health = &config.regions[region].health;
            edges.iter().map(move |endpoint| Target {
                endpoint: Arc::clone(endpoint),
                probing: health.into(),
                whose: HealthTarget::Edge(region),
            })
        });
        for target in upstreams.chain(edges) {
            let (prober, round) = (Rc::clone(self), round.clone());
            tokio::task::spawn_local(async move {
                tokio::select! {
                    () = round.cancelled() => {}
                    () = prober.watch(target) => {}
                }
            });
        }
        self.refresh();
    }

    async fn watch(&self, target: Target) {
        let Target { endpoint, probing, whose } = target;
        let mut watch = Watch::new(probing.fall, probing.rise);
        if !endpoint.is_up() {
            // It was down before the layout changed: it stays down until it has risen.
            while watch.is_up() {
                watch.observe(false);
            }
        }
        let dice = Dice::new();
        let mut every = tokio::time::interval(probing.interval);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let interval_ms = usize::try_from(probing.interval.as_millis()).unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(dice.below(interval_ms / 4) as u64)).await;
        loop {
            every.tick().await;
            let result = probe(&self.identities, &endpoint, &probing).await;
            if let (HealthTarget::Edge(region), Ok(failover)) = (&whose, &result) {
                self.hear(*region, *failover);
            }
            if let Some(up) = watch.observe(result.is_ok()) {
                endpoint.set_up(up);
                self.changed(&endpoint, &whose, up, result.err());
            } else if let HealthTarget::Edge(region) = whose
                && endpoint.is_up()
                && self.live.load().edges_up.get(region) == Some(&0)
            {
                // It was up before its region's failover may end.
                self.follow(region);
            }
        }
    }

    /// An edge says whether its region is in failover.
    fn hear(&self, region: RegionId, failover: bool) {
        let live = self.live.load();
        if live.peer_failover.get(region).is_some_and(|known| *known != failover) {
            let mut next = Live::clone(&live);
            next.peer_failover[region] = failover;
            self.live.store(Arc::new(next));
            self.tell(What::Failover(Failover {
                region,
                on: failover,
                cause: Cause::Automatic,
                reason: Some("an edge of the region says so".to_owned()),
            }));
        }
    }

    fn changed(&self, endpoint: &Endpoint, whose: &HealthTarget, up: bool, why: Option<ProbeError>) {
        let (why, url) = (why.map(|why| why.to_string()), show_origin(&endpoint.url));
        if up {
            tracing::info!(endpoint = url, "is up");
        } else {
            tracing::warn!(endpoint = url, why = why.as_deref().unwrap_or_default(), "is down");
        }
        self.tell(What::Health(Health { target: whose.clone(), url, up, why }));
        if let HealthTarget::Edge(region) = whose {
            self.follow(*region);
        }
    }

    /// Counts the edges, and tells where automatic failover began or ended with that.
    fn follow(&self, region: RegionId) {
        let policy = self.policy.load();
        let before = route::automatic_failover(&policy, &self.live.load(), region);
        self.refresh();
        let after = route::automatic_failover(&policy, &self.live.load(), region);
        if before != after {
            self.tell(What::Failover(Failover { region, on: after, cause: Cause::Automatic, reason: None }));
        }
    }

    /// Counts the edges that are up; none while a failover is held.
    fn refresh(&self) {
        let (config, topology, live) = (self.config.load(), self.topology.load(), self.live.load());
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        holds.resize_with(topology.edges.iter().count(), Hold::default);
        let now_ms = clock::now().0 / 1_000_000;
        let edges_up = topology.edges.map(|(region, edges)| {
            let up = edges.iter().filter(|edge| edge.is_up()).count();
            let up = u32::try_from(up).unwrap_or(u32::MAX);
            let interval = config.regions[region].health.interval.as_millis();
            let interval_ms = u64::try_from(interval).unwrap_or(u64::MAX);
            let hold = holds.get_mut(region.index()).filter(|_| !edges.is_empty());
            hold.map_or(up, |hold| hold.counts(up, interval_ms, now_ms))
        });
        let peer_failover = topology.edges.map(|(id, _)| live.peer_failover.get(id).is_some_and(|on| *on));
        self.live.store(Arc::new(Live { edges_up, peer_failover }));
    }

    fn tell(&self, what: What) {
        _ = self.events.send(Arc::new(Event { at: Timestamp::now(), what }));
    }
}

/// Asks once; `Ok(true)` when an edge says that its region is in failover.
async fn probe(identities: &Identities, endpoint: &Endpoint, probing: &Probing) -> Result<bool, ProbeError> {
    let asked = tokio::time::timeout(probing.timeout, ask(identities, endpoint, probing));
    asked.await.unwrap_or(Err(ProbeError::Timeout(probing.timeout)))
}

async fn ask(identities: &Identities, endpoint: &Endpoint, probing: &Probing) -> Result<bool, ProbeError> {
    let stream = connect::stream(identities, endpoint, Need::Http1, probing.timeout).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::task::spawn_local(connection);
    let authority = endpoint.url.authority().map_or("", http::uri::Authority::as_str);
    let request = Request::get(&probing.path)
        .header(HOST, authority)
        .header(USER_AGENT, "tidegate-health")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let failover = response.headers().get(FAILOVER).is_some_and(|value| value == "on");
    let status = response.status();
    // Read to its end (within the timeout): an origin logs an aborted probe as an error.
    _ = http_body_util::Limited::new(response.into_body(), 65_536).collect().await;
    driver.abort();
    if status.is_success() || status.is_redirection() {
        Ok(failover)
    } else {
        Err(ProbeError::Status(status))
    }
}
