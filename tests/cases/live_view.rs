//! `tidegate top` on a real pseudo-terminal beside a running daemon. Holds no rule of the view.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tidegate_tests::daemon::Daemon;
use tidegate_tests::process::wait_until;

const BOUND: Duration = Duration::from_secs(60);
const BODY: &str = r#"
[[region]]
name = "eu-west-1"

[[region]]
name = "us-east-1"

[[ceiling]]
name = "everyone"
requests_per_second = 1000
"#;

/// `top` below script(1), which gives it a terminal of 24 by 80 and writes what it draws.
struct Top {
    child: Child,
    drawn: std::path::PathBuf,
}

impl Top {
    fn start(daemon: &Daemon) -> Self {
        let drawn = daemon.folder().file("drawn");
        let binary = tidegate_tests::daemon::binary().expect("a binary");
        let line = format!(
            "stty rows 24 cols 80; '{}' --socket '{}' top",
            binary.display(),
            daemon.socket().display()
        );
        let mut script = Command::new("script");
        script.args(["--quiet", "--flush", "--return", "--command", &line]).arg(&drawn);
        script.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: script.spawn().expect("script(1)"), drawn }
    }

    fn shows(&self, text: &str) {
        let drawn = || std::fs::read_to_string(&self.drawn).unwrap_or_default();
        wait_until(&format!("`{text}` on the screen"), BOUND, || drawn().contains(text))
            .unwrap_or_else(|error| panic!("{error}: {}", drawn()));
    }

    fn press(&mut self, keys: &str) {
        let terminal = self.child.stdin.as_mut().expect("piped");
        terminal.write_all(keys.as_bytes()).and_then(|()| terminal.flush()).expect("written");
    }

    /// Waits for its end; its exit code.
    fn ends(mut self) -> Option<i32> {
        wait_until("the view to end", BOUND, || self.child.try_wait().is_ok_and(|status| status.is_some()))
            .expect("ended");
        self.child.wait().expect("a status").code()
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn in_failover(daemon: &Daemon, region: &str) -> bool {
    let status: serde_json::Value =
        serde_json::from_str(&daemon.tell(&["--json", "status"]).expect("a status")).expect("JSON");
    let regions = status["regions"].as_array().expect("regions").clone();
    regions.iter().any(|one| one["name"] == region && one["failover"] == true)
}

#[test]
fn an_operator_looks_toggles_a_failover_and_leaves() {
    let daemon = Daemon::start(None, "eu-west-1", BODY).expect("a daemon");
    let mut top = Top::start(&daemon);
    top.shows("us-east-1");
    top.press("jf");
    // Only what changed is drawn, so single words are looked for.
    top.shows("sure?");
    top.press("n");
    assert!(!in_failover(&daemon, "us-east-1"));
    top.press("f");
    top.press("y");
    top.shows("FAILOVER");
    assert!(in_failover(&daemon, "us-east-1") && !in_failover(&daemon, "eu-west-1"));
    top.press("c");
    top.shows("new limit");
    top.press("2500\r");
    top.press("y");
    top.shows("2.5k");
    assert!(daemon.tell(&["ceiling", "show", "everyone"]).expect("shown").contains("2500"));
    top.press("q");
    assert_eq!(top.ends(), Some(0));
}

#[test]
fn without_a_terminal_or_a_daemon_it_says_so() {
    let daemon = Daemon::start(None, "eu-west-1", BODY).expect("a daemon");
    let asked = daemon.ask(&["top"]).expect("started");
    assert_eq!(asked.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&asked.stderr).contains("needs a terminal"));
    let nobody = Path::new("/nonexistent/tidegate.sock");
    let binary = tidegate_tests::daemon::binary().expect("a binary");
    let asked =
        Command::new(binary).arg("--socket").arg(nobody).args(["--json", "top"]).output().expect("started");
    assert_eq!(asked.status.code(), Some(3));
}
