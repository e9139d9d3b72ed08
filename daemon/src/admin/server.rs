//! Connections to the admin socket and the metrics address: accepted, bounded, and handed to the routes. Never looks into a request.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

use super::answer::{self, Answer};
use super::crowd::{self, Quiet, Standing};
use super::desk::Desk;
use super::rights::Peer;
use super::routes::{self, Door};
use crate::decide::event::Event;

/// Connections on the socket at once; root's own come on top.
const MAX_SOCKET: usize = 128;
/// Connections of one user that is not root.
const MAX_PER_USER: usize = 32;
/// Connections on the metrics address at once.
const MAX_METRICS: usize = 64;
/// Buffer of a connection, for a head as for what its reader does not take; heads here have a few hundred bytes.
const BUFFER: usize = 16 << 10;
/// Longest wait for a head, and between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest life of a connection that carries no event stream.
const MAX_LIFE: Duration = Duration::from_secs(120);

/// What the routes answer from.
#[derive(Debug)]
pub struct Admin {
    /// Asks `app`.
    pub desk: Desk,
    /// Where events come from.
    pub events: broadcast::Sender<Arc<Event>>,
    /// Who besides root may change things.
    pub write_group: Mutex<Option<String>>,
}

/// The socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon answers on it.
    #[error("{}: another daemon answers on this socket; stop it, or give this one another [host].instance or [admin].socket", .0.display())]
    Taken(PathBuf),
    /// A system call failed.
    #[error("{}: cannot listen: {error}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The metrics address.
    #[error("[admin].metrics {address}: cannot listen: {error}")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
}

/// Opens the unix socket; a dead one that a daemon left is replaced, a live one never.
///
/// # Errors
/// The path is taken or can't be used.
pub fn bind_socket(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |error| BindError::Socket { path: path.to_owned(), error };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => return Err(BindError::Taken(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    // Every local user may read; rights to change are by SO_PEERCRED.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).map_err(failed)?;
    Ok(listener)
}

/// Opens the metrics address.
///
/// # Errors
/// It can't be listened on.
pub async fn bind_metrics(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|error| BindError::Metrics { address, error })
}

/// Connections by user, so that nobody keeps the others out.
#[derive(Debug, Default)]
struct Users(Mutex<HashMap<u32, usize>>);

/// One user's connection; leaves when dropped.
struct Seat {
    users: Arc<Users>,
    uid: u32,
}

impl Users {
    fn enter(self: &Arc<Self>, uid: u32) -> Option<Seat> {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = users.iter().filter(|(uid, _)| **uid != 0).map(|(_, count)| count).sum();
        let here = users.get(&uid).copied().unwrap_or(0);
        let full = if uid == 0 { here >= MAX_SOCKET } else { here >= MAX_PER_USER || total >= MAX_SOCKET };
        if full {
            return None;
        }
        users.insert(uid, here + 1);
        Some(Seat { users: Arc::clone(self), uid })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut users = self.users.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = users.get_mut(&self.uid) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                users.remove(&self.uid);
            }
        }
    }
}

/// Serves the unix socket until `stop`.
pub async fn serve_socket(listener: UnixListener, admin: Arc<Admin>, stop: CancellationToken) {
    let (users, standing) = (Arc::new(Users::default()), Standing::new());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => socket_connection(stream, &admin, (&users, &standing), &stop),
            Err(error) => pause(&error).await,
        }
    }
}

fn socket_connection(
    stream: UnixStream,
    admin: &Arc<Admin>,
    (users, standing): (&Arc<Users>, &Standing),
    stop: &CancellationToken,
) {
    let Ok(credentials) = stream.peer_cred() else { return };
    let peer = Peer { uid: credentials.uid(), gid: credentials.gid(), pid: credentials.pid().unwrap_or(0) };
    let Some(seat) = users.enter(peer.uid) else { return standing.refuse(stream) };
    tokio::spawn(connection(stream, Arc::clone(admin), Door::Socket(peer), stop.clone(), seat));
}

/// One connection for as long as it keeps its place; boxed only when it says something.
async fn connection(
    stream: impl Quiet + AsyncRead + AsyncWrite + Unpin + Send + 'static,
    admin: Arc<Admin>,
    door: Door,
    stop: CancellationToken,
    place: impl Send,
) {
    let spoke = tokio::select! {
        spoke = crowd::spoke(&stream) => spoke,
        () = stop.cancelled() => false,
    };
    if spoke {
        Box::pin(serve(stream, admin, door, stop)).await;
    }
    drop(place);
}

/// Serves the metrics address until `stop`.
pub async fn serve_metrics(listener: TcpListener, admin: Arc<Admin>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_METRICS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let (admin, stop) = (Arc::clone(&admin), stop.clone());
                tokio::spawn(connection(stream, admin, Door::Metrics, stop, place));
            }
            Err(error) => pause(&error).await,
        }
    }
}

/// Out of file descriptors or the like: told once per pause, tried again.
async fn pause(error: &io::Error) {
    tracing::warn!(%error, "cannot accept an admin connection");
    tokio::time::sleep(Duration::from_millis(200)).await;
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    admin: Arc<Admin>,
    door: Door,
    stop: CancellationToken,
) {
    let streaming = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let noticed = Arc::clone(&streaming);
    let service = service_fn(move |request: Request<Incoming>| {
        let (admin, noticed) = (Arc::clone(&admin), Arc::clone(&noticed));
        async move { Ok::<_, std::convert::Infallible>(answer(request, &admin, door, &noticed).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut life = std::pin::pin!(tokio::time::sleep(MAX_LIFE));
    loop {
        tokio::select! {
            // What the other end does wrong is its own affair.
            _ = connection.as_mut() => return,
            () = stop.cancelled() => return,
            () = life.as_mut() => {
                if !streaming.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                life.as_mut().reset(tokio::time::Instant::now() + MAX_LIFE);
            }
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    admin: &Arc<Admin>,
    door: Door,
    streaming: &std::sync::atomic::AtomicBool,
) -> Answer {
    let head_only = request.method() == http::Method::HEAD;
    let answer = routes::answer(request, admin, door).await;
    if answer.extensions().get::<answer::Streaming>().is_some() {
        streaming.store(true, std::sync::atomic::Ordering::Relaxed);
    }
    if head_only { answer::without_body(answer) } else { answer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_keeps_the_others_or_root_out() {
        let users = Arc::new(Users::default());
        let seats: Vec<_> = (0..MAX_PER_USER).map(|_| users.enter(1000).expect("a seat")).collect();
        assert!(users.enter(1000).is_none());
        let others: Vec<_> = (1001..1100)
            .flat_map(|uid| (0..2).filter_map(|_| users.enter(uid)).collect::<Vec<_>>())
            .collect();
        assert_eq!(seats.len() + others.len(), MAX_SOCKET);
        let root = users.enter(0).expect("root's seats are apart");
        drop((seats, others, root));
        assert!(users.0.lock().expect("not poisoned").is_empty());
    }
}
