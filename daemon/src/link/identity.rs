//! This host's own certificate towards other regions, and who signs theirs. Never talks to a peer.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::UnixTime;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use super::files::{self, unusable};
use super::region::region_of;
use super::{TlsFault, provider};
use crate::config::types::Identity;
use crate::decide::region::{RegionId, Regions};

/// The identity is whole, but peers will refuse it as things stand: expired, not yet valid, not signed by the authority, for one end
/// of a connection only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt(pub String);

/// `[identity]`, read.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) doubt: Option<Doubt>,
}

impl Own {
    /// Reads the files; the certificate must speak for region `own`.
    pub(super) fn load(
        identity: &Identity,
        own: RegionId,
        names: &Regions<String>,
        now: UnixTime,
    ) -> Result<Self, TlsFault> {
        let key = files::certified_key(&identity.certificate, &identity.key)?;
        let roots = Arc::new(files::roots(&identity.authority)?);
        let path = || identity.certificate.clone();
        let shown = key.end_entity_cert().map_err(|error| unusable(&path(), &error))?;
        let region = region_of(shown, names).map_err(|why| TlsFault::NoRegion { path: path(), why })?;
        if region != own {
            let (found, expected) = (names[region].clone(), names[own].clone());
            return Err(TlsFault::OtherRegion { path: path(), found, expected });
        }
        let doubt = doubt(&key, &roots, now);
        Ok(Self { key: Arc::new(key), roots, doubt })
    }
}

/// Judges our own certificate as a peer will: at the listening and at the calling end.
fn doubt(key: &CertifiedKey, roots: &Arc<RootCertStore>, now: UnixTime) -> Option<Doubt> {
    let found = as_listener(key, roots, now).and_then(|()| as_caller(key, roots, now));
    found.err().map(|error| Doubt(plainly(&error)))
}

fn plainly(error: &rustls::Error) -> String {
    use rustls::CertificateError::{BadSignature, InvalidPurposeContext, UnknownIssuer};
    match error {
        rustls::Error::InvalidCertificate(UnknownIssuer | BadSignature) => {
            "[identity].authority did not sign it, or an intermediate authority is missing from the chain"
                .to_owned()
        }
        rustls::Error::InvalidCertificate(InvalidPurposeContext { .. }) => {
            "its extended key usage lacks serverAuth or clientAuth: links need both".to_owned()
        }
        other => other.to_string(),
    }
}

fn as_listener(key: &CertifiedKey, roots: &RootCertStore, now: UnixTime) -> Result<(), rustls::Error> {
    let parsed = ParsedCertificate::try_from(key.end_entity_cert()?)?;
    let algorithms = provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, roots, &key.cert[1..], now, algorithms)
}

fn as_caller(key: &CertifiedKey, roots: &Arc<RootCertStore>, now: UnixTime) -> Result<(), rustls::Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider());
    let verifier = verifier.build().map_err(|error| rustls::Error::General(error.to_string()))?;
    verifier.verify_client_cert(key.end_entity_cert()?, &key.cert[1..], now).map(drop)
}
