//! Two network namespaces joined by a veth pair: a host under test and a client beside it, for cases about the NIC.
//! Never touches the machine's own interfaces.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::Result;

use crate::netns::{Netns, link};
use crate::process::wait_until;

/// The host's address.
pub const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The client's own address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Another address of the client.
pub const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
/// Yet another.
pub const OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

/// A host with interface `e0`, and a client on the other end.
#[derive(Debug)]
pub struct Lab {
    /// Where tidegate runs.
    pub host: Netns,
    /// Where traffic comes from.
    pub client: Netns,
}

impl Lab {
    /// Makes both, with addresses on each side.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn new() -> Result<Self> {
        let lab = Self { host: Netns::new("host")?, client: Netns::new("client")? };
        lab.join()?;
        Ok(lab)
    }

    /// Makes the pair `e0` (host) and `c0` (client) anew, as after [`Self::cut`].
    ///
    /// # Errors
    /// What `ip` says.
    pub fn join(&self) -> Result<()> {
        link((&self.host, "e0"), (&self.client, "c0"))?;
        self.host.address("e0", &format!("{HOST}/24"))?;
        self.host.address("e0", "2001:db8::1/64")?;
        self.client.address("c0", &format!("{CLIENT}/24"))?;
        self.client.address("c0", "2001:db8::2/64")?;
        for address in [FAR, OTHER] {
            self.client.address("c0", &format!("{address}/32"))?;
            self.host.ip(&["route", "add", &address.to_string(), "dev", "e0"])?;
        }
        self.settle()
    }

    /// Removes the pair.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn cut(&self) -> Result<()> {
        self.host.ip(&["link", "del", "e0"]).map(drop)
    }

    /// Waits until neighbours are resolved, so that no later loss is due to that.
    fn settle(&self) -> Result<()> {
        let socket = self.listen()?;
        let target = SocketAddr::new(HOST.into(), socket.local_addr()?.port());
        let client = self.sender(CLIENT)?;
        wait_until("traffic on the pair", Duration::from_secs(60), || {
            // Before the link is up the kernel may refuse; that is what is waited for.
            let _ = client.send_to(b"up?", target);
            socket.recv(&mut [0; 8]).is_ok()
        })
    }

    /// A UDP socket on the host, on a port of the kernel's choice.
    ///
    /// # Errors
    /// Socket errors.
    pub fn listen(&self) -> Result<UdpSocket> {
        let socket = self.host.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))??;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        Ok(socket)
    }

    /// A UDP socket of the client with `source` as its address.
    ///
    /// # Errors
    /// Socket errors.
    pub fn sender(&self, source: impl Into<IpAddr>) -> Result<UdpSocket> {
        let source = source.into();
        Ok(self.client.run(move || UdpSocket::bind(SocketAddr::new(source, 0)))??)
    }
}

/// Asks until the condition holds; what asking fails with ends it.
///
/// # Errors
/// It did not within `bound`, or could not be asked.
pub fn eventually(what: &str, bound: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let mut failed = None;
    wait_until(what, bound, || match holds() {
        Ok(holds) => holds,
        Err(error) => failed.replace(error).is_none(),
    })?;
    failed.map_or(Ok(()), Err)
}
