//! The NIC alone as a process of its own, to be killed: `tidegate-nic-daemon` (see `bin/`) and how tests talk with it.
//! Never the whole daemon; cases about that start the `tidegate` binary.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::lab::Lab;
use crate::netns::{self, Netns};
use crate::{scratch, sweep};

/// A running process.
#[derive(Debug)]
pub struct NicDaemon {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// What the process reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Packets by reason and home (0 is none).
    pub packets: BTreeMap<(String, u8), u64>,
    /// Everything else, by name.
    pub words: BTreeMap<String, String>,
}

impl Report {
    /// Packets of `reason`, over all homes.
    #[must_use]
    pub fn of(&self, reason: &str) -> u64 {
        self.packets.iter().filter(|((found, _), _)| found == reason).map(|(_, packets)| packets).sum()
    }

    /// The word with this name; empty if there is none.
    #[must_use]
    pub fn word(&self, name: &str) -> &str {
        self.words.get(name).map_or("", String::as_str)
    }
}

impl NicDaemon {
    /// Starts the process in `namespace` and waits until its NIC is open.
    ///
    /// # Errors
    /// What it says instead, word for word.
    pub fn start(executable: &str, namespace: &Netns, instance: &str, lease_ms: u64) -> Result<Self> {
        let mut child = namespace
            .command(executable)
            .args([instance, &lease_ms.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the NIC's process")?;
        let orders = child.stdin.take().context("no standard input")?;
        let answers = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        let mut started = Self { child, orders, answers };
        started.answer().context("opening the NIC")?;
        Ok(started)
    }

    /// Asks one thing and waits for the answer.
    ///
    /// # Errors
    /// The answer, if it is an error.
    pub fn order(&mut self, order: &str) -> Result<String> {
        writeln!(self.orders, "{order}")?;
        self.answer().with_context(|| order.to_owned())
    }

    /// Loads and attaches: interfaces, mode and plan in words (see `bin/nic_daemon.rs`).
    ///
    /// # Errors
    /// What was refused.
    pub fn apply(&mut self, words: &str) -> Result<String> {
        self.order(&format!("apply {words}"))
    }

    /// The report.
    ///
    /// # Errors
    /// The process is gone.
    pub fn report(&mut self) -> Result<Report> {
        let answer = self.order("report")?;
        let mut report = Report::default();
        for word in answer.split_whitespace() {
            let (name, value) = word.split_once('=').with_context(|| word.to_owned())?;
            match name.strip_prefix("packets.").and_then(|rest| rest.rsplit_once('.')) {
                Some((reason, home)) => {
                    report.packets.insert((reason.to_owned(), home.parse()?), value.parse()?);
                }
                None => {
                    report.words.insert(name.to_owned(), value.to_owned());
                }
            }
        }
        Ok(report)
    }

    /// SIGKILL, and waits until the process is gone.
    ///
    /// # Errors
    /// It cannot be killed.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks for `SIGKILL` without waiting for answers that are under way; the process may be anywhere in its work.
    ///
    /// # Errors
    /// The order cannot be written.
    pub fn start_apply(&mut self, words: &str) -> Result<()> {
        Ok(writeln!(self.orders, "apply {words}")?)
    }

    fn answer(&mut self) -> Result<String> {
        let line = self.answers.next().ok_or_else(|| anyhow!("the process ended"))??;
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("ok", rest) => Ok(rest.to_owned()),
            (_, text) => bail!("{text}"),
        }
    }
}

impl Drop for NicDaemon {
    fn drop(&mut self) {
        // Already gone after `kill`.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Removes an instance's pins when a test ends, however it ends.
#[derive(Debug)]
pub struct Instance(pub String);

impl Instance {
    /// One that no other test uses.
    #[must_use]
    pub fn new() -> Self {
        Self(scratch::unique("nic"))
    }
}

impl Default for Instance {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        sweep::pins(&self.0);
    }
}

/// A lab with an instance of its own, and the executable to start in it.
#[derive(Debug)]
pub struct Bench {
    // Pins go before the interfaces do.
    instance: Instance,
    executable: &'static str,
    /// The host and the client.
    pub lab: Lab,
}

impl Bench {
    /// `None`, with a word on standard error, where `test` cannot be done: not root, or built without the kernel program.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn new(executable: &'static str, test: &str) -> Result<Option<Self>> {
        if let Some(reason) = netns::unavailable() {
            eprintln!("skipped: {test}: {reason}");
            return Ok(None);
        }
        if let Err(missing) = tidegate::kernel::object() {
            eprintln!("skipped: {test}: {missing}");
            return Ok(None);
        }
        Ok(Some(Self { instance: Instance::new(), executable, lab: Lab::new()? }))
    }

    /// The instance's name.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance.0
    }

    /// Starts the NIC's process on the host.
    ///
    /// # Errors
    /// What it says instead.
    pub fn start(&self, lease_ms: u64) -> Result<NicDaemon> {
        NicDaemon::start(self.executable, &self.lab.host, &self.instance.0, lease_ms)
    }

    /// Starts the NIC's process and kills it after `pause`, wherever it is by then.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_and_kill(&self, lease_ms: u64, pause: Duration) -> Result<()> {
        let mut command = self.lab.host.command(self.executable);
        let quiet = command
            .args([self.instance(), &lease_ms.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let mut child = quiet.spawn()?;
        // tidy: sleep because the moment of the kill is the caller's choice.
        std::thread::sleep(pause);
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// The kernel's number of the program on `e0`; none on it is an error.
    ///
    /// # Errors
    /// There is none.
    pub fn program_on_e0(&self) -> Result<String> {
        let shown = self.on_e0()?;
        let mut words = shown.split_whitespace().skip_while(|word| *word != "prog/xdp");
        words.nth(2).map(str::to_owned).with_context(|| format!("no program on e0: {shown}"))
    }

    /// What iproute2 shows of `e0`.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn on_e0(&self) -> Result<String> {
        self.lab.host.ip(&["-d", "link", "show", "e0"])
    }

    /// Names in the instance's pin folder, sorted.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn pins(&self) -> Result<Vec<String>> {
        let folder = format!("{}/{}", tidegate_common::names::PIN_ROOT, self.instance.0);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }
}
