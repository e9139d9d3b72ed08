//! Certificates made on the spot: an authority, servers, regions' identities. Never valid outside the test's scratch folder.

use std::path::PathBuf;

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};

use crate::scratch::Folder;

/// Signs certificates; its own is in `ca.pem`.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub file: PathBuf,
}

/// Files of a certificate and its key.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Authority {
    /// A new authority, its certificate in `NAME.ca.pem`.
    ///
    /// # Errors
    /// When files can't be written.
    pub fn new(folder: &Folder, name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, format!("authority {name}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        let file = folder.write(&format!("{name}.ca.pem"), &pem)?;
        Ok(Self { issuer: Issuer::new(params, key), file })
    }

    /// A certificate for a host name.
    ///
    /// # Errors
    /// When files can't be written.
    pub fn server(&self, folder: &Folder, host: &str) -> Result<Pair> {
        self.issue(folder, host, CertificateParams::new(vec![host.to_owned()])?)
    }

    /// A region's identity.
    ///
    /// # Errors
    /// When files can't be written.
    pub fn region(&self, folder: &Folder, region: &str) -> Result<Pair> {
        let mut params = CertificateParams::new(vec![format!("edge.{region}.example.net")])?;
        let uri = format!("tidegate://region/{region}");
        params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        self.issue(folder, region, params)
    }

    /// A certificate of any kind, in `NAME.pem` with its key in `NAME.key`.
    ///
    /// # Errors
    /// When files can't be written.
    pub fn issue(&self, folder: &Folder, name: &str, mut params: CertificateParams) -> Result<Pair> {
        // Another name than the authority's: OpenSSL takes a certificate whose subject is its issuer for self-signed.
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate()?;
        let chain = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair {
            certificate: folder.write(&format!("{name}.pem"), &chain)?,
            key: folder.write(&format!("{name}.key"), &key.serialize_pem())?,
        })
    }
}
