//! The fronts: listeners that speak memcached. Never answers for memcached, but for a server that is gone.

mod conn;
mod drive;
mod gate;
mod lane;
mod out;
pub(crate) mod pool;
mod seats;
mod shared;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use self::conn::Conn;
pub(crate) use self::gate::Gate;
use self::pool::{MAX_CONNECTIONS, Pool};
pub(crate) use self::shared::Shared;

/// Connections that may wait to be accepted.
const ACCEPT_BACKLOG: i32 = 1024;
/// What memcached says.
const TOO_MANY: &[u8] = b"ERROR Too many open connections\r\n";

/// A listening socket that other workers can share.
///
/// # Errors
/// When the address cannot be had.
pub(crate) fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(ACCEPT_BACKLOG)?;
    Ok(socket.into())
}

/// A worker's shared lines to the servers of a pool, and their tasks; called inside the worker's runtime.
pub(crate) fn share(pool: &Arc<Pool>, gate: &Arc<Gate>) -> Arc<Shared> {
    let shared = Shared::new(pool, Arc::clone(gate));
    for (place, line) in shared.lines() {
        tokio::spawn(drive::drive(Arc::clone(line), Arc::clone(pool), place));
    }
    Arc::new(shared)
}

/// Accepts connections until the task is dropped.
pub(crate) async fn accept(listener: TcpListener, pool: Arc<Pool>, shared: Arc<Shared>, refill_port: bool) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                tokio::spawn(serve(client, Arc::clone(&pool), Arc::clone(&shared), refill_port));
            }
            Err(error) => {
                tracing::warn!(pool = %pool.config.name, %error, "a client could not be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }
}

async fn serve(mut client: TcpStream, pool: Arc<Pool>, shared: Arc<Shared>, refill_port: bool) {
    if pool.counters.connections.load(Ordering::Relaxed) >= MAX_CONNECTIONS {
        let _told = client.write_all(TOO_MANY).await;
        return;
    }
    if client.set_nodelay(true).is_err() {
        return;
    }
    pool.know().await;
    Conn::new(pool, shared, client, refill_port).run().await;
}
