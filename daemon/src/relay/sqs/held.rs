//! Letters that the queue gave out to this host and that are still there: hidden from everyone for a while, unless they are given back.
//! Never holds what is in them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, Message};
use futures_util::StreamExt as _;

use super::{Office, said};

/// How long a message that was given out stays away from others, in seconds, and the same.
pub(super) const HIDDEN_S: i32 = 60;
pub(super) const HIDDEN: Duration = Duration::from_secs(60);
/// Most letters that are given back; more stay hidden for their time.
const MOST: usize = 10_000;
/// Requests at once.
const TOGETHER: usize = 8;

/// The queue's names of letters, and since when they are hidden.
#[derive(Default)]
pub(super) struct Held(Mutex<HashMap<String, Instant>>);

impl Held {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        // A poisoned lock means that a thread panicked between two plain assignments; the data is still whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These were given out.
    pub(super) fn add(&self, messages: &[Message], now: Instant) {
        let mut held = self.lock();
        if held.len() + messages.len() > MOST {
            held.retain(|_, since| now.duration_since(*since) < HIDDEN);
        }
        let room = MOST.saturating_sub(held.len());
        let names = messages.iter().filter_map(Message::receipt_handle);
        held.extend(names.take(room).map(|name| (name.to_owned(), now)));
    }

    /// This one is deleted, or shown again.
    pub(super) fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Those that are still hidden, longest hidden last; none is held any more.
    fn take(&self, now: Instant) -> Vec<String> {
        let mut held: Vec<(String, Instant)> = self.lock().drain().collect();
        held.retain(|(_, since)| now.duration_since(*since) < HIDDEN);
        held.sort_by_key(|(_, since)| std::cmp::Reverse(*since));
        held.into_iter().map(|(name, _)| name).collect()
    }
}

/// Has the queue show everything that is held.
pub(super) async fn give_back(office: &Office, queue: &str) {
    let names = office.held.take(Instant::now());
    show(office, queue, &names).await;
}

/// Has the queue show these letters; those that it does not stay hidden for their time.
pub(super) async fn show(office: &Office, queue: &str, names: &[String]) {
    let requests: Vec<_> = names.chunks(10).map(|some| show_some(office, queue, some)).collect();
    futures_util::stream::iter(requests).buffer_unordered(TOGETHER).collect::<()>().await;
}

async fn show_some(office: &Office, queue: &str, names: &[String]) {
    let mut request = office.client.change_message_visibility_batch().queue_url(queue);
    for (place, name) in names.iter().enumerate() {
        office.held.remove(name);
        let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(place.to_string());
        let Ok(entry) = entry.receipt_handle(name).visibility_timeout(0).build() else { continue };
        request = request.entries(entry);
    }
    if let Err(error) = request.send().await {
        tracing::debug!(why = said(&error), "letters of the relay stay hidden for a while");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(names: std::ops::Range<usize>) -> Vec<Message> {
        names.map(|name| Message::builder().receipt_handle(name.to_string()).build()).collect()
    }

    #[test]
    fn what_is_still_hidden_is_held_and_never_too_much() {
        let (held, now) = (Held::default(), Instant::now());
        held.add(&messages(0..2), now);
        held.add(&messages(2..4), now + HIDDEN / 2);
        held.remove("3");
        assert_eq!(held.take(now + HIDDEN), ["2"]);
        assert!(held.take(now).is_empty());
        held.add(&messages(0..MOST), now);
        held.add(&messages(MOST..MOST + 5), now);
        assert_eq!(held.lock().len(), MOST);
        held.add(&messages(MOST..MOST + 5), now + HIDDEN);
        assert_eq!(held.take(now + HIDDEN).len(), 5, "the old ones made room");
    }
}
