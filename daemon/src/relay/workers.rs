//! The fronts' threads, each with a runtime of its own and every listener. Never shares a connection between two.

use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio_util::sync::CancellationToken;

use super::front::{self, Gate, Shared, pool::Pool};
use super::spool::Spool;

/// A front's socket.
pub(super) struct FrontSocket {
    pub(super) listener: TcpListener,
    pub(super) pool: Arc<Pool>,
    pub(super) refill_port: bool,
}

/// Starts a worker over its own sockets.
pub(super) fn start(
    number: usize,
    sockets: Vec<FrontSocket>,
    spool: Spool,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("relay-front-{number}")).spawn(move || {
        runtime.block_on(async {
            let mut shared: HashMap<usize, Arc<Shared>> = HashMap::new();
            let gate = Gate::new(spool);
            tokio::spawn(Arc::clone(&gate).run());
            for socket in sockets {
                let listener = match tokio::net::TcpListener::from_std(socket.listener) {
                    Ok(listener) => listener,
                    Err(error) => {
                        tracing::error!(pool = %socket.pool.config.name, %error, "a front cannot accept");
                        continue;
                    }
                };
                let lines =
                    shared.entry(socket.pool.place).or_insert_with(|| front::share(&socket.pool, &gate));
                tokio::spawn(front::accept(listener, socket.pool, Arc::clone(lines), socket.refill_port));
            }
            stop.cancelled().await;
        });
    })
}
