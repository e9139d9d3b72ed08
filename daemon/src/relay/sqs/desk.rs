//! One pool's letters out of this region's queue: has them applied, sends the words, and then deletes them. Never holds up another pool.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::letter::{self, Kind, Letter};
use super::outgoing::send;
use super::{Office, said};
use crate::relay::post::receiver::{Parcel, Receiver, Words};

/// Pause after words or deletions were not taken.
const PAUSE: Duration = Duration::from_secs(2);

/// A message and the letter in it.
pub(super) type Item = (Message, Letter);

/// The pool's desk.
pub(super) struct Desk {
    pub(super) office: Arc<Office>,
    pub(super) receiver: Receiver,
    pub(super) own: String,
    /// This region's queue.
    pub(super) queue: String,
    /// Other regions' queues, once they were found.
    pub(super) found: HashMap<String, String>,
}

impl Desk {
    /// Works until this host stops.
    pub(super) async fn run(mut self, mut letters: mpsc::Receiver<Vec<Item>>) {
        loop {
            let done = tokio::select! {
                said = self.receiver.later() => self.tell(said).await.map(|()| true),
                some = letters.recv(), if self.receiver.has_room() => match some {
                    Some(some) => self.take(&some).await,
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
    }

    /// Whether all was applied; else this host stops.
    async fn take(&mut self, letters: &[Item]) -> Result<bool, String> {
        let parcels: Vec<Parcel<'_>> = letters
            .iter()
            .map(|(_, letter)| Parcel { from: &letter.region, life: &letter.life, frame: &letter.frames })
            .collect();
        let Some(said) = self.receiver.take(&parcels).await else { return Ok(false) };
        self.tell(said).await?;
        let applied: Vec<&Message> = letters.iter().map(|(message, _)| message).collect();
        delete(&self.office, &self.queue, &applied).await?;
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
}

/// Deletes messages; one that is not deleted comes again, and is applied again.
pub(super) async fn delete(office: &Office, queue: &str, messages: &[&Message]) -> Result<(), String> {
    for some in messages.chunks(10) {
        let mut request = office.client.delete_message_batch().queue_url(queue);
        for (place, message) in some.iter().enumerate() {
            let handle = message.receipt_handle().unwrap_or_default();
            let entry =
                DeleteMessageBatchRequestEntry::builder().id(place.to_string()).receipt_handle(handle);
            request = request.entries(entry.build().map_err(|error| said(&error))?);
        }
        let done = request.send().await.map_err(|error| said(&error))?;
        some.iter().filter_map(|message| message.receipt_handle()).for_each(|name| office.held.remove(name));
        if let Some(failed) = done.failed().first() {
            tracing::debug!(code = failed.code(), "messages of the relay were not deleted");
        }
    }
    Ok(())
}
