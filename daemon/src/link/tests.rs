//! The certificate cases: what must be refused is refused, at both ends, in a whole handshake in memory.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use super::*;
use crate::config::types::{Identity, Tls};
use crate::decide::region::{RegionId, Regions};

const EU: &str = "tidegate://region/eu-west-1";
const US: &str = "tidegate://region/us-east-1";

/// A folder that is gone when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-link-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("temporary folder");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        let new = self.0.join(format!("{name}.new"));
        fs::write(&new, text).expect("temporary file");
        fs::rename(&new, &path).expect("temporary file");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn key() -> KeyPair {
    KeyPair::generate().expect("key")
}

fn authority() -> Authority {
    let (params, key) = (authority_params(), key());
    let pem = params.self_signed(&key).expect("authority").pem();
    Authority { issuer: Issuer::new(params, key), pem }
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// A certificate's parameters: valid now, for both ends, for the given URIs.
fn peer(uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["edge.example.net".to_owned()]).expect("parameters");
    for uri in uris {
        params.subject_alt_names.push(SanType::URI((*uri).try_into().expect("ASCII")));
    }
    params
}

/// Chain and key in PEM.
#[derive(Clone)]
struct Pair {
    chain: String,
    key: String,
}

fn issue(params: &CertificateParams, by: &Authority) -> Pair {
    let key = key();
    let chain = params.signed_by(&key, &by.issuer).expect("certificate").pem();
    Pair { chain, key: key.serialize_pem() }
}

/// What a stranger shows: no check of its own.
fn shown(pair: &Pair) -> Arc<CertifiedKey> {
    use rustls::pki_types::pem::PemObject;
    let chain =
        CertificateDer::pem_slice_iter(pair.chain.as_bytes()).collect::<Result<_, _>>().expect("chain");
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("key");
    let key = provider().key_provider.load_private_key(key).expect("key");
    Arc::new(CertifiedKey::new(chain, key))
}

fn names() -> Arc<Regions<String>> {
    let names = ["eu-west-1", "us-east-1", "ap-south-1"].map(str::to_owned);
    Arc::new(Regions::new(names.into()).expect("few"))
}

fn region(index: usize) -> RegionId {
    RegionId::new(index).expect("small")
}

fn identity(folder: &Folder, name: &str, pair: &Pair, authority: &str) -> Identity {
    Identity {
        certificate: folder.write(&format!("{name}.pem"), &pair.chain),
        key: folder.write(&format!("{name}.key"), &pair.key),
        authority: folder.write(&format!("{name}.ca"), authority),
    }
}

/// A whole handshake in memory; then one byte each way, so that both ends have judged each other.
fn handshake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let name = server_name("edge.example.net").expect("name");
    let mut client = ClientConnection::new(Arc::clone(client), name)?;
    let mut server = ServerConnection::new(Arc::clone(server))?;
    client.writer().write_all(b"?").expect("buffer");
    server.writer().write_all(b"!").expect("buffer");
    for _ in 0..8 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
        }
        feed(&wire, |bytes| server.read_tls(bytes))?;
        server.process_new_packets()?;
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("memory");
        }
        feed(&wire, |bytes| client.read_tls(bytes))?;
        client.process_new_packets()?;
    }
    let (mut asked, mut answered) = ([0], [0]);
    server.reader().read_exact(&mut asked).map_err(|error| rustls::Error::General(error.to_string()))?;
    client.reader().read_exact(&mut answered).map_err(|error| rustls::Error::General(error.to_string()))?;
    Ok((client, server))
}

fn feed(
    mut wire: &[u8],
    mut read: impl FnMut(&mut &[u8]) -> std::io::Result<usize>,
) -> Result<(), rustls::Error> {
    while !wire.is_empty() {
        read(&mut wire).map_err(|error| rustls::Error::General(error.to_string()))?;
    }
    Ok(())
}

/// One end of a link that trusts `authority`, in region 0.
fn host(folder: &Folder, authority: &Authority) -> PeerTls {
    let identity = identity(folder, "host", &issue(&peer(&[EU]), authority), &authority.pem);
    PeerTls::new(identity, region(0), names()).expect("identity")
}

/// A stranger that calls, and trusts anybody.
fn caller(pair: &Pair, authority: &Authority, folder: &Folder) -> Arc<ClientConfig> {
    let good = identity(folder, "caller", &issue(&peer(&[US]), authority), &authority.pem);
    let good = PeerTls::new(good, region(1), names()).expect("identity");
    let mut config = (*good.client(region(0), Purpose::Isthmus).expect("region")).clone();
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(shown(pair)));
    Arc::new(config)
}

/// A stranger that listens, and lets anybody in.
fn listener(pair: &Pair) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let key = Arc::new(SingleCertAndKey::from(shown(pair)));
    let mut config = builder.expect("versions").with_no_client_auth().with_cert_resolver(key);
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    Arc::new(config)
}

/// The cases: name, what is shown, whether it is good as a caller, and as a listener of region us-east-1.
fn cases(good: &Authority) -> Vec<(&'static str, Pair, bool, bool)> {
    let of = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = peer(&[US]);
        change(&mut params);
        issue(&params, good)
    };
    let with = |uris: &[&str]| issue(&peer(uris), good);
    let lone = key();
    let self_signed = peer(&[US]).self_signed(&lone).expect("certificate").pem();
    let (whole, truncated) = chain_of_three(good);
    let swapped = Pair { key: key().serialize_pem(), ..with(&[US]) };
    vec![
        ("good", with(&[US]), true, true),
        ("good, through an intermediate authority", whole, true, true),
        ("expired", of(&|params| params.not_after = rcgen::date_time_ymd(2001, 1, 1)), false, false),
        ("not yet valid", of(&|params| params.not_before = rcgen::date_time_ymd(2999, 1, 1)), false, false),
        ("another authority", issue(&peer(&[US]), &authority()), false, false),
        ("self-signed", Pair { chain: self_signed, key: lone.serialize_pem() }, false, false),
        ("no region", with(&[]), false, false),
        ("two regions", with(&[US, EU]), false, false),
        ("unknown region", with(&["tidegate://region/mars-1"]), false, false),
        ("another region than was called", with(&["tidegate://region/ap-south-1"]), true, false),
        (
            "for calling only",
            of(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
            true,
            false,
        ),
        (
            "for listening only",
            of(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            false,
            true,
        ),
        ("another certificate's key", swapped, false, false),
        ("without its intermediate authority", truncated, false, false),
    ]
}

/// A certificate of an intermediate authority, with and without that authority's own certificate.
fn chain_of_three(root: &Authority) -> (Pair, Pair) {
    let (params, middle) = (authority_params(), key());
    let middle_pem = params.signed_by(&middle, &root.issuer).expect("authority").pem();
    let middle = Authority { issuer: Issuer::new(params, middle), pem: middle_pem };
    let leaf = issue(&peer(&[US]), &middle);
    (Pair { chain: format!("{}{}", leaf.chain, middle.pem), ..leaf.clone() }, leaf)
}

#[test]
fn a_peer_listener_lets_in_who_it_should_and_nobody_else() {
    let (folder, authority) = (Folder::new("callers"), authority());
    let host = host(&folder, &authority);
    for (name, pair, good, _) in cases(&authority) {
        let result = handshake(&caller(&pair, &authority, &folder), &host.server());
        assert_eq!(result.is_ok(), good, "{name}: {:?}", result.map(drop));
    }
}

#[test]
fn a_caller_believes_who_it_should_and_nobody_else() {
    let (folder, authority) = (Folder::new("listeners"), authority());
    let host = host(&folder, &authority);
    for (name, pair, _, good) in cases(&authority) {
        let client = host.client(region(1), Purpose::Isthmus).expect("region");
        let result = handshake(&client, &listener(&pair));
        assert_eq!(result.is_ok(), good, "{name}: {:?}", result.map(drop));
    }
}

#[test]
fn who_shows_no_certificate_is_refused() {
    let (folder, authority) = (Folder::new("nobody"), authority());
    let host = host(&folder, &authority);
    let mut config = (*caller(&issue(&peer(&[US]), &authority), &authority, &folder)).clone();
    config.client_auth_cert_resolver = Arc::new(Nothing);
    assert!(handshake(&Arc::new(config), &host.server()).is_err());

    #[derive(Debug)]
    struct Nothing;
    impl rustls::client::ResolvesClientCert for Nothing {
        fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            None
        }
        fn has_certs(&self) -> bool {
            false
        }
    }
}

#[test]
fn the_protocol_and_the_peers_region_are_known_after_the_handshake() {
    let (folder, authority) = (Folder::new("alpn"), authority());
    let host = host(&folder, &authority);
    let other = identity(&folder, "us", &issue(&peer(&[US]), &authority), &authority.pem);
    let other = PeerTls::new(other, region(1), names()).expect("identity");
    assert_eq!((host.doubt(), other.doubt()), (None, None));
    for (purpose, alpn) in [(Purpose::Isthmus, ALPN_H2), (Purpose::Relay, ALPN_RELAY)] {
        let client = other.client(region(0), purpose).expect("region");
        let (client, server) = handshake(&client, &host.server()).expect("good");
        assert_eq!((client.alpn_protocol(), server.alpn_protocol()), (Some(alpn), Some(alpn)));
        assert_eq!(peer_region(server.peer_certificates(), host.names()), Ok(region(1)));
        assert_eq!(peer_region(client.peer_certificates(), other.names()), Ok(region(0)));
    }
    assert!(other.client(region(3), Purpose::Relay).is_none());
}

#[test]
fn a_faulty_identity_says_what_to_do() {
    let (folder, stranger, authority) = (Folder::new("faults"), authority(), authority());
    let load = |pair: &Pair, authority: &str| {
        let identity = identity(&folder, "own", pair, authority);
        PeerTls::new(identity, region(0), names()).map(|own| own.doubt())
    };
    let own = issue(&peer(&[EU]), &authority);
    let fault = |pair: &Pair, with: &str| load(pair, with).expect_err("faulty").to_string();
    assert_eq!(load(&own, &authority.pem).expect("good"), None);
    assert!(
        fault(&issue(&peer(&[US]), &authority), &authority.pem).contains("[host].region is \"eu-west-1\"")
    );
    assert!(fault(&issue(&peer(&[]), &authority), &authority.pem).contains("URI:tidegate://region/NAME"));
    assert!(
        fault(&Pair { key: key().serialize_pem(), ..own.clone() }, &authority.pem)
            .contains("does not belong")
    );
    assert!(fault(&Pair { key: String::new(), ..own.clone() }, &authority.pem).contains("no private key"));
    assert!(
        fault(&Pair { chain: own.key.clone(), ..own.clone() }, &authority.pem).contains("no certificate")
    );
    let cut = own.chain[..own.chain.len() / 2].to_owned();
    assert!(fault(&Pair { chain: cut, ..own.clone() }, &authority.pem).contains("not whole PEM"));
    assert!(fault(&own, "nothing").contains("no certificate"));
    let stranger = load(&own, &stranger.pem).expect("whole");
    assert!(stranger.is_some_and(|doubt| doubt.0.contains("did not sign it")));
    let mut expired = peer(&[EU]);
    expired.not_after = rcgen::date_time_ymd(2001, 1, 1);
    assert!(load(&issue(&expired, &authority), &authority.pem).expect("whole").is_some());
}

fn tls(folder: &Folder, pair: &Pair) -> Tls {
    Tls { certificate: folder.write("public.pem", &pair.chain), key: folder.write("public.key", &pair.key) }
}

/// The first certificate in a file.
fn first(path: &Path) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_file(path).expect("certificate")
}

fn visitor(authority: &Authority, folder: &Folder) -> Arc<ClientConfig> {
    let roots = files::roots(&folder.write("roots.pem", &authority.pem)).expect("roots");
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
    Arc::new(config)
}

#[test]
fn a_public_certificate_is_renewed_for_new_connections_and_faulty_files_change_nothing() {
    let (folder, authority) = (Folder::new("public"), authority());
    let files = tls(&folder, &issue(&peer(&[]), &authority));
    let public = PublicTls::load(&files).expect("good");
    let seen = || {
        let (client, _) = handshake(&visitor(&authority, &folder), &public.server()).expect("good");
        assert_eq!(client.alpn_protocol(), Some(ALPN_H2));
        client.peer_certificates().expect("certificate")[0].clone().into_owned()
    };
    let old = first(&files.certificate);
    let (mut open, mut served) = handshake(&visitor(&authority, &folder), &public.server()).expect("good");
    assert!(matches!(public.refresh(), Refreshed::Unchanged));
    assert_eq!(seen(), old);

    // A chain whose key comes later: settles, is faulty once, and changes nothing.
    let next = issue(&peer(&[]), &authority);
    folder.write("public.pem", &next.chain);
    assert!(matches!(public.refresh(), Refreshed::Unchanged), "has not stood still yet");
    assert!(matches!(public.refresh(), Refreshed::Kept(TlsFault::KeyMismatch { .. })));
    assert!(matches!(public.refresh(), Refreshed::Unchanged), "told once");
    assert_eq!(seen(), old);

    folder.write("public.key", &next.key);
    assert!(matches!(public.refresh(), Refreshed::Unchanged));
    assert!(matches!(public.refresh(), Refreshed::Renewed));
    assert_eq!(seen(), first(&files.certificate));
    assert_ne!(seen(), old);

    // What was open before goes on.
    open.writer().write_all(b"still here").expect("buffer");
    let mut wire = Vec::new();
    open.write_tls(&mut wire).expect("memory");
    feed(&wire, |bytes| served.read_tls(bytes)).expect("whole");
    served.process_new_packets().expect("same session");
    let mut said = [0; 10];
    served.reader().read_exact(&mut said).expect("whole");
    assert_eq!(&said, b"still here");
}

#[test]
fn an_identity_that_peers_would_refuse_does_not_replace_a_good_one() {
    let (folder, authority) = (Folder::new("doubt"), authority());
    let host = host(&folder, &authority);
    let before = first(&host_files(&folder).certificate);
    let mut expired = peer(&[EU]);
    expired.not_after = rcgen::date_time_ymd(2001, 1, 1);
    identity(&folder, "host", &issue(&expired, &authority), &authority.pem);
    assert!(matches!(host.refresh(), Refreshed::Unchanged));
    assert!(matches!(host.refresh(), Refreshed::Kept(TlsFault::Doubtful { .. })));
    let good = caller(&issue(&peer(&[US]), &authority), &authority, &folder);
    let (client, _) = handshake(&good, &host.server()).expect("the old one");
    assert_eq!(client.peer_certificates().expect("certificate")[0], before);

    identity(&folder, "host", &issue(&peer(&[EU]), &authority), &authority.pem);
    assert!(matches!(host.refresh(), Refreshed::Unchanged));
    assert!(matches!(host.refresh(), Refreshed::Renewed));
    let (client, _) = handshake(&good, &host.server()).expect("the new one");
    assert_ne!(client.peer_certificates().expect("certificate")[0], before);
}

fn host_files(folder: &Folder) -> Identity {
    let at = |name: &str| folder.0.join(name);
    Identity { certificate: at("host.pem"), key: at("host.key"), authority: at("host.ca") }
}

#[test]
fn a_host_is_greeted_by_name_or_address() {
    for host in ["edge.example.net", "192.0.2.1", "[2001:db8::1]", "2001:db8::1"] {
        assert!(server_name(host).is_ok(), "{host}");
    }
    assert!(server_name("not a name").is_err());
}
