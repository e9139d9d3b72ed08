//! Letters of other regions about one pool. Never acknowledged to the broker before they are applied and the word about them went out.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{AckKind, Message, consumer};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::broker::{Broker, Reach};
use crate::decide::relay::subject;
use crate::relay::link::door::Door;
use crate::relay::post::receiver::{Parcel, Receiver, Words};

/// Letters applied in one go.
const TOGETHER: usize = 1024;
/// Pause after the consumer could not be had, or broke.
const PAUSE: Duration = Duration::from_millis(500);

/// One pool's letters.
pub(super) struct Incoming {
    broker: Arc<Broker>,
    receiver: Receiver,
    own: String,
    /// Other regions' names by their tokens.
    regions: Vec<(String, String)>,
    pool: String,
    keep: Duration,
}

impl Incoming {
    pub(super) fn new(broker: &Arc<Broker>, door: Door, pool: &str, keep: Duration) -> Self {
        let own = door.names[door.own].clone();
        let regions = door.names.iter().map(|(_, name)| (subject::token(name), name.clone())).collect();
        let broker = Arc::clone(broker);
        Self { broker, receiver: Receiver::new(door), own, regions, pool: pool.to_owned(), keep }
    }

    /// Takes letters until this host stops.
    pub(super) async fn run(mut self) {
        let mut reach = self.broker.reach();
        loop {
            let up = matches!(*reach.borrow_and_update(), Reach::Up(_));
            if !up {
                if reach.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let consumer = self.broker.consumer(&self.pool, self.keep, &self.own).await;
            let ended = match consumer {
                Ok(consumer) => tokio::select! {
                    _ = reach.changed() => continue,
                    ended = self.consume(&consumer) => ended,
                },
                Err(why) => Err(why),
            };
            match ended {
                Ok(()) => return,
                Err(why) => tracing::warn!(pool = %self.pool, why, "letters of the relay cannot be fetched"),
            }
            _ = timeout(PAUSE, reach.changed()).await;
        }
    }

    /// Applies letters; `Ok` when this host stops.
    async fn consume(&mut self, from: &consumer::Consumer<pull::Config>) -> Result<(), String> {
        let stream = from
            .stream()
            .max_messages_per_batch(4 * TOGETHER)
            .expires(Duration::from_secs(10))
            .heartbeat(Duration::from_secs(2))
            .messages()
            .await;
        let mut chunks = stream.map_err(|error| error.to_string())?.ready_chunks(TOGETHER);
        loop {
            let chunk = tokio::select! {
                words = self.receiver.later() => {
                    self.tell(words).await?;
                    continue;
                }
                chunk = chunks.next(), if self.receiver.has_room() => chunk,
            };
            let Some(chunk) = chunk else { return Err("the stream of letters ended".to_owned()) };
            let letters: Result<Vec<Message>, _> = chunk.into_iter().collect();
            let letters = letters.map_err(|error| error.to_string())?;
            if !self.take(&letters).await? {
                return Ok(());
            }
        }
    }

    async fn tell(&self, words: Vec<Words>) -> Result<(), String> {
        for said in words {
            let subject = subject::words(&said.to, &self.own, &said.life);
            let sent = self.broker.client.publish(subject, said.frames.into()).await;
            sent.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Whether all was applied; else this host stops.
    async fn take(&mut self, letters: &[Message]) -> Result<bool, String> {
        let mut parcels = Vec::with_capacity(letters.len());
        for letter in letters {
            let sender = subject::sender(&letter.subject).and_then(|(token, life)| {
                let (_, name) = self.regions.iter().find(|(known, _)| known == token)?;
                Some((name.as_str(), life))
            });
            match sender {
                Some((from, life)) => parcels.push(Parcel { from, life, frame: &letter.payload }),
                None => {
                    tracing::warn!(subject = %letter.subject, "a letter of the relay from nowhere is left");
                }
            }
        }
        let Some(words) = self.receiver.take(&parcels).await else { return Ok(false) };
        self.tell(words).await?;
        for letter in letters {
            letter.ack_with(AckKind::Ack).await.map_err(|error| error.to_string())?;
        }
        Ok(true)
    }
}
