//! Who may change what over the admin socket: every verb that changes something, asked by callers of every kind. Changes no user.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tidegate_tests::daemon::Daemon;

const FILE: &str = "write_group = \"mail\"\n[[region]]\nname = \"north\"\n[[region]]\nname = \"south\"\n\
    [[ceiling]]\nname = \"everyone\"\nrequests_per_second = 1_000\n";

/// Debian's fixed ids (base-passwd): mail is group 8, daemon user 1, nobody 65534.
const MAIL: u32 = 8;

/// Callers: user, group, whether they may change things.
const CALLERS: [(u32, u32, bool); 5] =
    [(0, 0, true), (65_534, 65_534, false), (1, 1, false), (54_321, 54_321, false), (65_534, MAIL, true)];

/// Verbs that change something.
const VERBS: [(&str, &str, &str); 12] = [
    ("PUT", "/v1/regions/south/failover", r#"{"on":true}"#),
    ("PUT", "/v1/regions/south/failover", r#"{"on":false}"#),
    ("PATCH", "/v1/ceilings/everyone", r#"{"requests_per_second":5}"#),
    ("PATCH", "/v1/ceilings/everyone", r#"{"observe":true,"for":"1h"}"#),
    ("DELETE", "/v1/ceilings/everyone/override", ""),
    ("PUT", "/v1/misroute", r#"{"mode":"local"}"#),
    ("POST", "/v1/deny", r#"{"prefix":"192.0.2.1"}"#),
    ("POST", "/v1/allow", r#"{"prefix":"192.0.2.2"}"#),
    ("POST", "/v1/deny", r#"{"action":"del","prefix":"192.0.2.1"}"#),
    ("POST", "/v1/invalidations", r#"{"pool":"p","keys":["k"]}"#),
    ("POST", "/v1/reload", "{}"),
    ("POST", "/v1/confirm", "{}"),
];

fn asked(daemon: &Daemon, uid: u32, gid: u32, verb: (&str, &str, &str)) -> Result<u16> {
    let (method, path, body) = verb;
    let mut command = Command::new("curl");
    command.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", method, "-d", body, "--unix-socket"]);
    command.arg(daemon.socket()).arg(format!("http://localhost{path}")).uid(uid).gid(gid).current_dir("/");
    let output = command.output().context("curl")?;
    String::from_utf8_lossy(&output.stdout).parse().with_context(|| format!("{output:?}"))
}

#[test]
fn sixty_callers_and_verbs_make_no_unauthorised_change() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("left out: only root can ask as somebody else");
        return Ok(());
    }
    let daemon = Daemon::start(None, "north", FILE)?;
    std::fs::set_permissions(daemon.folder().path(), std::fs::Permissions::from_mode(0o755))?;
    let overrides = || -> Result<String> {
        let body = daemon.admin("GET", "/v1/config", "")?.body;
        let config: serde_json::Value = serde_json::from_slice(&body)?;
        Ok(format!("{}{}{}", config["overrides"], config["pending"], config["generation"]))
    };
    let mut refused = 0;
    for (uid, gid, may) in CALLERS {
        for verb in VERBS {
            let before = overrides()?;
            let status = asked(&daemon, uid, gid, verb)?;
            if may {
                ensure!(status != 403, "uid {uid} gid {gid} was refused {verb:?}");
            } else {
                ensure!(status == 403, "uid {uid} gid {gid} got {status} for {verb:?}");
                ensure!(overrides()? == before, "uid {uid} gid {gid} changed something by {verb:?}");
                refused += 1;
            }
        }
        ensure!(asked(&daemon, uid, gid, ("GET", "/v1/status", ""))? == 200, "uid {uid} may not even read");
    }
    ensure!(refused == 36, "{refused} were refused");
    Ok(())
}
