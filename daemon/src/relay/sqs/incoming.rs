//! This region's queue: letters for the desks of their pools, and words about letters of this region's hosts. Never deletes a letter: its
//! desk does, once it was applied and the word about it was taken.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::desk::{Desk, Item, delete};
use super::held::{HIDDEN, HIDDEN_S, give_back, show};
use super::letter::{self, Kind, Letter};
use super::{Office, said};
use crate::decide::relay::frame::Frame;
use crate::relay::link::door::Door;
use crate::relay::post::Word;
use crate::relay::post::receiver::{Receiver, words};

/// Letters left in the queue that are shown again when their desk takes letters; older ones stay hidden.
const MOST_LEFT: usize = 10_000;
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
/// How long a host that stops waits for the queue to take its letters back.
const FAREWELL: Duration = Duration::from_secs(2);

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
    left: Arc<Mutex<Left>>,
}

/// Letters that a desk did not take: they are in the queue, hidden.
#[derive(Default)]
struct Left {
    /// Nothing was taken for a while: nobody waits for the desk.
    stuck: bool,
    /// When they were left, and the queue's names of them.
    letters: VecDeque<(Instant, String)>,
}

impl Left {
    /// The desk takes nothing; whether that is news.
    fn leave(&mut self, letters: &[Item], now: Instant) -> bool {
        self.letters.retain(|(since, _)| now.duration_since(*since) < HIDDEN);
        let names = letters.iter().filter_map(|(message, _)| message.receipt_handle());
        self.letters.extend(names.map(|name| (now, name.to_owned())));
        let more = self.letters.len().saturating_sub(MOST_LEFT);
        self.letters.drain(..more);
        !std::mem::replace(&mut self.stuck, true)
    }

    /// It takes letters again; those that are still hidden.
    fn free(&mut self, now: Instant) -> Vec<String> {
        self.stuck = false;
        let hidden = self.letters.drain(..).filter(|(since, _)| now.duration_since(*since) < HIDDEN);
        hidden.map(|(_, name)| name).collect()
    }
}

fn lock(left: &Mutex<Left>) -> MutexGuard<'_, Left> {
    // A poisoned lock means that a thread panicked between two plain assignments; the data is still whole.
    left.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Reads until this host stops, and then gives back the letters that it has.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let queue = tokio::select! {
            () = stop.cancelled() => return,
            queue = self.queue() => queue,
        };
        let (to, messages) = mpsc::channel(1);
        // It ends when nobody takes messages any more.
        let polling = tokio::spawn(poll(Arc::clone(&self.office), queue.clone(), to));
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.read(&queue, messages) => {}
        }
        self.tasks.shutdown().await;
        let farewell = async {
            give_back(&self.office, &queue).await;
            // The request under way may be given these letters once more.
            _ = polling.await;
            give_back(&self.office, &queue).await;
        };
        if !self.office.held.is_empty() && timeout(FAREWELL, farewell).await.is_err() {
            tracing::info!("letters of the relay may stay hidden for a while");
        }
    }

    async fn queue(&self) -> String {
        loop {
            match self.office.queue(&self.own).await {
                Ok(queue) => return queue,
                Err(why) => tracing::warn!(why, "the relay's own queue"),
            }
            sleep(PAUSE).await;
        }
    }

    async fn read(&mut self, queue: &str, mut messages: mpsc::Receiver<Vec<Message>>) {
        while let Some(some) = messages.recv().await {
            match self.take(queue, some).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(why) => {
                    tracing::warn!(why, "letters of the relay stay in the queue");
                    sleep(PAUSE).await;
                }
            }
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
                            self.pass_on(queue, &message).await;
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
    /// letters stay in the queue, which gives them out again: when the desk takes letters, or after [`HIDDEN`]. False when this host stops.
    async fn hand_over(&mut self, queue: &str, pool: String, items: Vec<Item>) -> bool {
        let Self { desks, tasks, office, door, own, .. } = self;
        let slot = desks.entry(pool).or_insert_with(|| {
            let (to, letters) = mpsc::channel(DESK);
            let (receiver, found) = (Receiver::new(door.clone()), HashMap::new());
            let (office, own, queue) = (Arc::clone(office), own.clone(), queue.to_owned());
            tasks.spawn(Desk { office, receiver, own, queue, found }.run(letters));
            Slot { to, left: Arc::default() }
        });
        let patience = if lock(&slot.left).stuck { Duration::ZERO } else { WAIT };
        match slot.to.send_timeout(items, patience).await {
            Ok(()) => {}
            Err(SendTimeoutError::Timeout(items)) => {
                if lock(&slot.left).leave(&items, Instant::now()) {
                    let (to, left) = (slot.to.clone(), Arc::clone(&slot.left));
                    tasks.spawn(show_left(Arc::clone(office), queue.to_owned(), to, left));
                }
            }
            Err(SendTimeoutError::Closed(_)) => return false,
        }
        true
    }

    /// A word for another host of this region.
    async fn pass_on(&self, queue: &str, message: &Message) {
        let handle = message.receipt_handle().unwrap_or_default();
        self.office.held.remove(handle);
        let request = self.office.client.change_message_visibility();
        _ = request.queue_url(queue).receipt_handle(handle).visibility_timeout(0).send().await;
    }
}

/// Waits until a stuck desk takes letters, and has the queue give out what was left.
async fn show_left(office: Arc<Office>, queue: String, to: mpsc::Sender<Vec<Item>>, left: Arc<Mutex<Left>>) {
    if to.reserve().await.is_err() {
        return;
    }
    let names = lock(&left).free(Instant::now());
    show(&office, &queue, &names).await;
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
                office.held.add(&messages, Instant::now());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(names: std::ops::Range<usize>) -> Vec<Item> {
        let item = |name: usize| {
            let letter =
                Letter { kind: Kind::Batch, region: String::new(), life: String::new(), frames: Vec::new() };
            (Message::builder().receipt_handle(name.to_string()).build(), letter)
        };
        names.map(item).collect()
    }

    #[test]
    fn what_was_left_is_shown_while_it_is_hidden() {
        let (mut left, now) = (Left::default(), Instant::now());
        assert!(left.leave(&letters(0..2), now) && left.stuck);
        assert!(!left.leave(&letters(2..3), now + HIDDEN / 2), "known");
        assert_eq!(left.free(now + HIDDEN), ["2"]);
        assert!(!left.stuck && left.free(now).is_empty());
        left.leave(&letters(0..MOST_LEFT), now);
        left.leave(&letters(MOST_LEFT..MOST_LEFT + 5), now);
        let shown = left.free(now);
        assert_eq!((shown.len(), shown[0].as_str()), (MOST_LEFT, "5"));
    }
}
