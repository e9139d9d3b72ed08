//! This region's queue: letters for the desks of their pools, and words about letters of this region's hosts. Never deletes a letter: its
//! desk does, once it was applied and the word about it was taken.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::desk::{Desk, Item, delete};
use super::letter::{self, Kind, Letter};
use super::{Office, said};
use crate::decide::relay::frame::Frame;
use crate::relay::link::door::Door;
use crate::relay::post::Word;
use crate::relay::post::receiver::{Receiver, words};

/// How long a message that was given out stays away from others, in seconds.
const HIDDEN_S: i32 = 60;
/// How long a request waits for messages, in seconds.
const POLL_S: i32 = 10;
/// Times that a word for another host goes back, until it is given up: its letter is sent again then.
const MOST_RETURNS: u32 = 100;
/// Lots of at most ten letters that wait for a pool's desk.
const DESK: usize = 4;
/// How long a pool's desk may take nothing before it counts as stuck.
const WAIT: Duration = Duration::from_secs(1);
/// Pause after the queue could not be read.
const PAUSE: Duration = Duration::from_secs(2);

/// The queue's reader.
pub(super) struct Incoming {
    office: Arc<Office>,
    door: Door,
    own: String,
    /// Where words for this daemon's letters go, by the life that is spoken to.
    lives: HashMap<String, mpsc::Sender<Word>>,
    desks: HashMap<String, Slot>,
    /// They end with this one.
    tasks: JoinSet<()>,
}

/// The way to a pool's desk.
struct Slot {
    to: mpsc::Sender<Vec<Item>>,
    /// Nothing was taken for a while: nobody waits for it.
    stuck: bool,
}

impl Incoming {
    pub(super) fn new(
        office: &Arc<Office>,
        door: Door,
        own: String,
        lives: HashMap<String, mpsc::Sender<Word>>,
    ) -> Self {
        let (desks, tasks) = (HashMap::new(), JoinSet::new());
        Self { office: Arc::clone(office), door, own, lives, desks, tasks }
    }

    /// Reads until this host stops.
    pub(super) async fn run(mut self) {
        let queue = loop {
            match self.office.queue(&self.own).await {
                Ok(queue) => break queue,
                Err(why) => tracing::warn!(why, "the relay's own queue"),
            }
            sleep(PAUSE).await;
        };
        let (to, mut messages) = mpsc::channel(1);
        let polling = poll(Arc::clone(&self.office), queue.clone(), to);
        let reading = async {
            while let Some(some) = messages.recv().await {
                match self.take(&queue, some).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(why) => {
                        tracing::warn!(why, "letters of the relay stay in the queue");
                        sleep(PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = polling => {}
            () = reading => {}
        }
    }

    /// Hands over words, and letters to their pools' desks; false when this host stops.
    async fn take(&mut self, queue: &str, messages: Vec<Message>) -> Result<bool, String> {
        let (mut batches, mut gone) = (BTreeMap::<String, Vec<Item>>::new(), Vec::new());
        for message in messages {
            match message.body().and_then(letter::read) {
                Some(letter) if letter.kind == Kind::Batch => {
                    batches.entry(self.pool(&letter)).or_default().push((message, letter));
                }
                Some(letter) => match self.lives.get(&letter.life) {
                    Some(to) => {
                        for word in words(&letter.frames) {
                            _ = to.send(word).await;
                        }
                        gone.push(message);
                    }
                    None => {
                        if returns(&message) < MOST_RETURNS {
                            self.give_back(queue, &message).await;
                        } else {
                            gone.push(message);
                        }
                    }
                },
                None => {
                    tracing::warn!(queue, "a message that is no letter of the relay is deleted");
                    gone.push(message);
                }
            }
        }
        delete(&self.office, queue, &gone.iter().collect::<Vec<_>>()).await?;
        for (pool, items) in batches {
            if !self.hand_over(queue, pool, items).await {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whose letter it is: the name of a pool that there is here, or nothing for what will be refused.
    fn pool(&self, letter: &Letter) -> String {
        match Frame::read(&letter.frames) {
            Ok(Some((Frame::Batch { pool, .. }, _))) if self.door.pools.contains_key(pool) => pool.to_owned(),
            _ => String::new(),
        }
    }

    /// Gives letters to a pool's desk. One that takes nothing, since the pool's servers are down, is waited for once; after that its
    /// letters stay in the queue, which gives them out again. False when this host stops.
    async fn hand_over(&mut self, queue: &str, pool: String, items: Vec<Item>) -> bool {
        let Self { desks, tasks, office, door, own, .. } = self;
        let slot = desks.entry(pool).or_insert_with(|| {
            let (to, letters) = mpsc::channel(DESK);
            let (receiver, found) = (Receiver::new(door.clone()), HashMap::new());
            let (office, own, queue) = (Arc::clone(office), own.clone(), queue.to_owned());
            tasks.spawn(Desk { office, receiver, own, queue, found }.run(letters));
            Slot { to, stuck: false }
        });
        let patience = if slot.stuck { Duration::ZERO } else { WAIT };
        match slot.to.send_timeout(items, patience).await {
            Ok(()) => slot.stuck = false,
            Err(SendTimeoutError::Timeout(_)) => slot.stuck = true,
            Err(SendTimeoutError::Closed(_)) => return false,
        }
        true
    }

    /// A word for another host of this region.
    async fn give_back(&self, queue: &str, message: &Message) {
        let handle = message.receipt_handle().unwrap_or_default();
        let request = self.office.client.change_message_visibility();
        _ = request.queue_url(queue).receipt_handle(handle).visibility_timeout(0).send().await;
    }
}

fn returns(message: &Message) -> u32 {
    let count =
        message.attributes().and_then(|all| all.get(&MessageSystemAttributeName::ApproximateReceiveCount));
    count.and_then(|count| count.parse().ok()).unwrap_or_default()
}

/// Gets messages, at most one request ahead of what is applied.
async fn poll(office: Arc<Office>, queue: String, to: mpsc::Sender<Vec<Message>>) {
    loop {
        let Ok(room) = to.reserve().await else { return };
        let request = office.client.receive_message().queue_url(&queue).max_number_of_messages(10);
        let request = request.wait_time_seconds(POLL_S).visibility_timeout(HIDDEN_S);
        let request =
            request.message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
        match request.send().await {
            Ok(answer) => {
                let messages = answer.messages.unwrap_or_default();
                if !messages.is_empty() {
                    room.send(messages);
                }
            }
            Err(error) => {
                tracing::warn!(why = said(&error), "the relay's own queue cannot be read");
                sleep(PAUSE).await;
            }
        }
    }
}
