//! Child processes that end with their owner, and waiting for a condition with a bound.
//! Never kills by name: only what it started, by its own handle.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

const POLL: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until the condition holds.
///
/// # Errors
/// When it does not within `bound`; the error names `what`.
pub fn wait_until(what: &str, bound: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
    wait_for(what, bound, || holds().then_some(()))
}

/// Asks until there is a value.
///
/// # Errors
/// When there is none within `bound`; the error names `what`.
pub fn wait_for<T>(what: &str, bound: Duration, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = ask() {
            return Ok(value);
        }
        if started.elapsed() > bound {
            bail!("waited {bound:?} in vain for {what}");
        }
        thread::sleep(POLL);
    }
}

/// A child process whose output goes to a file.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the command; standard output and error are appended to `log`.
    ///
    /// # Errors
    /// When it can't be started or the log can't be opened.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let open = || File::options().create(true).append(true).open(log);
        let file = open().with_context(|| format!("opening {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {name} ({})", command.get_program().display()))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_path_buf() })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// All it wrote so far.
    #[must_use]
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).with_context(|| format!("signalling {}", self.name))
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// When the kernel doesn't let it go.
    pub fn kill(&mut self) -> Result<()> {
        if self.is_running() {
            self.child.kill().with_context(|| format!("killing {}", self.name))?;
        }
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits until it ends by itself.
    ///
    /// # Errors
    /// When it doesn't within `bound`.
    pub fn terminate(&mut self, bound: Duration) -> Result<ExitStatus> {
        if self.is_running() {
            self.signal(Signal::TERM)?;
        }
        self.wait(bound)
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// When it doesn't within `bound`; the error carries its output.
    pub fn wait(&mut self, bound: Duration) -> Result<ExitStatus> {
        let child = &mut self.child;
        wait_for(&format!("{} to end", self.name), bound, || child.try_wait().ok().flatten())
            .map_err(|error| anyhow!("{error}; it wrote:\n{}", self.output()))
    }

    /// Asks until the condition holds, and gives up at once when the process ends before.
    ///
    /// # Errors
    /// When it ends or `bound` passes first; the error carries its output.
    pub fn wait_until(&mut self, what: &str, bound: Duration, mut holds: impl FnMut() -> bool) -> Result<()> {
        let (mut ended, child) = (None, &mut self.child);
        let waited = wait_until(what, bound, || {
            ended = child.try_wait().ok().flatten();
            holds() || ended.is_some()
        });
        match (waited, ended) {
            (Ok(()), None) => Ok(()),
            (_, Some(status)) => {
                bail!("{} ended ({status}) before {what}; it wrote:\n{}", self.name, self.output())
            }
            (Err(error), None) => bail!("{error}; {} wrote:\n{}", self.name, self.output()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() && self.signal(Signal::TERM).is_ok() {
            let _ = self.wait(PATIENCE);
        }
        let _ = self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Folder;

    #[test]
    fn a_process_ends_with_its_owner() {
        let folder = Folder::new("process").unwrap();
        let child = Process::spawn("sleep", Command::new("sleep").arg("60"), &folder.file("log")).unwrap();
        let proc = PathBuf::from(format!("/proc/{}", child.id()));
        assert!(proc.exists());
        drop(child);
        assert!(!proc.exists());
    }

    #[test]
    fn an_early_end_is_an_error_with_its_output() {
        let folder = Folder::new("process").unwrap();
        let mut command = Command::new("sh");
        let mut child =
            Process::spawn("sh", command.args(["-c", "echo why; exit 3"]), &folder.file("log")).unwrap();
        let error = child.wait_until("never", PATIENCE, || false).unwrap_err().to_string();
        assert!(error.contains("why") && error.contains("exit status: 3"), "{error}");
    }

    #[test]
    fn waiting_has_a_bound() {
        let error = wait_until("the moon", Duration::from_millis(30), || false).unwrap_err();
        assert!(error.to_string().contains("the moon"));
    }
}
