//! A tidegate daemon under test: its own instance, socket, state and log; started, killed and started again.
//! Never leaves a pin, socket or state folder behind.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::http::{self, Response};
use crate::netns::{Netns, finish};
use crate::ports::free_address;
use crate::process::{Process, wait_until};
use crate::scratch::{self, Folder};
use crate::sweep;

/// Longest wait until a started daemon answers.
const START: Duration = Duration::from_secs(120);
/// Longest wait until a daemon told to stop is gone.
const STOP: Duration = Duration::from_secs(60);

/// The name of this process's group, unless it is root's, who needs none.
fn own_group() -> Option<String> {
    if rustix::process::geteuid().is_root() {
        return None;
    }
    let named = Command::new("id").arg("-gn").output().ok()?;
    Some(String::from_utf8(named.stdout).ok()?.trim().to_owned())
}

/// A daemon's place and, while it runs, its process.
#[derive(Debug)]
pub struct Daemon {
    instance: String,
    binary: PathBuf,
    namespace: Option<PathBuf>,
    folder: Folder,
    process: Option<Process>,
}

impl Daemon {
    /// Writes the configuration and starts the daemon in a namespace or (`None`) here; returns once it answers.
    /// `body` is the configuration without `[host]` and `[admin]`: these are written for this instance, with `region`.
    ///
    /// # Errors
    /// When there is no binary, or it does not answer in time (the error carries its log).
    pub fn start(namespace: Option<&Netns>, region: &str, body: &str) -> Result<Self> {
        let mut daemon = Self::prepare(namespace, region, body)?;
        daemon.run()?;
        Ok(daemon)
    }

    /// The same without starting it.
    ///
    /// # Errors
    /// When there is no binary or the configuration can't be written.
    pub fn prepare(namespace: Option<&Netns>, region: &str, body: &str) -> Result<Self> {
        Self::prepare_from(binary()?, namespace, region, body)
    }

    /// The same with a binary of one's own.
    ///
    /// # Errors
    /// When the configuration can't be written.
    pub fn prepare_from(
        binary: PathBuf,
        namespace: Option<&Netns>,
        region: &str,
        body: &str,
    ) -> Result<Self> {
        sweep::orphans();
        let folder = Folder::new("daemon")?;
        let instance = scratch::unique("i");
        let namespace = namespace.map(Netns::path);
        let daemon = Self { instance, binary, namespace, folder, process: None };
        daemon.configure(region, body)?;
        Ok(daemon)
    }

    /// Starts one that is an edge in front of an origin; `upstream` and `listener` are further lines of its tables. Where it
    /// listens.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn edge(origin: SocketAddr, upstream: &str, listener: &str) -> Result<(Self, SocketAddr)> {
        let public = free_address()?;
        let body = format!(
            "[[region]]\nname = \"eu\"\n[geo]\ndefault_region = \"eu\"\n[xdp]\ninterfaces = []\n\
             [[upstream]]\nname = \"origin\"\nendpoints = [\"http://{origin}\"]\n{upstream}\n\
             [[listener]]\nname = \"public\"\naddress = \"{public}\"\nupstream = \"origin\"\n{listener}\n"
        );
        Ok((Self::start(None, "eu", &body)?, public))
    }

    /// Writes another configuration; `tidegate reload` or a restart takes it in.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn configure(&self, region: &str, body: &str) -> Result<()> {
        let (state, socket) = (self.folder.file("state"), self.socket());
        // Who runs these tests without root may change what their daemons have in force.
        let group = own_group().filter(|_| !body.contains("write_group"));
        let group = group.map_or_else(String::new, |group| format!("write_group = {group:?}\n"));
        let head = format!(
            "[host]\nregion = {region:?}\ninstance = {:?}\nstate_dir = {state:?}\n\n[admin]\nsocket = {socket:?}\n{group}\n",
            self.instance
        );
        self.folder.write("tidegate.toml", &(head + body)).map(drop)
    }

    /// Starts it (again) and returns once it answers.
    ///
    /// # Errors
    /// When it ends or does not answer in time; the error carries its log.
    pub fn run(&mut self) -> Result<()> {
        let mut command = self.command_to_run();
        self.run_by(&mut command)
    }

    /// Starts it (again) and returns at once, wherever it is by then.
    ///
    /// # Errors
    /// When it runs already or can't be started.
    pub fn launch(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the daemon runs already");
        let mut command = self.command_to_run();
        self.process = Some(Process::spawn("tidegate", &mut command, &self.log())?);
        Ok(())
    }

    /// Starts it (again) as `command` says and returns once it answers.
    ///
    /// # Errors
    /// When it runs already, ends or does not answer in time.
    pub fn run_by(&mut self, command: &mut Command) -> Result<()> {
        ensure!(self.process.is_none(), "the daemon runs already");
        let process = Process::spawn("tidegate", command, &self.log())?;
        self.process = Some(self.answering(process)?);
        Ok(())
    }

    /// Starts the next daemon with `--replace` while this one runs; returns once this one has ended and the next one answers.
    ///
    /// # Errors
    /// When the next one does not take over in time, or this one ends with a failure.
    pub fn replace(&mut self) -> Result<()> {
        let mut before = self.process.take().context("the daemon does not run")?;
        let mut command = self.command_to_run();
        let process = Process::spawn("tidegate", command.arg("--replace"), &self.log())?;
        let status = before.wait(START)?;
        ensure!(status.success(), "the daemon that was replaced ended with {status}:\n{}", before.output());
        self.process = Some(self.answering(process)?);
        Ok(())
    }

    /// What starts it.
    #[must_use]
    pub fn command_to_run(&self) -> Command {
        let mut command = self.command();
        command.arg("run").arg("--config").arg(self.configuration());
        command
    }

    fn answering(&self, mut process: Process) -> Result<Process> {
        let socket = self.socket();
        process.wait_until("answering on its socket", START, || {
            http::unix(&socket, "GET", "/v1/status", b"").is_ok_and(|answer| answer.status == 200)
        })?;
        Ok(process)
    }

    /// SIGKILL; what it pinned stays.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the daemon does not run")?.kill()
    }

    /// SIGTERM, and waits until it ended; what it pinned stays.
    ///
    /// # Errors
    /// When it does not run, does not end in time, or ends with a failure.
    pub fn stop(&mut self) -> Result<()> {
        let status = self.process.take().context("the daemon does not run")?.terminate(STOP)?;
        ensure!(status.success(), "the daemon ended with {status}");
        Ok(())
    }

    /// Its process id while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// `tidegate --socket ITS-SOCKET`, for further arguments.
    #[must_use]
    pub fn command_line(&self) -> Command {
        let mut command = self.command();
        command.arg("--socket").arg(self.socket());
        command
    }

    /// Runs `tidegate --socket ITS-SOCKET ARGUMENTS` and returns what came of it.
    ///
    /// # Errors
    /// When the binary can't be started.
    pub fn ask(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.command_line();
        command.args(arguments);
        command.output().with_context(|| format!("starting {}", self.binary.display()))
    }

    /// The same, and its standard output when it exits with 0.
    ///
    /// # Errors
    /// When it exits otherwise; the error carries what it said.
    pub fn tell(&self, arguments: &[&str]) -> Result<String> {
        let done = self.ask(arguments)?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        ensure!(done.status.success(), "tidegate {} ({}): {said}", arguments.join(" "), done.status);
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// One request on its admin socket.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn admin(&self, method: &str, path: &str, body: &str) -> Result<Response> {
        http::unix(&self.socket(), method, path, body.as_bytes())
    }

    /// Waits until its log has a text.
    ///
    /// # Errors
    /// When it does not within `bound`; the error carries the log.
    pub fn wait_log(&self, text: &str, bound: Duration) -> Result<()> {
        let log = || std::fs::read_to_string(self.log()).unwrap_or_default();
        wait_until(&format!("`{text}` in the log"), bound, || log().contains(text)).with_context(log)
    }

    /// Its instance name.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Its admin socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.file("admin.sock")
    }

    /// Its configuration file.
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        self.folder.file("tidegate.toml")
    }

    /// Its folder, for further files.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// All it logged, over restarts.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.file("log")
    }

    fn command(&self) -> Command {
        let Some(namespace) = &self.namespace else { return Command::new(&self.binary) };
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", namespace.display())).arg("--").arg(&self.binary);
        command
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.process.take());
        sweep::pins(&self.instance);
    }
}

/// The `tidegate` binary: `TIDEGATE_BIN`, else the one beside the running test, which cargo brings up to date first.
///
/// # Errors
/// When it can't be built.
pub fn binary() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if let Some(path) = std::env::var_os("TIDEGATE_BIN").map(PathBuf::from) {
        ensure!(path.is_file(), "TIDEGATE_BIN: there is no {}", path.display());
        return Ok(path);
    }
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.clone().map_err(anyhow::Error::msg)
}

/// `cargo test` builds no binary of another package, so that the first case that wants it asks for it.
fn build() -> Result<PathBuf> {
    let executable = std::env::current_exe()?;
    let folder = executable.parent().context("this test has no folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    cargo.args(["build", "--quiet", "--package", "tidegate", "--bin", "tidegate"]);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    finish(&mut cargo)?;
    let path = folder.join("tidegate");
    ensure!(path.is_file(), "cargo left no {}", path.display());
    Ok(path)
}
