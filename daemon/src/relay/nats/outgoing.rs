//! Letters to the broker, and the other region's words from it. Never waits for the broker's own acknowledgement: the word is enough.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use async_nats::connection::State;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::broker::{Broker, Reach};
use crate::decide::relay::flight::Manner;
use crate::decide::relay::frame::Frame;
use crate::decide::relay::subject::{self, Way};
use crate::relay::post::{Carrier, Letter, Word, receiver};

/// Pause after the streams could not be had.
const PAUSE: Duration = Duration::from_secs(1);

/// Letters to one region.
pub(super) struct Mail {
    broker: Arc<Broker>,
    own: String,
    to: String,
    life: String,
    ways: HashMap<String, Way>,
}

impl Mail {
    pub(super) fn new(broker: &Arc<Broker>, own: &str, to: &str, life: &str) -> Self {
        let broker = Arc::clone(broker);
        Self { broker, own: own.to_owned(), to: to.to_owned(), life: life.to_owned(), ways: HashMap::new() }
    }
}

impl Carrier for Mail {
    const MANNER: Manner = Manner { by_key: true, patience_ms: (5_000, 60_000) };

    async fn post(&mut self, letters: &[Letter<'_>]) -> Result<(), String> {
        for letter in letters {
            // What is published while there is no connection would wait in the client's queue, and hold up the words.
            if self.broker.client.connection_state() != State::Connected {
                return Err("the connection to the broker is gone".to_owned());
            }
            if !self.ways.contains_key(letter.pool) {
                let way = Way::new(letter.pool, &self.own, &self.to, &self.life);
                self.ways.insert(letter.pool.to_owned(), way);
            }
            let Some(way) = self.ways.get(letter.pool) else { continue };
            let subject = way.subject(&letter.items);
            let mut frame = Vec::with_capacity(letter.items.len() + 128);
            Frame::Batch { number: letter.number, pool: letter.pool, items: &letter.items }.write(&mut frame);
            let sent = self.broker.client.publish(subject, frame.into()).await;
            sent.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// The words of one region for this daemon.
pub(super) struct Words {
    broker: Arc<Broker>,
    /// The pools whose streams there must be, and how long their letters are kept.
    pools: Vec<(String, Duration)>,
    subject: String,
    to: mpsc::Sender<Word>,
}

impl Words {
    pub(super) fn new(
        broker: &Arc<Broker>,
        pools: Vec<(String, Duration)>,
        own: &str,
        from: &str,
        life: &str,
        to: mpsc::Sender<Word>,
    ) -> Self {
        Self { broker: Arc::clone(broker), pools, subject: subject::words(own, from, life), to }
    }

    /// Listens until nobody does any more.
    pub(super) async fn run(self) {
        let mut reach = self.broker.reach();
        let mut words = None;
        loop {
            let now = reach.borrow_and_update().clone();
            let word = match now {
                Reach::Down(why) => Word::Down(why),
                Reach::Up(broker) => match self.ready(&mut words).await {
                    Ok(()) => Word::Up(broker),
                    Err(why) => Word::Down(why),
                },
            };
            let up = matches!(word, Word::Up(_));
            if self.to.send(word).await.is_err() {
                return;
            }
            match (&mut words, up) {
                (Some(words), true) => tokio::select! {
                    changed = reach.changed() => if changed.is_err() { return },
                    () = self.listen(words) => {}
                },
                _ => {
                    let changed = timeout(PAUSE, reach.changed()).await;
                    if matches!(changed, Ok(Err(_))) {
                        return;
                    }
                }
            }
        }
    }

    /// The subscription, and a stream for each pool.
    async fn ready(&self, words: &mut Option<Subscriber>) -> Result<(), String> {
        if words.is_none() {
            let subscribed = self.broker.client.subscribe(self.subject.clone()).await;
            *words = Some(subscribed.map_err(|error| error.to_string())?);
        }
        for (pool, keep) in &self.pools {
            self.broker.stream(pool, *keep).await?;
        }
        Ok(())
    }

    async fn listen(&self, from: &mut Subscriber) {
        while let Some(message) = from.next().await {
            for word in receiver::words(&message.payload) {
                if self.to.send(word).await.is_err() {
                    return;
                }
            }
        }
    }
}
