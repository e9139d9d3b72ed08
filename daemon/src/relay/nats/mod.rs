//! Transport `nats`: JetStream keeps letters until the other region takes them. Never needs the broker to be safe: what it loses is sent
//! again from the spool.
//!
//! One stream per pool, in which a later letter about a key takes the place of an earlier one; one durable consumer per region, shared by
//! the region's hosts. Words travel outside JetStream: one that is lost costs a letter more.

mod broker;
mod incoming;
mod outgoing;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::broker::Broker;
use self::incoming::Incoming;
use self::outgoing::{Mail, Words};
use super::link::door::Door;
use super::link::lanes::Lanes;
use super::post::life;
use super::post::sender::Sender;
use crate::config::types::Identity;

/// Pause after an attempt to begin that failed.
const PAUSE: Duration = Duration::from_secs(2);

/// What the transport needs.
pub(crate) struct Nats {
    pub(crate) servers: Vec<String>,
    pub(crate) identity: Option<Identity>,
    pub(crate) door: Door,
    /// The lanes towards each region.
    pub(crate) regions: Vec<Lanes>,
    /// How long letters of a pool are worth keeping.
    pub(crate) keep: Vec<(String, Duration)>,
    pub(crate) stop: CancellationToken,
}

impl Nats {
    /// Connects, and works until it is stopped.
    pub(crate) async fn run(self) {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.work() => {}
        }
    }

    async fn work(self) {
        let broker = loop {
            match Broker::connect(&self.servers, self.identity.as_ref()).await {
                Ok(broker) => break Arc::new(broker),
                Err(why) => {
                    self.regions.iter().for_each(|lanes| lanes.down(&why));
                    sleep(PAUSE).await;
                }
            }
        };
        let own = self.door.names[self.door.own].clone();
        let mut tasks = tokio::task::JoinSet::new();
        for (pool, keep) in self.keep.iter().filter(|(pool, _)| self.door.pools.contains_key(pool)) {
            let incoming = Incoming::new(&broker, self.door.clone(), pool, *keep);
            tasks.spawn(incoming.run());
        }
        for lanes in self.regions {
            let life = life();
            let (to, words) = mpsc::channel(1024);
            let pools: Vec<&str> = (0..lanes.lanes.len()).map(|place| lanes.pool(place)).collect();
            let keep = self.keep.iter().filter(|(pool, _)| pools.contains(&pool.as_str())).cloned().collect();
            let listen = Words::new(&broker, keep, &own, &lanes.name, &life, to);
            tasks.spawn(listen.run());
            let carrier = Mail::new(&broker, &own, &lanes.name, &life);
            tasks.spawn(Sender { lanes, carrier, words, stop: self.stop.clone() }.run());
        }
        while tasks.join_next().await.is_some() {}
    }
}
