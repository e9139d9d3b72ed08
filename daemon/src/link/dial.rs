//! The calling end of a link between regions. Never trusts a host's name: the certificate's region counts.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::identity::Own;
use super::peer::refused;
use super::provider;
use super::region::{RegionFault, region_of};
use crate::decide::region::{RegionId, Regions};

/// A host can't be named in a TLS handshake.
#[derive(Debug, thiserror::Error)]
#[error("{host:?} is neither a host name nor an IP address")]
pub struct BadServerName {
    /// What was given.
    pub host: String,
}

/// The name to greet a host with; `host` as in a URI: `[2001:db8::1]` with or without brackets.
///
/// # Errors
/// When it is neither a name nor an address.
pub fn server_name(host: &str) -> Result<ServerName<'static>, BadServerName> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned()).map_err(|_| BadServerName { host: host.to_owned() })
}

/// The configuration for calling edges of `region`.
pub(super) fn client(
    own: &Own,
    region: RegionId,
    names: &Arc<Regions<String>>,
    alpn: &[&[u8]],
) -> Result<ClientConfig, Error> {
    let answers = Answers {
        roots: Arc::clone(&own.roots),
        region,
        names: Arc::clone(names),
        algorithms: provider().signature_verification_algorithms,
    };
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(answers));
    let key = Arc::new(SingleCertAndKey::from(Arc::clone(&own.key)));
    let mut client = builder.with_client_cert_resolver(key);
    client.alpn_protocols = alpn.iter().map(|id| id.to_vec()).collect();
    client.resumption = Resumption::disabled();
    Ok(client)
}

/// Who may answer: the authority signed the certificate, for listening, and it speaks for the region that was called.
#[derive(Debug)]
struct Answers {
    roots: Arc<RootCertStore>,
    region: RegionId,
    names: Arc<Regions<String>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Answers {
    fn is_expected(&self, end_entity: &CertificateDer<'_>) -> Result<(), RegionFault> {
        let found = region_of(end_entity, &self.names)?;
        if found == self.region {
            return Ok(());
        }
        let (found, expected) = (self.names[found].clone(), self.names[self.region].clone());
        Err(RegionFault::Other { found, expected })
    }
}

impl ServerCertVerifier for Answers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        self.is_expected(end_entity).map_err(refused)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
