//! This region's queue: letters to apply, and words about letters of this region's hosts. Never deletes a letter before it was applied and
//! the word about it was taken.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::letter::{self, Kind, Letter};
use super::outgoing::send;
use super::{Office, said};
use crate::relay::link::door::Door;
use crate::relay::post::Word;
use crate::relay::post::receiver::{Parcel, Receiver, Words, words};

/// How long a message that was given out stays away from others, in seconds.
const HIDDEN_S: i32 = 60;
/// How long a request waits for messages, in seconds.
const POLL_S: i32 = 10;
/// Times that a word for another host goes back, until it is given up: its letter is sent again then.
const MOST_RETURNS: u32 = 100;
/// Pause after the queue could not be read.
const PAUSE: Duration = Duration::from_secs(2);

/// The queue's reader.
pub(super) struct Incoming {
    office: Arc<Office>,
    receiver: Receiver,
    own: String,
    /// Where words for this daemon's letters go, by the life that is spoken to.
    lives: HashMap<String, mpsc::Sender<Word>>,
    /// Other regions' queues, once they were found.
    found: HashMap<String, String>,
}

impl Incoming {
    pub(super) fn new(
        office: &Arc<Office>,
        door: Door,
        own: String,
        lives: HashMap<String, mpsc::Sender<Word>>,
    ) -> Self {
        let (office, receiver) = (Arc::clone(office), Receiver::new(door));
        Self { office, receiver, own, lives, found: HashMap::new() }
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
            loop {
                let done = tokio::select! {
                    said = self.receiver.later() => self.tell(said).await.map(|()| true),
                    some = messages.recv(), if self.receiver.has_room() => match some {
                        Some(some) => self.take(&queue, some).await,
                        None => return,
                    },
                };
                match done {
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

    /// Whether all was applied; else this host stops.
    async fn take(&mut self, queue: &str, messages: Vec<Message>) -> Result<bool, String> {
        let (mut batches, mut gone) = (Vec::new(), Vec::new());
        for message in &messages {
            match message.body().and_then(letter::read) {
                Some(letter) if letter.kind == Kind::Batch => batches.push((message, letter)),
                Some(letter) => match self.lives.get(&letter.life) {
                    Some(to) => {
                        for word in words(&letter.frames) {
                            _ = to.send(word).await;
                        }
                        gone.push(message);
                    }
                    None => {
                        if returns(message) < MOST_RETURNS {
                            self.give_back(queue, message).await;
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
        self.delete(queue, &gone).await?;
        let parcel =
            |letter: &'_ Letter| -> (String, String) { (letter.region.clone(), letter.life.clone()) };
        let whom: Vec<(String, String)> = batches.iter().map(|(_, letter)| parcel(letter)).collect();
        let parcels: Vec<Parcel<'_>> = batches
            .iter()
            .zip(&whom)
            .map(|((_, letter), (from, life))| Parcel { from, life, frame: &letter.frames })
            .collect();
        let Some(said) = self.receiver.take(&parcels).await else { return Ok(false) };
        self.tell(said).await?;
        let applied: Vec<&Message> = batches.iter().map(|(message, _)| *message).collect();
        self.delete(queue, &applied).await?;
        Ok(true)
    }

    async fn tell(&mut self, words: Vec<Words>) -> Result<(), String> {
        for said in words {
            let queue = match self.found.get(&said.to) {
                Some(queue) => queue.clone(),
                None => {
                    let queue = self.office.queue(&said.to).await?;
                    self.found.insert(said.to.clone(), queue.clone());
                    queue
                }
            };
            let text = letter::write(Kind::Words, &self.own, &said.life, &said.frames);
            send(&self.office, &queue, vec![text]).await?;
        }
        Ok(())
    }

    async fn delete(&self, queue: &str, messages: &[&Message]) -> Result<(), String> {
        for some in messages.chunks(10) {
            let mut request = self.office.client.delete_message_batch().queue_url(queue);
            for (place, message) in some.iter().enumerate() {
                let handle = message.receipt_handle().unwrap_or_default();
                let entry =
                    DeleteMessageBatchRequestEntry::builder().id(place.to_string()).receipt_handle(handle);
                request = request.entries(entry.build().map_err(|error| said(&error))?);
            }
            // What is not deleted comes again, and is applied again.
            let done = request.send().await.map_err(|error| said(&error))?;
            if let Some(failed) = done.failed().first() {
                tracing::debug!(code = failed.code(), "messages of the relay were not deleted");
            }
        }
        Ok(())
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
