//! The region that a certificate speaks for. Never checks who signed the certificate.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::decide::region::{RegionId, Regions};

const SCHEME: &str = "tidegate:";
const PREFIX: &str = "tidegate://region/";

/// A certificate does not speak for exactly one region of this configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegionFault {
    /// There is no certificate.
    #[error("no certificate was shown")]
    NoCertificate,
    /// The certificate can't be read.
    #[error("the certificate can't be read")]
    Unreadable,
    /// No name of ours.
    #[error("its SAN has no URI:tidegate://region/NAME: issue it with one")]
    None,
    /// More than one name of ours.
    #[error("its SAN has several tidegate: URIs: issue it with exactly one, URI:tidegate://region/NAME")]
    Several,
    /// A name of ours that isn't a region's.
    #[error("its SAN says {0:?}, expected URI:tidegate://region/NAME")]
    Malformed(String),
    /// A region that isn't configured here.
    #[error("its SAN names region {0:?}, which is no [[region]] here")]
    Unknown(String),
    /// A region that is configured, but is another than the one that was called.
    #[error("its SAN names region {found:?}, but region {expected:?} was called")]
    Other {
        /// The region in the certificate.
        found: String,
        /// The region that was called.
        expected: String,
    },
}

/// The region in the first certificate of a chain that a peer has shown, after its handshake is complete.
///
/// # Errors
/// When the certificate does not name exactly one region, or one that isn't in `names`.
pub fn peer_region(
    chain: Option<&[CertificateDer<'_>]>,
    names: &Regions<String>,
) -> Result<RegionId, RegionFault> {
    region_of(chain.and_then(<[_]>::first).ok_or(RegionFault::NoCertificate)?, names)
}

/// The region that one certificate speaks for.
pub(super) fn region_of(
    certificate: &CertificateDer<'_>,
    names: &Regions<String>,
) -> Result<RegionId, RegionFault> {
    let parsed = EndEntityCert::try_from(certificate).map_err(|_| RegionFault::Unreadable)?;
    region_in(parsed.valid_uri_names(), names)
}

fn region_in<'a>(
    uris: impl Iterator<Item = &'a str>,
    names: &Regions<String>,
) -> Result<RegionId, RegionFault> {
    let mut ours = uris.filter(|uri| is_ours(uri));
    let uri = ours.next().ok_or(RegionFault::None)?;
    if ours.next().is_some() {
        return Err(RegionFault::Several);
    }
    let name = uri.strip_prefix(PREFIX).filter(|name| !name.is_empty() && !name.contains('/'));
    let name = name.ok_or_else(|| RegionFault::Malformed(uri.to_owned()))?;
    let found = names.iter().find(|(_, known)| *known == name);
    found.map(|(id, _)| id).ok_or_else(|| RegionFault::Unknown(name.to_owned()))
}

/// Scheme names know no case (RFC 3986, section 3.1): a second name in capitals is a second name.
fn is_ours(uri: &str) -> bool {
    uri.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_region_that_is_known() {
        let names = Regions::new(vec!["eu-west-1".to_owned(), "us-east-1".to_owned()]).expect("few");
        let cases: [(&[&str], Result<usize, RegionFault>); 10] = [
            (&["tidegate://region/us-east-1"], Ok(1)),
            (&["https://example.com/", "tidegate://region/eu-west-1"], Ok(0)),
            (&[], Err(RegionFault::None)),
            (&["spiffe://region/eu-west-1"], Err(RegionFault::None)),
            (&["tidegate://region/eu-west-1", "tidegate://region/eu-west-1"], Err(RegionFault::Several)),
            (&["tidegate://region/eu-west-1", "TIDEGATE://region/us-east-1"], Err(RegionFault::Several)),
            (&["tidegate://region/EU-WEST-1"], Err(RegionFault::Unknown("EU-WEST-1".into()))),
            (&["tidegate://region/"], Err(RegionFault::Malformed("tidegate://region/".into()))),
            (&["tidegate://region/a/b"], Err(RegionFault::Malformed("tidegate://region/a/b".into()))),
            (&["tidegate:region/a"], Err(RegionFault::Malformed("tidegate:region/a".into()))),
        ];
        for (uris, expected) in cases {
            let found = region_in(uris.iter().copied(), &names).map(RegionId::index);
            assert_eq!(found, expected, "{uris:?}");
        }
    }
}
