//! Connections that cost next to nothing: those that have said nothing yet, and those that find no seat. Never answers a request
//! otherwise than with "too many".

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::wire::problem::Problem;

/// Longest wait for the first byte of a request.
const FIRST_BYTE: Duration = Duration::from_secs(10);
/// The same without a seat.
const FIRST_BYTE_STANDING: Duration = Duration::from_secs(2);
/// Connections without a seat that are answered at once; more are closed without a word.
const MAX_STANDING: usize = 64;
/// Longest write of the refusal.
const REFUSAL: Duration = Duration::from_secs(1);

/// A socket that tells when something can be read, without a buffer for it.
pub(super) trait Quiet {
    /// Waits until something can be read, or the other end left.
    async fn speaks(&self) -> io::Result<()>;
    /// Reads what is there; an error where nothing is.
    fn take(&self, bytes: &mut [u8]) -> io::Result<usize>;
}

impl Quiet for UnixStream {
    async fn speaks(&self) -> io::Result<()> {
        self.readable().await
    }

    fn take(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.try_read(bytes)
    }
}

impl Quiet for TcpStream {
    async fn speaks(&self) -> io::Result<()> {
        self.readable().await
    }

    fn take(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.try_read(bytes)
    }
}

/// Whether a connection said something in time; until then it has no buffers.
pub(super) async fn spoke(stream: &impl Quiet) -> bool {
    matches!(timeout(FIRST_BYTE, stream.speaks()).await, Ok(Ok(())))
}

/// Room for those without a seat.
#[derive(Clone, Debug)]
pub(super) struct Standing(Arc<Semaphore>);

impl Standing {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_STANDING)))
    }

    /// Answers a connection that found no seat with 503, and closes it.
    pub(super) fn refuse(&self, mut stream: UnixStream) {
        let Ok(place) = Arc::clone(&self.0).try_acquire_owned() else { return };
        tokio::spawn(async move {
            if matches!(timeout(FIRST_BYTE_STANDING, stream.speaks()).await, Ok(Ok(()))) {
                // What is left unread would reach the other end as a reset, before our answer on some systems.
                let mut rest = [0; 512];
                while matches!(stream.take(&mut rest), Ok(1..)) {}
                let refused = async {
                    stream.write_all(&refusal()).await?;
                    stream.shutdown().await
                };
                _ = timeout(REFUSAL, refused).await;
            }
            drop(place);
        });
    }
}

fn refusal() -> Vec<u8> {
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too many admin connections at once");
    let body = serde_json::to_string(&problem).unwrap_or_default();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}\n",
        body.len() + 1
    )
    .into_bytes()
}
