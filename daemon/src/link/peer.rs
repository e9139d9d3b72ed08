//! Both ends of a link between regions: who may call the peer listener, and which edge may answer. Never believes a name but the
//! certificate's region.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    ServerConfig, SignatureScheme,
};

use super::dial::client;
use super::files::unusable;
use super::identity::{Doubt, Own};
use super::refresh::{Fresh, Refreshed, Watched};
use super::region::{RegionFault, region_of};
use super::{ALPN_H2, ALPN_HTTP1, ALPN_RELAY, TlsFault, provider};
use crate::config::Config;
use crate::config::types::Identity;
use crate::decide::region::{RegionId, Regions};

/// What a call to another region's edge is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Mis-routed requests and health: HTTP/2, or HTTP/1.1.
    Isthmus,
    /// Invalidations: [`ALPN_RELAY`].
    Relay,
}

/// This host's identity and the configurations made from it.
#[derive(Debug)]
pub struct PeerTls {
    identity: Identity,
    own: RegionId,
    names: Arc<Regions<String>>,
    made: ArcSwap<Made>,
    watched: Mutex<Watched>,
}

#[derive(Debug)]
struct Made {
    server: Arc<ServerConfig>,
    isthmus: Regions<Arc<ClientConfig>>,
    relay: Regions<Arc<ClientConfig>>,
    doubt: Option<Doubt>,
}

impl PeerTls {
    /// Reads `[identity]`.
    ///
    /// # Errors
    /// When the files are faulty, or the certificate is not this host's region's.
    pub fn load(config: &Config, identity: &Identity) -> Result<Self, TlsFault> {
        let names = Arc::new(config.regions.map(|(_, region)| region.name.clone()));
        Self::new(identity.clone(), config.host.region, names)
    }

    pub(super) fn new(
        identity: Identity,
        own: RegionId,
        names: Arc<Regions<String>>,
    ) -> Result<Self, TlsFault> {
        let files = [&identity.certificate, &identity.key, &identity.authority];
        let watched = Mutex::new(Watched::new(files));
        let made = ArcSwap::from_pointee(Made::load(&identity, own, &names)?);
        Ok(Self { identity, own, names, made, watched })
    }

    /// For a new connection on a peer listener: TLS 1.3, a certificate is asked for and must speak for a known region. After the
    /// handshake, [`super::peer_region`] says for which; ALPN says whether it is [`ALPN_RELAY`] or HTTP.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.made.load().server)
    }

    /// For a new connection to an edge of `region`: whoever answers must speak for that region.
    #[must_use]
    pub fn client(&self, region: RegionId, purpose: Purpose) -> Option<Arc<ClientConfig>> {
        let made = self.made.load();
        let configs = match purpose {
            Purpose::Isthmus => &made.isthmus,
            Purpose::Relay => &made.relay,
        };
        configs.get(region).map(Arc::clone)
    }

    /// The regions' names, for [`super::peer_region`].
    #[must_use]
    pub fn names(&self) -> &Regions<String> {
        &self.names
    }

    /// Why peers will refuse this host as things stood when the files were read.
    #[must_use]
    pub fn doubt(&self) -> Option<Doubt> {
        self.made.load().doubt.clone()
    }

    /// Reads the files now, whether they have changed or not.
    ///
    /// # Errors
    /// When the files are faulty, or peers would refuse the new certificate but not the one in use: that one stays.
    pub fn reload(&self) -> Result<(), TlsFault> {
        let new = Made::load(&self.identity, self.own, &self.names)?;
        if let (Some(Doubt(why)), None) = (&new.doubt, self.doubt()) {
            return Err(TlsFault::Doubtful { path: self.identity.certificate.clone(), why: why.clone() });
        }
        self.made.store(Arc::new(new));
        Ok(())
    }
}

impl Fresh for PeerTls {
    fn subject(&self) -> String {
        format!("identity {}", self.identity.certificate.display())
    }

    fn refresh(&self) -> Refreshed {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.when_changed(|| self.reload())
    }
}

impl Made {
    fn load(identity: &Identity, own: RegionId, names: &Arc<Regions<String>>) -> Result<Self, TlsFault> {
        let read = Own::load(identity, own, names, UnixTime::now())?;
        let fault = |error: Error| unusable(&identity.certificate, &error);
        Ok(Self {
            server: Arc::new(server(&read, names).map_err(fault)?),
            isthmus: clients(&read, names, &[ALPN_H2, ALPN_HTTP1]).map_err(fault)?,
            relay: clients(&read, names, &[ALPN_RELAY]).map_err(fault)?,
            doubt: read.doubt,
        })
    }
}

/// One configuration for each region that may be called.
fn clients(
    own: &Own,
    names: &Arc<Regions<String>>,
    alpn: &[&[u8]],
) -> Result<Regions<Arc<ClientConfig>>, Error> {
    let each = names.iter().map(|(region, _)| client(own, region, names, alpn).map(Arc::new));
    let all = each.collect::<Result<Vec<_>, _>>()?;
    Regions::new(all).ok_or_else(|| Error::General("too many regions".to_owned()))
}

/// Sessions are never resumed: a resumed one would skip the check of a certificate that may have run out since.
fn server(own: &Own, names: &Arc<Regions<String>>) -> Result<ServerConfig, Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&own.roots), provider()).build();
    let inner = verifier.map_err(|error| Error::General(error.to_string()))?;
    let verifier = Arc::new(Callers { inner, names: Arc::clone(names) });
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
    let key = Arc::new(SingleCertAndKey::from(Arc::clone(&own.key)));
    let mut server = builder.with_client_cert_verifier(verifier).with_cert_resolver(key);
    server.alpn_protocols = [ALPN_RELAY, ALPN_H2, ALPN_HTTP1].map(<[u8]>::to_vec).into();
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok(server)
}

/// A refusal that says why, in the log of the end that refuses.
pub(super) fn refused(fault: RegionFault) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(fault))))
}

/// Who may call: the authority signed the certificate, for calling, and it speaks for one known region.
#[derive(Debug)]
struct Callers {
    inner: Arc<dyn ClientCertVerifier>,
    names: Arc<Regions<String>>,
}

impl ClientCertVerifier for Callers {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        region_of(end_entity, &self.names).map_err(refused)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
