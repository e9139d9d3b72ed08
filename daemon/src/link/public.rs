//! What a public listener shows its clients. Never asks a client for a certificate.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::files::{self, unusable};
use super::refresh::{Fresh, Refreshed, Watched};
use super::{ALPN_H2, ALPN_HTTP1, TlsFault, provider};
use crate::config::types::Tls;

/// A public listener's certificate, as read last.
#[derive(Debug)]
pub struct PublicTls {
    files: Tls,
    shown: Arc<Shown>,
    server: Arc<ServerConfig>,
    watched: Mutex<Watched>,
}

/// The certificate that new connections see.
#[derive(Debug)]
struct Shown(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl PublicTls {
    /// Reads the files. Offers TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1, and session tickets without state.
    ///
    /// # Errors
    /// Names the file and what to do about it.
    pub fn load(tls: &Tls) -> Result<Self, TlsFault> {
        let watched = Mutex::new(Watched::new([&tls.certificate, &tls.key]));
        let key = files::certified_key(&tls.certificate, &tls.key)?;
        let shown = Arc::new(Shown(ArcSwap::from_pointee(key)));
        let builder = ServerConfig::builder_with_provider(provider());
        let builder = builder
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&tls.certificate, &error))?;
        let resolver = Arc::clone(&shown) as Arc<dyn ResolvesServerCert>;
        let mut server = builder.with_no_client_auth().with_cert_resolver(resolver);
        server.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
        server.ticketer = Ticketer::new().map_err(|error| unusable(&tls.certificate, &error))?;
        Ok(Self { files: tls.clone(), shown, server: Arc::new(server), watched })
    }

    /// The configuration for new connections: the same for as long as this lives, with the certificate of the moment inside.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// Reads the files now, whether they have changed or not.
    ///
    /// # Errors
    /// When the files are faulty: the certificate that is shown stays.
    pub fn reload(&self) -> Result<(), TlsFault> {
        let key = files::certified_key(&self.files.certificate, &self.files.key)?;
        self.shown.0.store(Arc::new(key));
        Ok(())
    }
}

impl Fresh for PublicTls {
    fn subject(&self) -> String {
        format!("certificate {}", self.files.certificate.display())
    }

    fn refresh(&self) -> Refreshed {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.when_changed(|| self.reload())
    }
}
