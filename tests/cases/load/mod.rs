//! Clients that ask one request after the other while something happens to the edge, and note every request that failed. Never retries one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidegate_tests::raw::Connection;

const HERE: &str = "127.0.0.1";
/// Between two requests of one client: the machine is shared.
const PAUSE: Duration = Duration::from_millis(2);
/// Longest wait for one response.
const PATIENCE: Duration = Duration::from_secs(60);
/// What its threads are called.
pub(crate) const NAME: &str = "load";
/// Failures that are told singly.
const MOST_TOLD: usize = 20;

/// How a client uses connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// HTTP/1.1, one connection for as long as the server lets it.
    KeepAlive,
    /// HTTP/1.1, one connection per request.
    Anew,
    /// HTTP/2 by prior knowledge, one connection for as long as the server lets it.
    Http2,
}

/// What clients saw.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Requests that were answered.
    pub(crate) answered: u64,
    /// Of them: with 503.
    pub(crate) shed: u64,
    /// Connections that were opened.
    pub(crate) connections: u64,
    /// When each request began, and its microseconds.
    pub(crate) took: Vec<(Instant, u32)>,
    /// Those that were not answered, or wrongly.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.shed += other.shed;
        self.connections += other.connections;
        self.took.extend(other.took);
        self.failures.extend(other.failures);
    }

    /// The time that so many of a thousand requests were faster than, in milliseconds.
    pub(crate) fn percentile_ms(&self, permille: usize) -> f64 {
        let mut micros: Vec<u32> = self.took.iter().map(|(_, micros)| *micros).collect();
        micros.sort_unstable();
        let at = (micros.len() * permille / 1000).min(micros.len().saturating_sub(1));
        micros.get(at).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
    }

    /// Fails where a request failed, or too few were asked to mean anything.
    pub(crate) fn judge(&self, what: &str, least: u64) -> Result<()> {
        println!(
            "{what}: {} requests over {} connections, {} shed, {} failed",
            self.answered,
            self.connections,
            self.shed,
            self.failures.len()
        );
        let told: Vec<&String> = self.failures.iter().take(MOST_TOLD).collect();
        anyhow::ensure!(self.failures.is_empty(), "{what}: {} failed: {told:#?}", self.failures.len());
        anyhow::ensure!(self.answered >= least, "{what}: only {} requests", self.answered);
        Ok(())
    }
}

/// Running clients; they end when asked for their tally.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// Starts one client of each kind.
    pub(crate) fn start(to: SocketAddr, kinds: &[Kind]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = kinds.iter().map(|kind| {
            let (kind, stop) = (*kind, Arc::clone(&stop));
            let client = move || match kind {
                Kind::Http2 => multiplexed(to, &stop),
                Kind::KeepAlive | Kind::Anew => one_by_one(to, kind, &stop),
            };
            std::thread::Builder::new().name(NAME.to_owned()).spawn(client).expect("a thread")
        });
        Self { clients: clients.collect(), stop }
    }

    /// Ends them and adds up what they saw.
    pub(crate) fn end(mut self) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for client in self.clients.drain(..) {
            all.add(client.join().map_err(|_| anyhow!("a client panicked"))?);
        }
        Ok(all)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn note(tally: &mut Tally, began: Instant, kind: Kind, answer: Result<u16>) {
    match answer {
        Ok(status @ (200 | 503)) => {
            tally.answered += 1;
            tally.shed += u64::from(status == 503);
            tally.took.push((began, u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX)));
        }
        Ok(status) => tally.failures.push(format!("{kind:?}: status {status}")),
        Err(error) => tally.failures.push(format!("{kind:?}: {error:#} after {:?}", began.elapsed())),
    }
}

fn one_by_one(to: SocketAddr, kind: Kind, stop: &AtomicBool) -> Tally {
    let (mut tally, mut open) = (Tally::default(), None);
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let (answer, kept) = ask(to, open.take(), &mut tally);
        open = kept.filter(|_| kind == Kind::KeepAlive);
        note(&mut tally, began, kind, answer);
        // tidy: sleep because the load is paced.
        std::thread::sleep(PAUSE);
    }
    tally
}

/// One request; the connection comes back where it may be used again.
fn ask(to: SocketAddr, open: Option<Connection>, tally: &mut Tally) -> (Result<u16>, Option<Connection>) {
    let reused = open.is_some();
    let connection = match open {
        Some(open) => Ok(open),
        None => Connection::open(HERE, to).inspect(|_| tally.connections += 1),
    };
    let asked = connection.map_err(anyhow::Error::from).and_then(|mut connection| {
        connection.send("GET /load HTTP/1.1\r\nHost: load\r\n\r\n")?;
        let answer = connection.receive(false)?;
        let close = answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        Ok((answer.status, (!close).then_some(connection)))
    });
    match asked.with_context(|| if reused { "on a used connection" } else { "on a new connection" }) {
        Ok((status, kept)) => (Ok(status), kept),
        Err(error) => (Err(error), None),
    }
}

type Sender = http2::SendRequest<Empty<Bytes>>;

fn multiplexed(to: SocketAddr, stop: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(ask_many(to, stop, &mut tally)),
        Err(error) => tally.failures.push(error.to_string()),
    }
    tally
}

async fn ask_many(to: SocketAddr, stop: &AtomicBool, tally: &mut Tally) {
    let mut open: Option<Sender> = None;
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let asked = tokio::time::timeout(PATIENCE, ask_multiplexed(to, &mut open, tally)).await;
        let answer = asked.unwrap_or_else(|_| Err(anyhow!("no answer")));
        note(tally, began, Kind::Http2, answer);
        // tidy: sleep because the load is paced.
        tokio::time::sleep(PAUSE).await;
    }
}

/// One request, over the open connection unless it was told to go (GOAWAY).
async fn ask_multiplexed(to: SocketAddr, open: &mut Option<Sender>, tally: &mut Tally) -> Result<u16> {
    loop {
        let mut sender = match open.take() {
            Some(sender) => sender,
            None => {
                tally.connections += 1;
                connect(to).await?
            }
        };
        if sender.ready().await.is_err() {
            continue;
        }
        let request = hyper::Request::get(format!("http://{to}/load")).body(Empty::new())?;
        match sender.try_send_request(request).await {
            Ok(response) => {
                let status = response.status().as_u16();
                response.into_body().collect().await?;
                *open = Some(sender);
                return Ok(status);
            }
            Err(mut error) => {
                // Unless nothing of it was sent, because the connection had just been told to go.
                if error.take_message().is_none() {
                    return Err(anyhow!("{:?}", error.into_error()));
                }
            }
        }
    }
}

async fn connect(to: SocketAddr) -> Result<Sender> {
    let stream = tokio::net::TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}
