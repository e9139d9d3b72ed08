//! Links between regions over mutual TLS, end to end: what passes, and what rogues get: certificates of thirteen kinds, another region's
//! name, replays, floods, oversized frames. Nothing of theirs is applied, and memory stays bounded.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, SanType, date_time_ymd};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use serde_json::Value;
use tidegate::decide::relay::frame::{Frame, MAX_FRAME};
use tidegate::decide::relay::item::Item;
use tidegate_tests::certs::{Authority, Pair};
use tidegate_tests::memcached::RelayRegion;
use tidegate_tests::process::{wait_for, wait_until};
use tidegate_tests::relay_map::{Identity, Map};
use tidegate_tests::scratch::Folder;

const BOUND: Duration = Duration::from_secs(60);

/// An authority and two regions over mutual TLS.
struct Land {
    folder: Folder,
    authority: Authority,
    map: Map,
}

fn land() -> Result<Land> {
    let folder = Folder::new("relay-links")?;
    let authority = Authority::new(&folder, "peers")?;
    let identity = |region: &str| -> Result<Identity> {
        let Pair { certificate, key } = authority.region(&folder, region)?;
        Ok(Identity { certificate, key, authority: authority.file.clone() })
    };
    let map = Map::new(3)?.with(vec![identity("eu")?, identity("us")?, identity("ap")?]);
    Ok(Land { folder, authority, map })
}

fn uri(region: &str) -> String {
    format!("tidegate://region/{region}")
}

/// A certificate's parameters for these URIs.
fn peer(uris: &[&str]) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(vec!["edge.example.net".to_owned()])?;
    for uri in uris {
        params.subject_alt_names.push(SanType::URI((*uri).try_into()?));
    }
    Ok(params)
}

/// A rogue or honest peer's own end: believes any server.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Sends a certificate, or none, whether its key is the right one or not.
fn config(pair: Option<&Pair>) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = CertificateDer::pem_file_iter(&pair.certificate)?.collect::<Result<Vec<_>, _>>()?;
            let key = provider.key_provider.load_private_key(PrivateKeyDer::from_pem_file(&pair.key)?)?;
            let shown = SingleCertAndKey::from(CertifiedKey::new(chain, key));
            builder.with_client_cert_resolver(Arc::new(shown))
        }
    };
    config.alpn_protocols = vec![b"tidegate-relay/1".to_vec()];
    Ok(Arc::new(config))
}

/// A TCP connection that remembers what was sent.
struct Wire {
    stream: TcpStream,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(into)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.stream.write(bytes)?;
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.len() < 1 << 20 {
            sent.extend_from_slice(&bytes[..written]);
        }
        Ok(written)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

type Tls = StreamOwned<ClientConnection, Wire>;

fn dial(to: SocketAddr, pair: Option<&Pair>) -> Result<Tls> {
    let stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    let connection = ClientConnection::new(config(pair)?, "localhost".try_into()?)?;
    Ok(StreamOwned::new(connection, Wire { stream, sent: Arc::default() }))
}

fn frames(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frames.iter().for_each(|frame| frame.write(&mut bytes));
    bytes
}

fn forget(key: &str) -> Vec<u8> {
    let mut items = Vec::new();
    Item::Forget(key.as_bytes()).write(&mut items);
    items
}

/// Says hello for a region and asks to forget `prey`; whether that was acknowledged.
fn attack(to: SocketAddr, pair: Option<&Pair>, says: &str) -> Result<bool> {
    let mut tls = dial(to, pair)?;
    let items = forget("prey");
    let said = frames(&[Frame::Hello { region: says }, Frame::Batch { number: 1, pool: "p", items: &items }]);
    if tls.write_all(&said).and_then(|()| tls.flush()).is_err() {
        return Ok(false);
    }
    Ok(acknowledged(&mut tls))
}

/// Reads until an acknowledgement or the end.
fn acknowledged(tls: &mut Tls) -> bool {
    let (mut heard, mut part) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = tls.read(&mut part) {
        heard.extend_from_slice(&part[..read]);
        while let Ok(Some((frame, size))) = Frame::read(&heard) {
            match frame {
                Frame::Ack { .. } => return true,
                Frame::Refused { .. } => return false,
                _ => drop(heard.drain(..size)),
            }
        }
    }
    false
}

fn report(region: &RelayRegion) -> Result<Value> {
    Ok(serde_json::from_str(&region.report()?)?)
}

/// What peers had applied here, and whether the copy that rogues are after is there.
fn untouched(region: &RelayRegion) -> Result<()> {
    let applied = report(region)?["pools"][0]["applied_here"].clone();
    ensure!(applied == 0, "{applied} items of a rogue were applied");
    ensure!(region.servers[0].client()?.get("prey")?.is_some(), "the copy is gone");
    Ok(())
}

#[test]
fn a_write_crosses_by_mutual_tls() -> Result<()> {
    let land = land()?;
    let regions =
        [land.map.start(0, "", "repeat_after = \"0s\"")?, land.map.start(1, "", "repeat_after = \"0s\"")?];
    for (from, to) in [(0, 1), (1, 0)] {
        let (mut writer, mut copies) = (regions[from].client()?, regions[to].servers[0].client()?);
        copies.set("k", "old")?;
        writer.set("k", "new")?;
        wait_until("the copy gone", BOUND, || matches!(copies.get("k"), Ok(None)))?;
    }
    let links = report(&regions[0])?["links"].clone();
    let edges: Vec<&str> =
        links.as_array().context("links")?.iter().filter_map(|link| link["edge"].as_str()).collect();
    ensure!(edges.iter().any(|edge| edge.starts_with("https://")), "{links}");
    Ok(())
}

/// Thirteen ways not to be a peer; the fourteenth is one.
#[test]
fn only_the_right_certificate_is_believed() -> Result<()> {
    let land = land()?;
    let eu = land.map.start(0, "", "repeat_after = \"0s\"")?;
    let to = land.map.peer(0);
    eu.servers[0].client()?.set("prey", "fresh")?;
    let (us, other) = (uri("us"), Authority::new(&land.folder, "other")?);
    let issue = |name: &str, params: CertificateParams| land.authority.issue(&land.folder, name, params);
    let past = |mut params: CertificateParams| {
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
        params
    };
    let future = |mut params: CertificateParams| {
        (params.not_before, params.not_after) = (date_time_ymd(2101, 1, 1), date_time_ymd(2102, 1, 1));
        params
    };
    let usage = |mut params: CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params
    };
    let right = issue("right", peer(&[&us])?)?;
    let own_key = KeyPair::generate()?;
    let self_signed = Pair {
        certificate: land.folder.write("self.pem", &peer(&[&us])?.self_signed(&own_key)?.pem())?,
        key: land.folder.write("self.key", &own_key.serialize_pem())?,
    };
    let stolen = Pair { certificate: right.certificate.clone(), key: self_signed.key.clone() };
    let cases: Vec<(&str, Option<Pair>)> = vec![
        ("no certificate", None),
        ("expired", Some(issue("expired", past(peer(&[&us])?))?)),
        ("not yet valid", Some(issue("early", future(peer(&[&us])?))?)),
        ("another authority's", Some(other.issue(&land.folder, "foreign", peer(&[&us])?)?)),
        ("self-signed", Some(self_signed)),
        ("a public one without its key", Some(stolen)),
        ("no region", Some(issue("none", peer(&[])?)?)),
        ("two regions", Some(issue("two", peer(&[&us, &uri("ap")])?)?)),
        ("a region that is not configured", Some(issue("mars", peer(&[&uri("mars")])?)?)),
        ("another region's", Some(issue("ap2", peer(&[&uri("ap")])?)?)),
        ("this region's own", Some(issue("eu2", peer(&[&uri("eu")])?)?)),
        ("for servers only", Some(issue("usage", usage(peer(&[&us])?))?)),
        ("another scheme", Some(issue("scheme", peer(&["spiffe://region/us"])?)?)),
    ];
    let count = cases.len();
    for (name, pair) in cases {
        ensure!(!attack(to, pair.as_ref(), "us")?, "accepted: {name}");
        untouched(&eu).with_context(|| name.to_owned())?;
    }
    println!("{count} certificate cases: 0 accepted");
    // A peer speaks for the region in its certificate, and for no other.
    for says in ["ap", "eu", "mars", ""] {
        ensure!(!attack(to, Some(&right), says)?, "accepted as {says:?}");
        untouched(&eu)?;
    }
    ensure!(attack(to, Some(&right), "us")?, "the right one is refused: the test proves nothing");
    ensure!(eu.servers[0].client()?.get("prey")?.is_none(), "it was applied");
    Ok(())
}

/// An edge that is not the region's gets nothing, whoever signed it.
#[test]
fn an_impostor_gets_nothing_to_read() -> Result<()> {
    let land = land()?;
    // `ap` stands where `us` is expected: its certificate is good, for another region.
    let us = land.map.start(1, "", "repeat_after = \"0s\"")?;
    let mut eu = land.map.start(0, "", "repeat_after = \"0s\"")?;
    eu.client()?.set("k", "new")?;
    wait_until("the true edge applies it", BOUND, || {
        report(&us).is_ok_and(|report| report["pools"][0]["applied_here"] == 1)
    })?;
    drop(us);
    let ap = land.authority.region(&land.folder, "ap")?;
    let impostor = impostor(land.map.peer(1), &ap)?;
    eu.client()?.set("secret", "new")?;
    wait_until("the fault told", BOUND, || {
        let links = report(&eu).map(|report| report["links"].to_string()).unwrap_or_default();
        links.contains("\\\"ap\\\"") || links.contains("region") && links.contains("certificate")
    })
    .with_context(|| eu.report().unwrap_or_default())?;
    let heard = impostor.lock().unwrap_or_else(PoisonError::into_inner).clone();
    ensure!(heard.is_empty(), "the impostor read {} bytes", heard.len());
    eu.daemon.stop()
}

/// Accepts TLS with a certificate and keeps what it is told.
fn impostor(at: SocketAddr, pair: &Pair) -> Result<Arc<Mutex<Vec<u8>>>> {
    let chain = CertificateDer::pem_file_iter(&pair.certificate)?.collect::<Result<Vec<_>, _>>()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&pair.key)?)?;
    config.alpn_protocols = vec![b"tidegate-relay/1".to_vec()];
    let (config, heard) = (Arc::new(config), Arc::new(Mutex::new(Vec::new())));
    let listener = wait_for("the edge's port", BOUND, || std::net::TcpListener::bind(at).ok())?;
    let of_thread = Arc::clone(&heard);
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let _slow = stream.set_read_timeout(Some(Duration::from_secs(1)));
            let Ok(connection) = rustls::ServerConnection::new(Arc::clone(&config)) else { return };
            let mut tls = StreamOwned::new(connection, stream);
            let mut part = [0; 1024];
            while let Ok(read @ 1..) = tls.read(&mut part) {
                of_thread.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&part[..read]);
            }
        }
    });
    Ok(heard)
}

/// A session's bytes, sent again as they were, open nothing.
#[test]
fn a_replayed_session_is_refused() -> Result<()> {
    let land = land()?;
    let eu = land.map.start(0, "", "repeat_after = \"0s\"")?;
    let right = land.authority.issue(&land.folder, "right", peer(&[&uri("us")])?)?;
    let mut tls = dial(land.map.peer(0), Some(&right))?;
    let items = forget("prey");
    tls.write_all(&frames(&[
        Frame::Hello { region: "us" },
        Frame::Batch { number: 1, pool: "p", items: &items },
    ]))?;
    tls.flush()?;
    ensure!(acknowledged(&mut tls), "the session itself");
    let recorded = tls.sock.sent.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let applied = report(&eu)?["pools"][0]["applied_here"].clone();
    eu.servers[0].client()?.set("prey", "fresh")?;
    for _ in 0..20 {
        let mut stream = TcpStream::connect(land.map.peer(0))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let _refused = stream.write_all(&recorded);
        let mut heard = [0; 4096];
        loop {
            match stream.read(&mut heard) {
                Ok(0) => break,
                Err(error) if error.kind() != ErrorKind::Interrupted => break,
                _ => {}
            }
        }
    }
    ensure!(report(&eu)?["pools"][0]["applied_here"] == applied, "a replay was applied");
    ensure!(eu.servers[0].client()?.get("prey")?.is_some(), "the copy is gone");
    // An honest peer's batch that comes again, as after a broken link, only forgets again.
    for _ in 0..100 {
        ensure!(attack(land.map.peer(0), Some(&right), "us")?, "a batch again");
    }
    Ok(())
}

fn resident_kib(region: &RelayRegion) -> Result<u64> {
    let id = region.daemon.id().context("the daemon runs")?;
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    line.split_whitespace().next().context("a number")?.parse().context("a number")
}

/// Writes until the time is over, or nothing more is taken, or the other end hangs up; never reads. How many bytes.
fn pour(tls: &mut Tls, piece: &mut impl FnMut() -> Vec<u8>, time: Duration) -> u64 {
    let (until, mut poured) = (Instant::now() + time, 0);
    while Instant::now() < until {
        let bytes = piece();
        if tls.write_all(&bytes).and_then(|()| tls.flush()).is_err() {
            break;
        }
        poured += bytes.len() as u64;
    }
    poured
}

#[test]
fn floods_and_oversized_frames_cost_little_and_block_nobody() -> Result<()> {
    let land = land()?;
    let (eu, us) = (land.map.start(0, "", "")?, land.map.start(1, "", "")?);
    let to = land.map.peer(0);
    let right = land.authority.issue(&land.folder, "right", peer(&[&uri("us")])?)?;
    let hello = frames(&[Frame::Hello { region: "us" }]);
    let before = resident_kib(&eu)?;
    let time = Duration::from_secs(2);
    // Oversized, cut off and senseless frames end the link, and items that are none are refused.
    let oversized = u32::try_from(MAX_FRAME + 1)?.to_le_bytes().to_vec();
    let broken = frames(&[Frame::Batch { number: 1, pool: "p", items: b"\x09nonsense" }]);
    for bytes in [oversized, broken, vec![0xff; 64], frames(&[Frame::Pong])] {
        let mut tls = dial(to, Some(&right))?;
        tls.write_all(&[hello.clone(), bytes].concat())?;
        tls.flush()?;
        ensure!(!acknowledged(&mut tls), "taken");
    }
    untouched_by_floods(&eu)?;
    // Pings, batches of one key, and the largest frames, from one who never reads.
    let mut number = 0;
    let mut tiny = || {
        (0..200)
            .flat_map(|_| {
                number += 1;
                let items = forget(&format!("flood-{number}"));
                frames(&[Frame::Batch { number, pool: "p", items: &items }])
            })
            .collect::<Vec<u8>>()
    };
    let large = vec![0u8; MAX_FRAME];
    let largest = [u32::try_from(MAX_FRAME)?.to_le_bytes().as_slice(), &[1], b"tgr3", &large[5..]].concat();
    let mut poured = Vec::new();
    for kind in ["pings", "one key each", "largest hellos"] {
        let mut tls = dial(to, Some(&right))?;
        if kind != "largest hellos" {
            tls.write_all(&hello)?;
        }
        poured.push((
            kind,
            match kind {
                "pings" => pour(&mut tls, &mut || frames(&[Frame::Ping]).repeat(400), time),
                "one key each" => pour(&mut tls, &mut tiny, time),
                _ => pour(&mut tls, &mut || largest.clone(), time),
            },
        ));
    }
    // More links than there may be, and none says hello.
    let idle = (0..80)
        .map(|_| {
            dial(to, Some(&right)).and_then(|mut tls| {
                Ok({
                    tls.flush()?;
                    tls
                })
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let after = resident_kib(&eu)?;
    drop(idle);
    println!("flooded with {poured:?} bytes: resident {before} KiB before, {after} KiB after");
    ensure!(after < before + 256 * 1024, "resident {before} KiB before, {after} KiB after");
    // The honest link goes on.
    let (mut writer, mut copies) = (us.client()?, eu.servers[0].client()?);
    copies.set("k", "old")?;
    writer.set("k", "new")?;
    wait_until("the copy gone", BOUND, || matches!(copies.get("k"), Ok(None)))
}

fn untouched_by_floods(region: &RelayRegion) -> Result<()> {
    let applied = report(region)?["pools"][0]["applied_here"].clone();
    ensure!(applied == 0, "{applied} items were applied");
    Ok(())
}

/// Whoever's authority was replaced is refused from the reload on.
#[test]
fn a_replaced_authority_revokes_the_old_certificates() -> Result<()> {
    let land = land()?;
    let eu = land.map.start(0, "", "repeat_after = \"0s\"")?;
    let (to, us) = (land.map.peer(0), uri("us"));
    let old = land.authority.issue(&land.folder, "old", peer(&[&us])?)?;
    ensure!(attack(to, Some(&old), "us")?, "the old one, before");
    let next = Authority::new(&land.folder, "next")?;
    let new = next.issue(&land.folder, "new", peer(&[&us])?)?;
    let own = next.region(&land.folder, "eu")?;
    ensure!(!attack(to, Some(&new), "us")?, "the new one, before");
    std::fs::copy(&next.file, &land.authority.file)?;
    // `region` wrote over the files that the daemon was given.
    ensure!(own.certificate.ends_with("eu.pem"), "{own:?}");
    eu.daemon.tell(&["reload"])?;
    wait_until("the new one believed", BOUND, || attack(to, Some(&new), "us").unwrap_or(false))?;
    ensure!(!attack(to, Some(&old), "us")?, "the old one, after");
    Ok(())
}
