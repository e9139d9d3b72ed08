//! Addresses that stay free until they are listened on: on a loopback address of this process's own, at a port that is given out once.
//! Never where the kernel takes ports by itself: a port that was free a moment ago on 127.0.0.1 may be anybody's now.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context as _, Result};

/// Below the ports that the kernel picks (32768 to 60999) and above those that programs are known for.
const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;

static NEXT: AtomicU16 = AtomicU16::new(FIRST);

/// The loopback address of this process: 127.64.0.0/10 has a place for each process id (22 bits).
/// Who connects to it does so from 127.0.0.1, unless bound elsewhere.
#[must_use]
pub fn own_host() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (high & 0x3f), middle, low)
}

/// An address that nobody else has listened on, nor will.
///
/// # Errors
/// When this process has used up all of its own.
pub fn free_address() -> Result<SocketAddr> {
    let mut ports =
        std::iter::repeat_with(|| NEXT.fetch_add(1, Ordering::Relaxed)).take_while(|port| *port < LAST);
    // Another namespace of process ids may have given the same number to a test of its own.
    let free = ports.find(|port| TcpListener::bind((own_host(), *port)).is_ok());
    free.map(|port| SocketAddr::from((own_host(), port))).context("no address of this process is left")
}

#[cfg(test)]
mod tests {
    use super::{free_address, own_host};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn an_address_is_given_out_once_and_can_be_listened_on() {
        let (one, other) = (free_address().unwrap(), free_address().unwrap());
        assert!(one != other && one.ip() == own_host() && own_host().is_loopback());
        let listener = TcpListener::bind(one).unwrap();
        let client = TcpStream::connect(one).unwrap();
        assert_eq!(client.local_addr().unwrap().ip().to_string(), "127.0.0.1");
        drop(listener);
        let taken = TcpListener::bind(other).unwrap();
        assert!(TcpListener::bind(taken.local_addr().unwrap()).is_err());
    }
}
