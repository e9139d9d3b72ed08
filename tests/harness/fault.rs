//! strace(1) that makes system calls of a running daemon fail, on one path alone. Never touches another process.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::daemon::Daemon;

/// Which calls fail: the first one of each thread, or every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The first call of each thread.
    First,
    /// Every call until the fault ends.
    Always,
}

/// Calls that fail for as long as it lives.
#[derive(Debug)]
pub struct Fault {
    strace: Child,
    seen: PathBuf,
}

/// Why no fault can be made here, if none can.
#[must_use]
pub fn unavailable() -> Option<&'static str> {
    (!rustix::process::geteuid().is_root()).then_some("tracing the daemon's system calls needs root")
}

impl Fault {
    /// Has such calls on that path fail with this error from now on.
    ///
    /// # Errors
    /// When strace can't take hold of the daemon.
    pub fn on(daemon: &Daemon, call: &str, path: &Path, (error, when): (&str, When)) -> Result<Self> {
        let seen = daemon.folder().file("strace");
        let pid = daemon.id().context("it runs")?.to_string();
        let when = if when == When::First { "1" } else { "1+" };
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &pid, "-P"]).arg(path).arg("-o").arg(&seen);
        command.args(["-e", &format!("trace={call}")]);
        command.args(["-e", &format!("inject={call}:error={error}:when={when}")]);
        let mut strace = command.stderr(Stdio::piped()).spawn().context("strace (Debian's strace)")?;
        // It says so when it holds the process; nothing is injected before.
        let mut said = Vec::new();
        let stderr = strace.stderr.as_mut().context("its words")?;
        while !said.ends_with(b"attached\n") && !said.ends_with(b"threads\n") {
            let mut byte = [0];
            ensure!(stderr.read(&mut byte)? == 1, "strace: {}", String::from_utf8_lossy(&said));
            said.push(byte[0]);
        }
        Ok(Self { strace, seen })
    }

    /// Lets the process go; whether a call was made to fail.
    ///
    /// # Errors
    /// When strace is gone.
    pub fn end(mut self) -> Result<bool> {
        let pid = rustix::process::Pid::from_child(&self.strace);
        rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
        self.strace.wait()?;
        Ok(std::fs::read_to_string(&self.seen)?.contains("(INJECTED)"))
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}
