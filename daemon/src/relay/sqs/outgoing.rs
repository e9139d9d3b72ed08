//! Letters to other regions' queues, ten at a time. Never gives up a letter that was not taken without saying so.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_sqs::types::SendMessageBatchRequestEntry;

use super::letter::{self, Kind};
use super::{Office, said};
use crate::decide::relay::flight::Manner;
use crate::decide::relay::frame::Frame;
use crate::relay::post::{Carrier, Letter};

/// Most messages, and bytes of them, in one request (Amazon SQS API reference, SendMessageBatch).
const BATCH: (usize, usize) = (10, 250 * 1024);
/// Times that what was not taken is tried at once.
const TRIES: usize = 3;

/// Sends texts to a queue; all were taken then.
pub(super) async fn send(office: &Office, queue: &str, texts: Vec<String>) -> Result<(), String> {
    let mut batch: Vec<String> = Vec::new();
    let mut bytes = 0;
    for text in texts {
        if batch.len() == BATCH.0 || (!batch.is_empty() && bytes + text.len() > BATCH.1) {
            send_batch(office, queue, std::mem::take(&mut batch)).await?;
            bytes = 0;
        }
        bytes += text.len();
        batch.push(text);
    }
    if batch.is_empty() { Ok(()) } else { send_batch(office, queue, batch).await }
}

/// At most ten texts. Each succeeds or fails for itself: the failed ones are tried again.
async fn send_batch(office: &Office, queue: &str, texts: Vec<String>) -> Result<(), String> {
    let mut left: HashMap<String, String> =
        texts.into_iter().enumerate().map(|(place, text)| (place.to_string(), text)).collect();
    let mut why = String::new();
    for _ in 0..TRIES {
        let mut request = office.client.send_message_batch().queue_url(queue);
        for (id, text) in &left {
            let entry = SendMessageBatchRequestEntry::builder().id(id).message_body(text).build();
            request = request.entries(entry.map_err(|error| said(&error))?);
        }
        let done = request.send().await.map_err(|error| said(&error))?;
        for taken in done.successful() {
            left.remove(taken.id());
        }
        if left.is_empty() {
            return Ok(());
        }
        why = done.failed().first().map_or_else(String::new, |failed| {
            format!("{}: {}", failed.code(), failed.message().unwrap_or_default())
        });
    }
    Err(format!("{} messages were not taken by {queue}: {why}", left.len()))
}

/// Letters to one region.
pub(super) struct Mail {
    office: Arc<Office>,
    own: String,
    to: String,
    life: String,
    queue: Option<String>,
}

impl Mail {
    pub(super) fn new(office: &Arc<Office>, own: &str, to: &str, life: &str) -> Self {
        let office = Arc::clone(office);
        Self { office, own: own.to_owned(), to: to.to_owned(), life: life.to_owned(), queue: None }
    }
}

impl Carrier for Mail {
    const MANNER: Manner = Manner { by_key: false, patience_ms: (30_000, 900_000) };

    async fn post(&mut self, letters: &[Letter<'_>]) -> Result<(), String> {
        let queue = match &self.queue {
            Some(queue) => queue.clone(),
            None => self.queue.insert(self.office.queue(&self.to).await?).clone(),
        };
        let texts = letters.iter().map(|letter| {
            let mut frame = Vec::with_capacity(letter.items.len() + 128);
            Frame::Batch { number: letter.number, pool: letter.pool, items: &letter.items }.write(&mut frame);
            letter::write(Kind::Batch, &self.own, &self.life, &frame)
        });
        send(&self.office, &queue, texts.collect()).await
    }
}
