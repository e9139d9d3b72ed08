//! A wire between two programs that can be cut: every connection goes through it. Never keeps a byte once it is cut.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;

/// The wire; it ends with its owner.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    cut: AtomicBool,
    ended: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Wire {
    /// A wire to that address, whole.
    ///
    /// # Errors
    /// When no port is free.
    pub fn to(to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (cut, ended) = (AtomicBool::new(false), AtomicBool::new(false));
        let shared = Arc::new(Shared { to, cut, ended, open: Mutex::default() });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.ended.load(Ordering::Relaxed) {
                    return;
                }
                accepting.join(stream);
            }
        });
        Ok(Self { address, shared })
    }

    /// Where to connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts all connections and takes no other.
    pub fn cut(&self) {
        self.shared.cut.store(true, Ordering::Relaxed);
        self.shared.close();
    }

    /// Takes connections again.
    pub fn heal(&self) {
        self.shared.cut.store(false, Ordering::Relaxed);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.cut();
        // The accepting thread looks up once more.
        let _woken = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }

    fn join(&self, near: TcpStream) {
        if self.cut.load(Ordering::Relaxed) {
            return;
        }
        let Ok(far) = TcpStream::connect_timeout(&self.to, Duration::from_secs(20)) else { return };
        let pair = || Some((near.try_clone().ok()?, far.try_clone().ok()?));
        let (Some((a, b)), Some((c, d))) = (pair(), pair()) else { return };
        self.lock().extend([near, far]);
        thread::spawn(move || pump(a, b));
        thread::spawn(move || pump(d, c));
        // A cut that came between the look and the list closes these too.
        if self.cut.load(Ordering::Relaxed) {
            self.close();
        }
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let mut part = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut part) {
        if to.write_all(&part[..read]).is_err() {
            break;
        }
    }
    let _gone = from.shutdown(Shutdown::Both);
    let _gone = to.shutdown(Shutdown::Both);
}
