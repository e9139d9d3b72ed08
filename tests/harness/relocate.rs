//! A way to a listener that requires the PROXY protocol, saying that the client is somewhere else. Never changes what passes.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Forwards connections with a version 1 header before them; for as long as the process lives.
#[derive(Debug)]
pub struct Relocated {
    address: SocketAddr,
    to: Arc<Mutex<Option<SocketAddr>>>,
}

impl Relocated {
    /// Listens on loopback; every client is at `source`.
    ///
    /// # Errors
    /// When no port can be listened on.
    pub fn open(source: Ipv4Addr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let to = Arc::new(Mutex::new(None));
        let shared = Arc::clone(&to);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let to = *shared.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(to) = to {
                    thread::spawn(move || drop(forward(&stream, source, to)));
                }
            }
        });
        Ok(Self { address, to })
    }

    /// Where to; connections before that are closed.
    pub fn lead_to(&self, to: SocketAddr) {
        *self.to.lock().unwrap_or_else(PoisonError::into_inner) = Some(to);
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn forward(client: &TcpStream, source: Ipv4Addr, to: SocketAddr) -> io::Result<()> {
    let mut server = TcpStream::connect(to)?;
    write!(server, "PROXY TCP4 {source} 192.0.2.1 40000 80\r\n")?;
    let (mut up_from, mut up_to) = (client.try_clone()?, server.try_clone()?);
    let up = thread::spawn(move || {
        let copied = io::copy(&mut up_from, &mut up_to);
        drop(up_to.shutdown(std::net::Shutdown::Write));
        copied
    });
    io::copy(&mut server, &mut &*client)?;
    drop(client.shutdown(std::net::Shutdown::Both));
    drop(up.join());
    Ok(())
}
