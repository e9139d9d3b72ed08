//! Listening sockets: one per worker and address, so that the kernel spreads connections. Never accepts.

use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted, per socket.
const BACKLOG: i32 = 4096;

/// A listener's socket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("listener \"{name}\" can't listen on {address}: {source}")]
pub struct BindError {
    /// The listener.
    pub name: String,
    /// Its address.
    pub address: SocketAddr,
    /// Why.
    pub source: std::io::Error,
}

/// Opens `count` sockets on one address; with port 0 all of them get the port that the first was given.
///
/// # Errors
/// When the address is taken or not this host's.
pub(crate) fn open(name: &str, address: SocketAddr, count: usize) -> Result<Vec<TcpListener>, BindError> {
    let failed = |source| BindError { name: name.to_owned(), address, source };
    let mut sockets: Vec<TcpListener> = Vec::with_capacity(count);
    for _ in 0..count.max(1) {
        let at = match sockets.first() {
            Some(first) => first.local_addr().map_err(failed)?,
            None => address,
        };
        sockets.push(open_one(at).map_err(failed)?);
    }
    Ok(sockets)
}

fn open_one(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
