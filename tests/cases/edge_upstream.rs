//! What lies behind an edge, and who comes first: endpoints over TLS, and home users beside foreign traffic. Holds no rule of the edge.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use tidegate_tests::certs::Authority;
use tidegate_tests::daemon::{self, Daemon};
use tidegate_tests::edges::Edge;
use tidegate_tests::ports::free_address;
use tidegate_tests::process::wait_until;
use tidegate_tests::raw::Connection;
use tidegate_tests::recorder::Origin;
use tidegate_tests::scratch::Folder;
use tidegate_tests::{http, raw};

const BOUND: Duration = Duration::from_secs(60);
/// A client of the region that is called `us`.
const US: &str = "127.2.0.1";

#[test]
fn an_endpoint_over_tls_is_spoken_to_only_if_its_certificate_is_good() -> Result<()> {
    let folder = Folder::new("https-endpoint")?;
    let authority = Authority::new(&folder, "web")?;
    let pair = authority.server(&folder, "127.0.0.1")?;
    let origin = Origin::start("eu", "127.0.0.1:0")?;
    // Another edge stands as the endpoint that speaks TLS.
    let secure = Edge::start(&format!(
        "[host]\nregion = \"eu\"\nworkers = 1\n[[region]]\nname = \"eu\"\n[geo]\ndefault_region = \"eu\"\n[xdp]\ninterfaces = []\n\
         [[upstream]]\nname = \"origin\"\nendpoints = [\"http://{}\"]\n\
         [[listener]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\nupstream = \"origin\"\n\
         tls = {{ certificate = {:?}, key = {:?} }}\n",
        origin.address(),
        pair.certificate,
        pair.key
    ))?;
    let ask = |trusted: &std::path::Path| -> Result<(u16, String)> {
        // The system's authorities are what this variable says.
        let script = format!(
            "#!/bin/sh\nSSL_CERT_FILE={} exec {} \"$@\"\n",
            trusted.display(),
            daemon::binary()?.display()
        );
        let wrapper = folder.write("tidegate", &script)?;
        std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755))?;
        let listen = free_address()?;
        let mut edge = Daemon::prepare_from(
            wrapper,
            None,
            "eu",
            &format!(
                "[[region]]\nname = \"eu\"\n[geo]\ndefault_region = \"eu\"\n[xdp]\ninterfaces = []\n\
                 [[upstream]]\nname = \"origin\"\nendpoints = [\"https://{}\"]\n\
                 [[listener]]\nname = \"public\"\naddress = \"{listen}\"\nupstream = \"origin\"\n",
                secure.address("tls")?
            ),
        )?;
        edge.run()?;
        let answer = http::tcp(listen, "POST", "/echo", &[], b"over TLS")?;
        Ok((answer.status, answer.field("tidegate-reason").map_or_else(|| answer.text(), str::to_owned)))
    };
    assert_eq!(ask(&authority.file)?, (200, "over TLS".into()));
    assert_eq!(origin.take().len(), 1);
    let stranger = Authority::new(&folder, "stranger")?;
    let (status, reason) = ask(&stranger.file)?;
    assert_eq!(status, 502, "{reason}");
    assert!(origin.take().is_empty(), "nothing is sent to who can't show who they are");
    Ok(())
}

fn region(own: &str, origin: SocketAddr, us_edge: SocketAddr) -> String {
    let peer = if own == "us" { us_edge.to_string() } else { "127.0.0.1:0".to_owned() };
    format!(
        "[host]\nregion = {own:?}\nworkers = 1\n[[region]]\nname = \"eu\"\n[[region]]\nname = \"us\"\nedges = [\"http://{us_edge}\"]\n\
         [geo]\ndefault_region = \"eu\"\n[[geo.record]]\nregion = \"us\"\nprefixes = [\"127.2.0.0/16\"]\n[xdp]\ninterfaces = []\n\
         [[ceiling]]\nname = \"from-us\"\nhome = \"us\"\nrequests_per_second = {}\nburst = \"2s\"\n\
         [[upstream]]\nname = \"origin\"\nendpoints = [\"http://{origin}\"]\n\
         [[listener]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\nupstream = \"origin\"\n\
         [[listener]]\nname = \"peer\"\naddress = {peer:?}\nkind = \"peer\"\ntrusted_peers = [\"127.0.0.1/32\"]\nupstream = \"origin\"\n",
        if own == "us" { 20 } else { 1_000_000 }
    )
}

/// Asks until told to stop; how many were answered with 200, and the reasons of the others, which are said in `refused` at once.
fn flood(to: SocketAddr, stop: &AtomicBool, refused: &AtomicBool) -> Result<(usize, Vec<String>)> {
    let mut connection = Connection::open(US, to)?;
    let (mut served, mut reasons) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        connection.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")?;
        let answer = connection.receive(false)?;
        match answer.status {
            200 => served += 1,
            _ => {
                refused.store(true, Ordering::Relaxed);
                reasons.push(answer.header("tidegate-reason").unwrap_or_default().to_owned());
            }
        }
    }
    Ok((served, reasons))
}

#[test]
fn foreign_traffic_does_not_starve_home_users() -> Result<()> {
    let origin = Origin::start("us", "127.0.0.1:0")?;
    let us_edge = free_address()?;
    let us = Edge::start(&region("us", origin.address(), us_edge))?;
    let eu = Edge::start(&region("eu", origin.address(), us_edge))?;
    let (near, far) = (us.address("public")?, eu.address("public")?);
    wait_until("the isthmus", BOUND, || {
        raw::get(US, far, "/", &[]).is_ok_and(|answer| answer.status == 200)
    })?;
    let (stop, refused) = (AtomicBool::new(false), AtomicBool::new(false));
    let (home, foreign) = std::thread::scope(|scope| {
        let floods = [0, 1].map(|_| scope.spawn(|| flood(far, &stop, &refused)));
        let mut connection = Connection::open(US, near)?;
        let mut home = Vec::new();
        // A slow machine takes longer until foreign traffic asks for more than there is.
        while home.len() < 12 || (!refused.load(Ordering::Relaxed) && home.len() < 240) {
            connection.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")?;
            home.push(connection.receive(false)?.status);
            // tidy: sleep because home users ask at a fifth of the ceiling.
            std::thread::sleep(Duration::from_millis(250));
        }
        stop.store(true, Ordering::Relaxed);
        let foreign = floods.map(|flood| flood.join().map_err(|_| anyhow::anyhow!("a flood ended early"))?);
        anyhow::Ok((home, foreign))
    })?;
    assert!(home.iter().all(|status| *status == 200), "{home:?}");
    let (served, reasons) =
        foreign.into_iter().flatten().fold((0, Vec::new()), |(served, mut reasons), one| {
            reasons.extend(one.1);
            (served + one.0, reasons)
        });
    println!("home {} of {}; foreign {served} served, {} refused", home.len(), home.len(), reasons.len());
    assert!(served > 15, "foreign traffic gets what home users leave: {served}");
    assert!(reasons.iter().any(|reason| reason == "foreign_share"), "{:?}", reasons.first());
    Ok(())
}
