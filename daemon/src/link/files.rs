//! Certificates and keys as PEM files. Never decides whether anybody is trusted.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};

use super::fault::TlsFault;
use super::provider;

/// Most bytes read of one file; a bundle of all public authorities has a fifth of it.
const MOST_BYTES: u64 = 1 << 20;

/// Tells one state of some files from another. A file that is missing has a state, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp(Vec<Option<[u64; 5]>>);

impl Stamp {
    /// The files' state now: device, inode, length, and time of change.
    pub(super) fn of<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        let of_one = |path: &PathBuf| {
            let of = fs::metadata(path).ok()?;
            Some([of.dev(), of.ino(), of.size(), of.ctime().cast_unsigned(), of.ctime_nsec().cast_unsigned()])
        };
        Self(paths.into_iter().map(of_one).collect())
    }
}

/// A chain and its key, which belong together.
pub(super) fn certified_key(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsFault> {
    let (chain, private) = (certificates(certificate)?, private_key(key)?);
    CertifiedKey::from_der(chain, private, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsFault::KeyMismatch { certificate: certificate.to_owned(), key: key.to_owned() }
        }
        rustls::Error::InvalidCertificate(why) => unusable(certificate, &why),
        other => unusable(key, &other),
    })
}

/// The authorities in a file.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, TlsFault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| unusable(path, &error))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let bytes = read(path)?;
    let found = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| not_pem(path, &error))?;
    if found.is_empty() {
        return Err(TlsFault::NoCertificate { path: path.to_owned() });
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFault> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsFault::NoKey { path: path.to_owned() },
        other => not_pem(path, &other),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsFault> {
    let unreadable = |source| TlsFault::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    let read = file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if read as u64 > MOST_BYTES {
        return Err(TlsFault::TooLarge { path: path.to_owned(), most: MOST_BYTES });
    }
    Ok(bytes)
}

fn not_pem(path: &Path, error: &pem::Error) -> TlsFault {
    TlsFault::NotPem { path: path.to_owned(), why: error.to_string() }
}

pub(super) fn unusable(path: &Path, error: &impl ToString) -> TlsFault {
    TlsFault::Unusable { path: path.to_owned(), why: error.to_string() }
}
