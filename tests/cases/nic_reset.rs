//! `over = "reset"` as a client's kernel sees it: a refused connection, over IPv4 and IPv6, in native and generic mode.
//! Needs root and the kernel program; says so and passes without.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Result, ensure};
use tidegate_tests::foreign;
use tidegate_tests::lab::{HOST, Lab, eventually};
use tidegate_tests::nic_daemon::Bench;

const DAEMON: &str = env!("CARGO_BIN_EXE_tidegate-nic-daemon");
const SOON: Duration = Duration::from_secs(60);
/// Long enough for an answer, short of the client's second SYN.
const PATIENCE: Duration = Duration::from_millis(900);

fn connect(lab: &Lab, target: SocketAddr) -> Result<std::io::Result<TcpStream>> {
    lab.client.run(move || TcpStream::connect_timeout(&target, PATIENCE))
}

#[test]
fn a_client_above_the_ceiling_is_refused_at_once() -> Result<()> {
    let test = "a_client_above_the_ceiling_is_refused_at_once";
    let Some(bench) = Bench::new(DAEMON, test).expect("a lab") else { return Ok(()) };
    let lab = &bench.lab;
    let listener = lab.host.run(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)))??;
    let port = listener.local_addr()?.port();
    let hosts: [IpAddr; 2] = [HOST.into(), "2001:db8::1".parse()?];
    for host in hosts {
        eventually("a connection without ceilings", SOON, || {
            Ok(connect(lab, SocketAddr::new(host, port))?.is_ok())
        })?;
    }
    // A veth end takes what the other end's program sends back only if it has a program itself.
    foreign::attach(&lab.client, "c0", "xdpdrv")?;
    let mut daemon = bench.start(30_000)?;
    for mode in ["native", "generic"] {
        for (over, expected) in [("reset=1", ErrorKind::ConnectionRefused), ("reset=0", ErrorKind::TimedOut)]
        {
            daemon.apply(&format!("on=e0 mode={mode} port={port} limit=0,connections,0,0 {over}"))?;
            let before = daemon.report()?.of("everyone_connections");
            for host in hosts {
                let found = connect(lab, SocketAddr::new(host, port))?.err().map(|error| error.kind());
                ensure!(found == Some(expected), "{mode}, {over}, {host}: {found:?}");
            }
            let after = daemon.report()?.of("everyone_connections");
            ensure!(after >= before + 2, "{mode}, {over}: {before} to {after}");
        }
    }
    Ok(())
}
