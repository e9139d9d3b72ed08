//! What can be wrong with a certificate, a key or an authority, and what to do about it. Never shows a key.

use std::path::PathBuf;

use super::region::RegionFault;

/// TLS files can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// A file can't be read.
    #[error("can't read {path:?}: {source}; check the path, and that the daemon's user may read it")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is larger than any PEM file should be.
    #[error("{path:?} is larger than {most} bytes: that is no PEM certificate or key")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        most: u64,
    },
    /// A file isn't PEM, or is cut off.
    #[error("{path:?} is not whole PEM: {why}")]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        why: String,
    },
    /// No certificate in a file.
    #[error("{path:?} holds no certificate: expected a block that begins with -----BEGIN CERTIFICATE-----")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// No key in a file.
    #[error("{path:?} holds no private key: expected PKCS#8, SEC1 or PKCS#1 in PEM, without a passphrase")]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is another certificate's.
    #[error(
        "the key in {key:?} does not belong to the first certificate in {certificate:?}: install the pair that was issued together"
    )]
    KeyMismatch {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// The certificate, the key or the authority is of a kind that can't be used.
    #[error("{path:?} can't be used: {why}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the TLS library says.
        why: String,
    },
    /// The identity names no region, several, or one that isn't configured.
    #[error("{path:?} can't be this host's identity: {why}")]
    NoRegion {
        /// The chain.
        path: PathBuf,
        /// What is wrong.
        why: RegionFault,
    },
    /// The identity is another region's.
    #[error(
        "{path:?} is the identity of region {found:?}, but [host].region is {expected:?}: install this region's certificate"
    )]
    OtherRegion {
        /// The chain.
        path: PathBuf,
        /// The region in the certificate.
        found: String,
        /// The region of this host.
        expected: String,
    },
    /// A new certificate that peers would refuse does not replace one that they accept.
    #[error("{path:?} would be refused by peers: {why}")]
    Doubtful {
        /// The chain.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The system has no certificates of public authorities.
    #[error(
        "no certificates of public authorities found: install the ca-certificates package, or set SSL_CERT_FILE ({why})"
    )]
    NoRoots {
        /// What was tried.
        why: String,
    },
}
