//! A thread that accepts, and one for each connection; all of them end with their owner. Never reads or writes a byte itself.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Of each connection's thread.
const STACK: usize = 128 * 1024;
/// After so much silence a connection ends.
const SILENCE: Duration = Duration::from_secs(120);

/// A running server; when dropped it accepts no more and its connections end.
#[derive(Debug)]
pub struct Serving {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    streams: Mutex<Vec<TcpStream>>,
    open: AtomicUsize,
    accepted: AtomicUsize,
    stop: AtomicBool,
}

impl Serving {
    /// Listens on `address` (port 0: any); each connection ends when `converse` returns.
    ///
    /// # Errors
    /// When the address can't be listened on.
    pub fn start(
        name: &str,
        address: &str,
        converse: impl Fn(&TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let (address, shared) = (listener.local_addr()?, Arc::new(Shared::default()));
        let (accepting, converse) = (Arc::clone(&shared), Arc::new(converse));
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || accept(&listener, &accepting, &converse))?;
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        for stream in self.shared.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

fn accept<C>(listener: &TcpListener, shared: &Arc<Shared>, converse: &Arc<C>)
where
    C: Fn(&TcpStream) -> io::Result<()> + Send + Sync + 'static,
{
    for stream in listener.incoming() {
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        if let Ok(handle) = stream.try_clone() {
            shared.streams.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        }
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        shared.open.fetch_add(1, Ordering::SeqCst);
        let (shared, converse) = (Arc::clone(shared), Arc::clone(converse));
        let connection = thread::Builder::new().stack_size(STACK);
        drop(connection.spawn(move || {
            let ready = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(SILENCE)));
            drop(ready.and_then(|()| converse(&stream)));
            drop(stream.shutdown(Shutdown::Both));
            shared.open.fetch_sub(1, Ordering::SeqCst);
        }));
    }
}
