//! Both ends of a connection's life: who stops on the way in is let go and counted, and who closes its end behind a request is still answered.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};
use tidegate::decide::report::proxy::Rejected;
use tidegate_tests::certs::Authority;
use tidegate_tests::edges::Edge;
use tidegate_tests::frames::ear::Heard;
use tidegate_tests::frames::{HEADERS, SETTINGS, WHOLE, frame, get as get_h2};
use tidegate_tests::process::wait_until;
use tidegate_tests::raw::Connection;
use tidegate_tests::recorder::Origin;
use tidegate_tests::scratch::Folder;

const EU: &str = "127.1.0.1";
const HOST: &str = "www.example.com";
const BOUND: Duration = Duration::from_secs(60);
/// The beginning of every HTTP/2 connection (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `response_timeout` in the tests, in milliseconds: far longer than anything that they wait for.
const LATE_MS: u64 = 3_600_000;

/// An edge with a listener of each kind: `plain`, `tls`, and `behind` (`proxy_protocol = "require"`).
struct Doors {
    edge: Edge,
    origin: Origin,
    authority: Authority,
    _folder: Folder,
}

impl Doors {
    fn open(limits: &str) -> Result<Self> {
        let folder = Folder::new("edge-ends")?;
        let authority = Authority::new(&folder, "web")?;
        let pair = authority.server(&folder, HOST)?;
        let origin = Origin::start("eu", "127.0.0.1:0")?;
        let mut text = format!(
            "[host]\nregion = \"eu\"\nworkers = 1\n[[region]]\nname = \"eu\"\n[geo]\ndefault_region = \"eu\"\n[xdp]\ninterfaces = []\n\
             [[upstream]]\nname = \"origin\"\nendpoints = [\"http://{}\"]\nresponse_timeout = \"{LATE_MS}ms\"\n",
            origin.address()
        );
        let tls = format!(
            "tls = {{ certificate = {:?}, key = {:?} }}",
            pair.certificate.display().to_string(),
            pair.key.display().to_string()
        );
        for (name, more) in [("plain", ""), ("tls", &tls), ("behind", "proxy_protocol = \"require\"")] {
            text += &format!(
                "[[listener]]\nname = {name:?}\naddress = \"127.0.0.1:0\"\nupstream = \"origin\"\n{limits}\n{more}\n"
            );
        }
        Ok(Self { edge: Edge::start(&text)?, origin, authority, _folder: folder })
    }

    fn address(&self, name: &str) -> Result<SocketAddr> {
        self.edge.address(name)
    }

    fn rejected(&self, why: Rejected) -> u64 {
        self.edge.proxy.report().rejected[why.index()]
    }

    /// A TLS client of the listener `tls`.
    fn client(&self, protocol: &[u8]) -> Result<(ClientConnection, TcpStream)> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&self.authority.file)? {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let tcp = TcpStream::connect(self.address("tls")?)?;
        tcp.set_read_timeout(Some(BOUND))?;
        Ok((ClientConnection::new(Arc::new(config), ServerName::try_from(HOST)?)?, tcp))
    }
}

/// The first record of a TLS handshake, and what of it is sent.
fn half_a_hello(doors: &Doors) -> Result<Vec<u8>> {
    let (mut session, _) = doors.client(b"http/1.1")?;
    let mut hello = Vec::new();
    session.write_tls(&mut hello)?;
    hello.truncate(hello.len() / 2);
    Ok(hello)
}

#[test]
fn who_stops_on_the_way_in_is_let_go_and_counted() -> Result<()> {
    // Only `header_timeout` is short: whoever is let go by another limit is not within this test's time.
    let limits = "limits = { header_timeout = \"1s\", idle_timeout = \"1h\", body_idle_timeout = \"1h\" }";
    let doors = Doors::open(limits)?;
    let hello = half_a_hello(&doors)?;
    let settings = frame(SETTINGS, 0, 0, &[]);
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33";
    let rows: &[(&str, &str, Vec<u8>)] = &[
        ("nothing", "plain", Vec::new()),
        ("one byte of a preface", "plain", b"P".to_vec()),
        ("half a preface's line", "plain", b"PRI * HT".to_vec()),
        ("a preface's line", "plain", b"PRI * HTTP/2.0\r\n".to_vec()),
        ("a preface", "plain", PREFACE.to_vec()),
        ("a preface and half a frame's head", "plain", [PREFACE, &settings[..5]].concat()),
        ("nothing", "tls", Vec::new()),
        ("one byte of a handshake", "tls", hello[..1].to_vec()),
        ("half a handshake", "tls", hello),
        ("nothing", "behind", Vec::new()),
        ("half a line", "behind", b"PROXY TCP4 198.51.100.9 192".to_vec()),
        ("half a signature", "behind", v2[..7].to_vec()),
        ("half an address", "behind", v2.to_vec()),
        ("a PROXY header, and half a preface", "behind", b"PROXY UNKNOWN\r\nPRI * HT".to_vec()),
    ];
    let mut waiting = Vec::new();
    for (what, listener, bytes) in rows {
        let mut connection = Connection::open(EU, doors.address(listener)?)?;
        connection.send(bytes)?;
        waiting.push((what, listener, connection));
    }
    for (what, listener, connection) in &mut waiting {
        match connection.rest() {
            // A server's own preface is no answer.
            Ok(heard) => assert!(!heard.starts_with(b"HTTP/1.1"), "{what} on {listener}: answered"),
            // Bytes that nobody read end the connection by a reset.
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{what} on {listener}"),
        }
    }
    let count = u64::try_from(rows.len())?;
    wait_until("all are counted", BOUND, || doors.rejected(Rejected::Late) == count)?;
    assert!(doors.origin.seen().is_empty());
    Ok(())
}

/// How a TLS client says that it sends no more.
#[derive(Clone, Copy, Debug)]
enum Says {
    /// `close_notify` (RFC 8446, 6.1), and TCP's FIN behind it.
    Both,
    /// `close_notify` alone.
    Notify,
    /// FIN alone, as who does not know TLS's own end does.
    Fin,
}

/// What a TLS client hears that asks for `path` and closes its end.
fn ask_and_close(doors: &Doors, path: &str, says: Says) -> Result<Vec<u8>> {
    let (mut session, mut tcp) = doors.client(b"http/1.1")?;
    Stream::new(&mut session, &mut tcp)
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes())?;
    if !matches!(says, Says::Fin) {
        session.send_close_notify();
        while session.wants_write() {
            session.write_tls(&mut tcp)?;
        }
    }
    if !matches!(says, Says::Notify) {
        tcp.shutdown(Shutdown::Write)?;
    }
    let mut heard = Vec::new();
    match Stream::new(&mut session, &mut tcp).read_to_end(&mut heard) {
        Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {}
        read => drop(read?),
    }
    Ok(heard)
}

#[test]
fn a_tls_client_that_closes_its_end_is_answered_unless_that_takes_long() -> Result<()> {
    let doors = Doors::open("")?;
    for says in [Says::Both, Says::Notify, Says::Fin] {
        for path in ["/", "/sleep/300", "/big/3000000"] {
            let heard = ask_and_close(&doors, path, says)?;
            let answered = heard.starts_with(b"HTTP/1.1 200 ");
            let whole = !path.starts_with("/big") || heard.len() > 3_000_000;
            assert!(answered && whole, "{says:?}, {path}: {} bytes", heard.len());
        }
        let heard = ask_and_close(&doors, &format!("/sleep/{LATE_MS}"), says)?;
        assert!(heard.is_empty(), "{says:?}: given up before its response is late");
    }
    Ok(())
}

#[test]
fn an_http2_client_that_closes_its_end_has_gone() -> Result<()> {
    let doors = Doors::open("")?;
    let mut stream = TcpStream::connect(doors.address("plain")?)?;
    stream.set_read_timeout(Some(BOUND))?;
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())?;
    let asked = frame(HEADERS, WHOLE, 1, &get_h2(&format!("/sleep/{LATE_MS}")));
    stream.write_all(&asked)?;
    wait_until("it is under way", BOUND, || doors.origin.seen().len() == 1)?;
    stream.shutdown(Shutdown::Write)?;
    let mut heard = Heard::default();
    heard.listen(&mut stream, |heard| heard.of(1).is_over()).context("it ends")?;
    assert!(heard.closed && heard.of(1).status.is_none(), "{heard:?}");
    let in_flight = || doors.edge.proxy.report().upstreams[0].in_flight;
    wait_until("its request is given up", BOUND, || in_flight() == 0)
}
