//! The connection to NATS: one for everything, renewed by itself. Never gives up.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{self, Context, consumer, stream};
use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use tokio::sync::watch;

use crate::config::types::Identity;
use crate::decide::relay::subject;

/// Longest pause between attempts to connect.
const PAUSE_MS: u64 = 2000;
/// Most letters that a stream keeps: windows of many hosts, and what their earlier lives left.
const MOST_LETTERS: i64 = 1_000_000;
/// How long a letter may take until it is given out again.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Letters that are given out at once.
const ACK_PENDING: i64 = 8192;

/// Whether the broker can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Which broker.
    Up(String),
    /// Why not.
    Down(String),
}

/// The connection.
pub(super) struct Broker {
    pub(super) client: Client,
    pub(super) context: Context,
    reach: watch::Receiver<Reach>,
}

impl Broker {
    /// Begins to connect, and goes on in the background.
    ///
    /// # Errors
    /// An address or a certificate that cannot be used.
    pub(super) async fn connect(servers: &[String], identity: Option<&Identity>) -> Result<Self, String> {
        let mut addresses = Vec::new();
        for server in servers {
            let address: ServerAddr =
                bare(server).parse().map_err(|error| format!("{}: {error}", bare(server)))?;
            addresses.push(address);
        }
        let name = servers.iter().map(|server| bare(server)).collect::<Vec<_>>().join(", ");
        let (tell, reach) = watch::channel(Reach::Down(format!("{name}: not connected yet")));
        let tell = Arc::new(tell);
        let mut options = ConnectOptions::new()
            .name("tidegate relay")
            .retry_on_initial_connect()
            .ping_interval(Duration::from_secs(10))
            .reconnect_delay_callback(|attempts| {
                let doubled = 50u64.saturating_mul(1 << attempts.min(6));
                Duration::from_millis(doubled.min(PAUSE_MS))
            })
            .event_callback(move |event| {
                heard(&tell, &name, &event);
                async {}
            });
        options = match servers.iter().find_map(|server| credentials(server)) {
            Some((user, Some(password))) => options.user_and_password(user, password),
            Some((token, None)) => options.token(token),
            None => options,
        };
        if servers.iter().any(|server| server.starts_with("tls://")) {
            options = options.require_tls(true);
            if let Some(identity) = identity {
                options = options
                    .add_root_certificates(identity.authority.clone())
                    .add_client_certificate(identity.certificate.clone(), identity.key.clone());
            }
        }
        let client = options.connect(addresses).await.map_err(|error| error.to_string())?;
        Ok(Self { context: jetstream::new(client.clone()), client, reach })
    }

    /// Tells of changes; a new connection is one even where the loss before was missed.
    pub(super) fn reach(&self) -> watch::Receiver<Reach> {
        self.reach.clone()
    }

    /// The stream of a pool, made where it is missing.
    ///
    /// # Errors
    /// When the broker refuses, or a stream of that name is for something else.
    pub(super) async fn stream(&self, pool: &str, keep: Duration) -> Result<stream::Stream, String> {
        let (name, subjects) = (subject::stream(pool), subject::all(pool));
        let wanted = stream::Config {
            name: name.clone(),
            subjects: vec![subjects.clone()],
            description: Some("tidegate relay: invalidations, the newest of each key".into()),
            retention: stream::RetentionPolicy::WorkQueue,
            storage: stream::StorageType::File,
            discard: stream::DiscardPolicy::Old,
            max_messages: MOST_LETTERS,
            max_messages_per_subject: 1,
            max_age: keep,
            ..stream::Config::default()
        };
        let found = self.context.get_or_create_stream(wanted).await;
        let mut stream = found.map_err(|error| format!("stream {name}: {error}"))?;
        let info = stream.info().await.map_err(|error| format!("stream {name}: {error}"))?;
        let config = &info.config;
        let fits = config.subjects.contains(&subjects)
            && config.max_messages_per_subject == 1
            && config.retention == stream::RetentionPolicy::WorkQueue;
        if !fits {
            return Err(format!(
                "stream {name} is there with another configuration: it needs subject {subjects}, work-queue retention and one message per subject"
            ));
        }
        Ok(stream)
    }

    /// The durable consumer of a region, made where it is missing.
    ///
    /// # Errors
    /// As [`Self::stream`].
    pub(super) async fn consumer(
        &self,
        pool: &str,
        keep: Duration,
        region: &str,
    ) -> Result<consumer::Consumer<pull::Config>, String> {
        let stream = self.stream(pool, keep).await?;
        let name = subject::token(region);
        let wanted = pull::Config {
            durable_name: Some(name.clone()),
            ack_policy: consumer::AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_ack_pending: ACK_PENDING,
            filter_subject: subject::to(pool, region),
            ..pull::Config::default()
        };
        let found = stream.get_or_create_consumer(&name, wanted).await;
        found.map_err(|error| format!("consumer {name} of stream {}: {error}", subject::stream(pool)))
    }
}

fn heard(tell: &watch::Sender<Reach>, name: &str, event: &Event) {
    match event {
        Event::Connected => drop(tell.send(Reach::Up(name.to_owned()))),
        Event::Disconnected | Event::Closed => drop(tell.send(Reach::Down(format!("{name}: {event}")))),
        Event::ServerError(_) | Event::ClientError(_) => {
            tracing::debug!(%event, "the relay's broker");
            tell.send_if_modified(|reach| match reach {
                Reach::Up(_) => false,
                Reach::Down(why) => {
                    *why = format!("{name}: {event}");
                    true
                }
            });
        }
        _ => tracing::info!(%event, "the relay's broker"),
    }
}

/// A server's URL without what stands before `@`.
fn bare(server: &str) -> String {
    match (server.split_once("://"), server.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => server.to_owned(),
    }
}

/// User and password, or a token alone, from what stands before `@` in a server's URL (RFC 3986 section 3.2.1).
fn credentials(server: &str) -> Option<(String, Option<String>)> {
    let (before, _) = server.split_once("://")?.1.rsplit_once('@')?;
    Some(match before.split_once(':') {
        Some((user, password)) => (unescaped(user), Some(unescaped(password))),
        None => (unescaped(before), None),
    })
}

/// `%XX` as the byte it stands for; what is no escape stays.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        let byte = escaped.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.unwrap_or(b'%'));
        rest = if byte.is_some() { &escaped[2..] } else { escaped };
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{bare, credentials};

    #[test]
    fn credentials_are_read_from_the_url() {
        let pair = |user: &str, password: &str| Some((user.to_owned(), Some(password.to_owned())));
        assert_eq!(credentials("nats://relay:s3%3Acret%40@broker"), pair("relay", "s3:cret@"));
        assert_eq!(credentials("nats://a:100%@broker"), pair("a", "100%"));
        assert_eq!(credentials("nats://t0ken@broker:1"), Some(("t0ken".to_owned(), None)));
        assert_eq!(credentials("nats://broker:4222"), None);
    }

    #[test]
    fn credentials_are_not_shown() {
        assert_eq!(bare("nats://user:p@ss@broker:4222"), "nats://broker:4222");
        assert_eq!(bare("tls://broker:4222"), "tls://broker:4222");
    }
}
