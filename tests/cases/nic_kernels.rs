//! A kernel that is older than the NIC program needs: refused by name, with what to do; the proxy alone runs on it.
//! The kernel is this machine's, which tells an old version to those who ask it to (personality(2), UNAME26).

use anyhow::{Result, ensure};
use tidegate_tests::daemon::{Daemon, binary};
use tidegate_tests::netns::{Netns, unavailable};

const BODY: &str = "\
[[region]]
name = \"here\"
[geo]
default_region = \"here\"
[xdp]
ports = [80]
";

/// Exit status of `tidegate run` on what it takes for an old kernel, and what it said.
fn on_an_old_kernel(namespace: &Netns, daemon: &Daemon) -> Result<(Option<i32>, String)> {
    let mut command = namespace.command("timeout");
    command.args(["30", "setarch", "x86_64", "--uname-2.6"]).arg(binary()?);
    let done = command.arg("run").arg("--config").arg(daemon.configuration()).output()?;
    Ok((done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned()))
}

#[test]
fn an_older_kernel_is_refused_by_name() -> Result<()> {
    if let Some(why) = unavailable() {
        println!("skipped: {why}");
        return Ok(());
    }
    let namespace = Netns::new("old")?;
    let daemon = Daemon::prepare(Some(&namespace), "here", &format!("{BODY}interfaces = [\"lo\"]\n"))?;
    let (status, said) = on_an_old_kernel(&namespace, &daemon)?;
    ensure!(status == Some(1), "{status:?}: {said}");
    for part in ["kernel 2.6.", "too old", "5.12", "interfaces = []"] {
        ensure!(said.contains(part), "`{part}` is missing in: {said}");
    }
    Ok(())
}
