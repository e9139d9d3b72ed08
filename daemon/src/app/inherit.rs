//! Listening sockets from and for the service manager: socket activation, and its store of descriptors (`FileDescriptorStoreMax=`), which
//! keeps them over a restart. Never opens or closes one by itself.

use std::net::TcpListener;
use std::os::fd::AsFd;

use listenfd::ListenFd;

use super::notify;
use crate::proxy::Proxy;

/// What the service manager handed over, by name (`FileDescriptorName=`, which must be the listener's). Once, before any thread is started:
/// it takes the variables out of the environment.
pub(super) fn from_manager() -> Vec<(String, TcpListener)> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut handed = ListenFd::from_env();
    let mut sockets = Vec::with_capacity(handed.len());
    for at in 0..handed.len() {
        let name = names.next().unwrap_or_default().to_owned();
        match handed.take_tcp_listener(at) {
            Ok(Some(socket)) => sockets.push((name, socket)),
            Ok(None) => {}
            Err(error) => eprintln!("tidegate: handed over as {name:?}, and not used: {error}"),
        }
    }
    sockets
}

/// Gives handles of the proxy's sockets to the service manager, so that a restart finds them again.
pub(super) fn store(proxy: &Proxy) {
    if !notify::is_managed() {
        return;
    }
    match proxy.sockets() {
        Ok(sockets) => store_all(&sockets),
        Err(error) => tracing::warn!(%error, "listening sockets are not kept over a restart"),
    }
}

fn store_all(sockets: &[(String, TcpListener)]) {
    for same in sockets.chunk_by(|one, next| one.0 == next.0) {
        let handles: Vec<_> = same.iter().map(|(_, socket)| socket.as_fd()).collect();
        notify::store(&same[0].0, &handles);
    }
}

/// Takes back what was given for listeners that are no longer where they were, then gives what is new.
pub(super) fn store_again(proxy: &Proxy, before: &[(String, std::net::SocketAddr)]) {
    let now = proxy.addresses();
    if !notify::is_managed() || now == before {
        return;
    }
    for (name, _) in before.iter().filter(|held| !now.contains(held)) {
        notify::forget(name);
    }
    store(proxy);
}
