//! TLS towards upstreams with `https://` endpoints: ordinary names, ordinary authorities. Never shows this host's identity.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::{ALPN_H2, ALPN_HTTP1, TlsFault, provider};

/// The system's authorities, read once.
#[derive(Clone, Debug)]
pub struct OutwardTls {
    http1: Arc<ClientConfig>,
    any: Arc<ClientConfig>,
}

impl OutwardTls {
    /// Reads the system's authorities; `SSL_CERT_FILE` and `SSL_CERT_DIR` replace them, as with OpenSSL.
    ///
    /// # Errors
    /// When there is none.
    pub fn load() -> Result<Self, TlsFault> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            let tried = found.errors.iter().map(ToString::to_string).collect::<Vec<_>>();
            return Err(TlsFault::NoRoots { why: tried.join("; ") });
        }
        Self::of(roots).map_err(|error| TlsFault::NoRoots { why: error.to_string() })
    }

    fn of(roots: RootCertStore) -> Result<Self, rustls::Error> {
        let builder =
            ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let mut http1 = builder.with_root_certificates(roots).with_no_client_auth();
        http1.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
        let mut any = http1.clone();
        any.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
        Ok(Self { http1: Arc::new(http1), any: Arc::new(any) })
    }

    /// For an endpoint that is spoken to in HTTP/1.1 alone.
    #[must_use]
    pub fn http1(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.http1)
    }

    /// For an endpoint that may choose HTTP/2 or HTTP/1.1.
    #[must_use]
    pub fn any(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.any)
    }
}
