//! The proxy's TLS: what each listener shows, whom it believes, how edges and upstreams are greeted. Never makes a decision about a certificate.

use std::io;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::stream::Stream;
use super::topology::{Endpoint, Link};
use crate::config::Config;
use crate::config::types::{Listener, ListenerKind};
use crate::config::units::show_origin;
use crate::decide::region::RegionId;
use crate::link::{
    ALPN_H2, ALPN_HTTP1, BadServerName, Fresh, OutwardTls, PeerTls, PublicTls, Purpose, Refreshed, TlsFault,
    peer_region, server_name,
};

/// Everything that was read from certificate files.
#[derive(Debug)]
pub(crate) struct Identities {
    /// This host towards other regions; another one needs a restart.
    pub(crate) peer: Option<Arc<PeerTls>>,
    outward: ArcSwapOption<OutwardTls>,
    /// Listeners' certificates; changes with the configuration.
    shown: ArcSwap<Vec<Arc<PublicTls>>>,
}

/// What a listener speaks.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// Cleartext.
    Plain,
    /// TLS with a public certificate.
    Public(Arc<PublicTls>),
    /// Mutual TLS; cleartext only from trusted prefixes.
    Peer(Option<Arc<PeerTls>>),
}

impl Entry {
    /// The same, with its files read again.
    pub(crate) fn renewed(&self) -> Result<Self, TlsFault> {
        if let Self::Public(tls) = self {
            tls.reload()?;
        }
        Ok(self.clone())
    }

    /// Whether nothing was read from other files.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain, Self::Plain) | (Self::Peer(_), Self::Peer(_)) => true,
            (Self::Public(one), Self::Public(two)) => Arc::ptr_eq(one, two),
            _ => false,
        }
    }
}

impl Identities {
    /// Reads `[identity]`, and the system's authorities where an upstream needs them.
    pub(crate) fn load(config: &Config) -> Result<Self, TlsFault> {
        let peer = config.identity.as_ref().map(|identity| PeerTls::load(config, identity).map(Arc::new));
        let identities = Self { peer: peer.transpose()?, outward: None.into(), shown: ArcSwap::default() };
        identities.learn(config)?;
        Ok(identities)
    }

    /// Reads the system's authorities where an upstream needs them for the first time.
    pub(crate) fn learn(&self, config: &Config) -> Result<(), TlsFault> {
        let mut endpoints = config.upstreams.iter().flat_map(|upstream| &upstream.endpoints);
        if self.outward.load().is_none() && endpoints.any(|url| url.scheme_str() == Some("https")) {
            self.outward.store(Some(Arc::new(OutwardTls::load()?)));
        }
        Ok(())
    }

    /// What a listener speaks, read from its files.
    pub(crate) fn entry(&self, listener: &Listener) -> Result<Entry, TlsFault> {
        match (listener.kind, &listener.tls) {
            (ListenerKind::Peer, _) => Ok(Entry::Peer(self.peer.clone())),
            (ListenerKind::Public, None) => Ok(Entry::Plain),
            (ListenerKind::Public, Some(tls)) => PublicTls::load(tls).map(|tls| Entry::Public(Arc::new(tls))),
        }
    }

    /// These are shown to clients from now on.
    pub(crate) fn show(&self, shown: Vec<Arc<PublicTls>>) {
        self.shown.store(Arc::new(shown));
    }

    /// What is to be read again when its files change.
    pub(crate) fn fresh(&self) -> Vec<Arc<dyn Fresh>> {
        let shown = self.shown.load();
        let public = shown.iter().map(|tls| Arc::clone(tls) as Arc<dyn Fresh>);
        let peer = self.peer.iter().map(|tls| Arc::clone(tls) as Arc<dyn Fresh>);
        public.chain(peer).collect()
    }

    fn config_for(&self, link: Link, http1_only: bool) -> Option<Arc<ClientConfig>> {
        match link {
            Link::Plain => None,
            Link::Outward if http1_only => self.outward.load().as_deref().map(OutwardTls::http1),
            Link::Outward => self.outward.load().as_deref().map(OutwardTls::any),
            Link::Peer(region) => {
                let config = self.peer.as_ref()?.client(region, Purpose::Isthmus)?;
                Some(if http1_only { only_http1(&config) } else { config })
            }
        }
    }
}

/// Upgrades exist in HTTP/1.1 alone: the far end must not choose HTTP/2.
fn only_http1(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
    Arc::new(config)
}

/// Tells the log what became of files that changed.
pub(crate) fn tell(subject: &str, refreshed: &Refreshed) {
    match refreshed {
        Refreshed::Unchanged => {}
        Refreshed::Renewed => tracing::info!(subject, "renewed"),
        Refreshed::Kept(fault) => {
            tracing::error!(subject, %fault, "the new files are faulty; what was read before stays in use");
        }
    }
}

/// TLS towards an endpoint could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GreetError {
    /// Edges with `https://` need `[identity]`.
    #[error("no [identity] to greet {0} with")]
    NoIdentity(String),
    /// Not a name.
    #[error(transparent)]
    Name(#[from] BadServerName),
    /// The handshake failed.
    #[error("TLS with {host}: {source}")]
    Handshake {
        /// Whom.
        host: String,
        /// Why.
        source: io::Error,
    },
}

/// Speaks TLS to an endpoint where its URL says so.
pub(crate) async fn greet(
    identities: &Identities,
    endpoint: &Endpoint,
    tcp: TcpStream,
    http1_only: bool,
) -> Result<Stream, GreetError> {
    if endpoint.link == Link::Plain {
        return Ok(Stream::Plain(tcp));
    }
    let config = identities.config_for(endpoint.link, http1_only);
    let config = config.ok_or_else(|| GreetError::NoIdentity(show_origin(&endpoint.url)))?;
    let connector = TlsConnector::from(config);
    let stream = connector.connect(server_name(&endpoint.host)?, tcp).await;
    let stream = stream.map_err(|source| GreetError::Handshake { host: endpoint.host.clone(), source })?;
    Ok(Stream::Tls(Box::new(TlsStream::from(stream))))
}

/// Whether the far end chose HTTP/2.
pub(crate) fn chose_h2(stream: &Stream) -> bool {
    stream.alpn() == Some(ALPN_H2)
}

/// Takes a client's TLS handshake.
pub(crate) async fn welcome(tls: &PublicTls, tcp: TcpStream) -> io::Result<Stream> {
    let stream = TlsAcceptor::from(tls.server()).accept(tcp).await?;
    Ok(Stream::Tls(Box::new(TlsStream::from(stream))))
}

/// Takes a peer's TLS handshake; its certificate says for which region it speaks.
pub(crate) async fn welcome_peer(tls: &PeerTls, tcp: TcpStream) -> io::Result<(Stream, RegionId)> {
    let stream = TlsAcceptor::from(tls.server()).accept(tcp).await?;
    let region =
        peer_region(stream.get_ref().1.peer_certificates(), tls.names()).map_err(io::Error::other)?;
    Ok((Stream::Tls(Box::new(TlsStream::from(stream))), region))
}
