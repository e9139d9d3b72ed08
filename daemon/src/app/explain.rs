//! `explain`: puts the question to the loaded NIC program, or to the proxy's route. Judges nothing itself.

use std::net::IpAddr;

use jiff::Timestamp;
use tidegate_common::verdict::Outcome;
use tokio::sync::oneshot;

use super::core::Core;
use super::frame::{self, Facts};
use crate::decide::home::List;
use crate::decide::reason::RouteKind;
use crate::decide::region::RegionId;
use crate::decide::route::{self, RequestFacts};
use crate::decide::target;
use crate::decide::verb::{
    Answer, PacketAnswer, PacketQuestion, Protocol, Refusal, RefusalKind, RequestAnswer, RequestQuestion,
};

impl Core {
    /// Asks the loaded program beside the line.
    pub(super) fn explain_packet(
        &self,
        question: PacketQuestion,
        reply: oneshot::Sender<Result<Answer, Refusal>>,
    ) {
        let Some(nic) = self.nic.handle() else {
            let text = "there is no NIC program: [xdp].interfaces is empty, so the proxy alone enforces (explain --url asks it)";
            _ = reply.send(Err(Refusal::new(RefusalKind::Unavailable, text)));
            return;
        };
        let facts = match self.facts(question) {
            Ok(facts) => facts,
            Err(refusal) => {
                _ = reply.send(Err(refusal));
                return;
            }
        };
        let regions: Vec<String> =
            self.config.regions.iter().map(|(_, region)| region.name.clone()).collect();
        tokio::spawn(async move {
            let answer = match frame::build(&facts) {
                Some(bytes) => nic.explain(bytes).await.map_err(|error| error.to_string()),
                None => Err("no such packet can be built".to_owned()),
            };
            let answer = answer
                .map(|outcome| Answer::Packet(packet_answer(outcome, &facts, &regions)))
                .map_err(|error| Refusal::new(RefusalKind::Unavailable, error));
            _ = reply.send(answer);
        });
    }

    fn facts(&self, question: PacketQuestion) -> Result<Facts, Refusal> {
        let conflict = |text: String| Refusal::new(RefusalKind::Conflict, text);
        let from = question.from.to_canonical();
        let port = question.port.or_else(|| self.config.xdp.ports.first().copied());
        let port = port.ok_or_else(|| {
            conflict(
                "[xdp].ports is empty, so that nothing is ever shed: give --port to ask all the same"
                    .to_owned(),
            )
        })?;
        let family = if from.is_ipv4() { "IPv4" } else { "IPv6" };
        let to = destination(self.nic.addresses().into_iter(), from).ok_or_else(|| {
            conflict(format!("this host has no {family} address that such a packet could be for"))
        })?;
        let size = question.size.unwrap_or_else(|| *question.sizes().start());
        Ok(Facts { from, to, port, protocol: question.protocol, size })
    }

    /// Asks the route that the proxy takes at this instant.
    pub(super) fn explain_request(&self, question: &RequestQuestion) -> Result<RequestAnswer, Refusal> {
        let policy = self.policy.load();
        let live = self.proxy.live();
        let query = question.url.query().unwrap_or_default();
        let now = u64::try_from(Timestamp::now().as_second()).unwrap_or(0);
        let pin = self.proxy.pins().and_then(|pins| pins.read(&question.headers, now).region());
        let facts = RequestFacts {
            client: question.from.to_canonical(),
            method: &question.method,
            path: question.url.path(),
            headers: &question.headers,
            hops: 0,
            seen_here: false,
            redirected: target::is_marked(query),
            pin,
        };
        let decision = route::route(&facts, &policy, &live);
        let name =
            |id: RegionId| self.config.regions.get(id).map(|region| region.name.clone()).unwrap_or_default();
        let class = crate::decide::route::class(&facts, &policy);
        let carried = matches!(decision.route, RouteKind::Local | RouteKind::Isthmus);
        let ceilings = policy.ceilings.get(decision.home).filter(|_| carried);
        let full = ceilings.filter(|_| decision.list != List::Allow);
        let full = full.and_then(|applying| applying.full(self.proxy.now())).map(|refused| refused.reason);
        let (route, reason) =
            full.map_or((decision.route, decision.reason), |reason| (RouteKind::Shed, reason));
        let target = policy.regions.get(decision.home).and_then(|region| region.public_url.as_ref());
        let location = (decision.route == RouteKind::Redirect).then_some(target).flatten().map(|url| {
            let asked = question.url.path_and_query().map_or("/", |asked| asked.as_str());
            target::location(url, asked, &name(policy.own))
        });
        Ok(RequestAnswer {
            route: route.name().to_owned(),
            reason: reason.name().to_owned(),
            home: name(decision.home),
            list: match decision.list {
                List::None => "none",
                List::Allow => "allow",
                List::Deny => "deny",
            }
            .to_owned(),
            class: serde_json::to_value(class)
                .ok()
                .and_then(|v| v.as_str().map(str::to_owned))
                .unwrap_or_default(),
            ceilings: ceilings
                .map(|applying| applying.list().iter().map(|applied| applied.ceiling.name.clone()).collect())
                .unwrap_or_default(),
            location,
        })
    }
}

/// An address of this host that such a packet would be for: a public one before loopback.
fn destination(addresses: impl Iterator<Item = IpAddr>, from: IpAddr) -> Option<IpAddr> {
    let mut fitting: Vec<IpAddr> = addresses.filter(|to| to.is_ipv4() == from.is_ipv4()).collect();
    fitting.sort_by_key(|to| {
        let link_local = matches!(to, IpAddr::V6(v6) if v6.is_unicast_link_local());
        (to.is_loopback(), link_local)
    });
    fitting.first().copied()
}

fn packet_answer(outcome: Outcome, facts: &Facts, regions: &[String]) -> PacketAnswer {
    let home = RegionId::from_home(outcome.home).and_then(|home| regions.get(home.index()).cloned());
    let protocol = match facts.protocol {
        Protocol::Tcp => "TCP SYN",
        Protocol::Udp => "UDP datagram",
    };
    PacketAnswer {
        verdict: outcome.verdict().label().to_owned(),
        reason: outcome.reason.label().to_owned(),
        home,
        reset: outcome.reset,
        packet: format!(
            "{protocol} from {} to {} port {}, {} bytes",
            facts.from, facts.to, facts.port, facts.size
        ),
    }
}
