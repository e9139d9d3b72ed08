//! The event stream: one JSON object per line, from a bounded buffer per reader that says how much it skipped. Never slows a producer.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::answer::{self, Answer};
use super::server::Admin;
use super::wire::event;
use crate::config::Config;
use crate::decide::event::{Event, KINDS};
use crate::decide::verb::{Refusal, RefusalKind};

/// A line break is sent when nothing happened for so long, so that a dead reader is noticed.
const QUIET: Duration = Duration::from_secs(15);

struct Reader {
    events: Receiver<Arc<Event>>,
    kinds: Option<HashSet<String>>,
    config: Arc<Config>,
    admin: Arc<Admin>,
    ended: bool,
}

/// `GET /v1/events?kind=shed,route`
///
/// # Errors
/// A kind is unknown, or the daemon is ending.
pub(super) async fn events(admin: &Arc<Admin>, query: &str) -> Result<Answer, Refusal> {
    let kinds = kinds(query)?;
    let events = admin.events.subscribe();
    let config = Arc::clone(&admin.desk.view().await?.config);
    let reader = Reader { events, kinds, config, admin: Arc::clone(admin), ended: false };
    // An empty line at once: the reader's client sees the head and knows that it is connected.
    let first =
        futures_util::stream::once(async { Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"\n"))) });
    let rest = futures_util::stream::unfold(reader, |mut reader| async move {
        let line = reader.next().await?;
        Some((Ok(Frame::data(line)), reader))
    });
    let body = StreamBody::new(futures_util::StreamExt::chain(first, rest));
    Ok(answer::stream("application/x-ndjson", BodyExt::boxed_unsync(body)))
}

fn kinds(query: &str) -> Result<Option<HashSet<String>>, Refusal> {
    let mut wanted = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some(list) = pair.strip_prefix("kind=") else {
            return Err(Refusal::new(RefusalKind::Invalid, "the query takes kind=KIND,KIND only"));
        };
        let list = list.replace("%2C", ",").replace("%2c", ",");
        for kind in list.split(',') {
            if !KINDS.contains(&kind) {
                let text =
                    format!("kind \"{}\" is unknown; allowed: {}", kind.escape_debug(), KINDS.join(", "));
                return Err(Refusal::new(RefusalKind::Invalid, text));
            }
            wanted.get_or_insert_with(HashSet::new).insert(kind.to_owned());
        }
    }
    Ok(wanted)
}

impl Reader {
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        loop {
            match tokio::time::timeout(QUIET, self.events.recv()).await {
                Ok(Ok(event)) if self.wants(&event) => {
                    self.refresh(&event).await;
                    return Some(line(&event::line(&event, &self.config)));
                }
                Ok(Ok(_)) => {}
                Ok(Err(RecvError::Lagged(count))) => return Some(line(&event::skipped(count))),
                Ok(Err(RecvError::Closed)) => {
                    self.ended = true;
                    return None;
                }
                Err(_) => return Some(Bytes::from_static(b"\n")),
            }
        }
    }

    fn wants(&self, event: &Event) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(event.what.kind()))
    }

    /// Names of regions change with the configuration: after a reload the new one is used.
    async fn refresh(&mut self, event: &Event) {
        let reloaded =
            matches!(&event.what, crate::decide::event::What::Admin(admin) if admin.what == "configuration");
        if reloaded && let Ok(view) = self.admin.desk.view().await {
            self.config = Arc::clone(&view.config);
        }
    }
}

fn line(value: &serde_json::Value) -> Bytes {
    let mut text = value.to_string();
    text.push('\n');
    text.into()
}
