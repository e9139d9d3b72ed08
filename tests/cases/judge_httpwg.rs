//! An outside judge of HTTP/2: `httpwg`, the successor of h2spec, against the real daemon; and `h2load`, request for request.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tidegate_tests::certs::Authority;
use tidegate_tests::daemon::Daemon;
use tidegate_tests::recorder::Origin;
use tidegate_tests::scratch::Folder;
use tidegate_tests::tools;

/// Cases that must pass, of 107; `docs/CONFORMANCE.md` argues the others.
const LEAST: u32 = 105;

/// Text without terminal colours.
fn plain(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |mut plain, part| {
        plain.push_str(part.split_once('m').map_or("", |(_, rest)| rest));
        plain
    })
}

#[test]
fn httpwg_passes_but_for_what_is_argued() -> Result<()> {
    if tools::lacks("httpwg-cli-0.2.5") {
        return Ok(());
    }
    let program = tools::folder("httpwg-cli-0.2.5")?.join("bin/httpwg");
    let origin = Origin::start("eu", "127.0.0.1:0")?;
    let (_daemon, public) = Daemon::edge(origin.address(), "", "")?;
    // The judge itself panics where a connection that it broke is reset before it has read our last frame: then it is asked again.
    let judged = (0..5)
        .map(|_| judge(&program, public))
        .find(|judged| judged.as_ref().map_or(true, |(passed, _)| *passed >= LEAST));
    let (passed, failed) = judged.context("fewer than 105 of 107, five times")??;
    println!("httpwg: {passed} of 107\n{}", failed.join("\n"));
    ensure!(passed >= LEAST, "{passed} of 107:\n{}", failed.join("\n"));
    Ok(())
}

/// Runs the judge: how many cases passed, and the lines of those that did not.
fn judge(program: &Path, public: SocketAddr) -> Result<(u32, Vec<String>)> {
    let judged = Command::new(program)
        .args(["-a", &public.to_string(), "--frame-timeout", "3000"])
        .env("RUST_BACKTRACE", "0")
        .env("BUFFET_NUM_BUFS", "4096")
        .output()?;
    let said = plain(&judged.stdout) + &plain(&judged.stderr);
    let failed = said.lines().filter(|line| line.contains("Test failed:")).map(str::to_owned).collect();
    let passed =
        said.lines().find_map(|line| line.split_once("Passed ")?.1.split_once("/107")?.0.trim().parse().ok());
    Ok((passed.with_context(|| format!("no result in {said}"))?, failed))
}

#[test]
fn h2load_loses_no_request() -> Result<()> {
    let origin = Origin::start("eu", "127.0.0.1:0")?;
    let (_daemon, public) = Daemon::edge(origin.address(), "", "")?;
    load(&format!("http://{public}/"))
}

#[test]
fn h2load_loses_no_request_over_tls() -> Result<()> {
    let origin = Origin::start("eu", "127.0.0.1:0")?;
    let folder = Folder::new("h2load")?;
    let pair = Authority::new(&folder, "authority")?.server(&folder, "localhost")?;
    let tls = format!("tls = {{ certificate = {:?}, key = {:?} }}", pair.certificate, pair.key);
    let (_daemon, public) = Daemon::edge(origin.address(), "", &tls)?;
    load(&format!("https://{public}/"))
}

/// HTTP/1.1, then HTTP/2.
fn load(url: &str) -> Result<()> {
    for form in [&["--h1"][..], &["-m", "4"]] {
        let run = Command::new("h2load").args(["-n", "2000", "-c", "20"]).args(form).arg(url).output();
        let run = run.context("h2load: `cargo xtask setup` installs it")?;
        let said = plain(&run.stdout);
        let line = said.lines().find(|line| line.starts_with("requests:")).with_context(|| said.clone())?;
        println!("h2load {} {url}: {line}", form.join(" "));
        ensure!(line.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"), "{said}");
        let agreed = if form == ["--h1"] { "http/1.1" } else { "h2" };
        let spoken = said.lines().find_map(|line| line.strip_prefix("Application protocol: "));
        ensure!(url.starts_with("http:") || spoken == Some(agreed), "{said}");
    }
    Ok(())
}
