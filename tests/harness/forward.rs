//! A TCP door to a unix socket, for tools that know no unix sockets. Never open to anything but loopback.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result};

/// Carries each connection to the socket and back, for as long as the process lives.
///
/// # Errors
/// When no port can be bound.
pub fn to_unix(socket: &Path) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no loopback port")?;
    let address = listener.local_addr()?;
    let socket = socket.to_owned();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let socket: PathBuf = socket.clone();
            thread::spawn(move || carry(&stream, &socket));
        }
    });
    Ok(address)
}

/// Ends when the socket's side does; what goes there ends with the client's side.
fn carry(client: &TcpStream, socket: &Path) -> io::Result<()> {
    let daemon = UnixStream::connect(socket)?;
    let (mut from, mut to) = (client.try_clone()?, daemon.try_clone()?);
    let there = thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut back = client;
    let done = io::copy(&mut &daemon, &mut back).and_then(|_| back.flush());
    let _ = client.shutdown(Shutdown::Both);
    let _ = there.join();
    done
}
