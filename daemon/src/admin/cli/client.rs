//! One HTTP request to the daemon over its unix socket. Never interprets an answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::admin::wire::problem::Problem;

/// Longest wait for an answer; a reload with large geofeeds takes seconds.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer that is taken.
const MAX_ANSWER: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// Nobody listens.
    #[error("no daemon answers on {}: {error} (is it running? `systemctl status tidegate`; another socket: --socket, --instance, TIDEGATE_SOCKET)", path.display())]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// It listens and does not answer properly.
    #[error("the daemon on {} gives no proper answer: {problem}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What happened.
        problem: String,
    },
    /// The daemon refused.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
}

/// Asks on one socket.
#[derive(Clone, Debug)]
pub(super) struct Client {
    path: PathBuf,
}

impl Client {
    /// A client of the daemon on this socket.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    fn broken(&self, problem: &impl ToString) -> ClientError {
        ClientError::Broken { path: self.path.clone(), problem: problem.to_string() }
    }

    /// Sends a request and returns the answer's head with its body still to come.
    pub(super) async fn open(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|error| ClientError::NoDaemon { path: self.path.clone(), error })?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.broken(&error))?;
        tokio::spawn(connection);
        let bytes = body.map(ToString::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(bytes)))
            .map_err(|error| self.broken(&error))?;
        let answered = tokio::time::timeout(TIMEOUT, sender.send_request(request)).await;
        answered.map_err(|_| self.broken(&"it took too long"))?.map_err(|error| self.broken(&error))
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn ask(
        &self,
        method: Method,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let answer = self.open(method, target, body).await?;
        let status = answer.status();
        let body = self.read(answer.into_body()).await?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| self.broken(&error));
        }
        match serde_json::from_slice(&body) {
            Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
            Err(_) => Err(self.broken(&format!("status {status}"))),
        }
    }

    async fn read(&self, body: Incoming) -> Result<Bytes, ClientError> {
        let collected = tokio::time::timeout(TIMEOUT, Limited::new(body, MAX_ANSWER).collect()).await;
        let collected = collected.map_err(|_| self.broken(&"it took too long"))?;
        collected.map(http_body_util::Collected::to_bytes).map_err(|error| self.broken(&error))
    }
}

/// `%`-escapes a name for one segment of a path (RFC 3986 section 2.3).
pub(super) fn segment(name: &str) -> String {
    let escape = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    name.bytes().map(escape).collect()
}
