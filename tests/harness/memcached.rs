//! Real memcached servers, a small client of the text protocol, and regions: a daemon with its pool and servers.
//! Never uses a port that another holds.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::daemon::{Daemon, binary};
use crate::ports::free_address;
use crate::process::{Process, wait_for};
use crate::scratch::Folder;

/// Longest wait for a server to answer, and for each answer.
const BOUND: Duration = Duration::from_secs(60);

/// Longest wait until nothing is pending.
const SETTLE: Duration = Duration::from_secs(120);

/// A memcached server that ends with its owner.
#[derive(Debug)]
pub struct Memcached {
    address: SocketAddr,
    folder: Folder,
    process: Option<Process>,
}

impl Memcached {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        Self::start_at(free_address()?, arguments)
    }

    /// The same at an address of one's own.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_at(address: SocketAddr, arguments: &[&str]) -> Result<Self> {
        let mut server = Self { address, folder: Folder::new("memcached")?, process: None };
        server.run(arguments)?;
        Ok(server)
    }

    /// Starts it again on the same address, empty.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn run(&mut self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("memcached");
        command.args(["-u", "root", "-U", "0", "-t", "1", "-m", "64", "-l"]);
        command.arg(self.address.ip().to_string());
        command.args(["-p", &self.address.port().to_string()]).args(arguments);
        let mut process = Process::spawn("memcached", &mut command, &self.folder.file("log"))?;
        let address = self.address;
        process.wait_until("memcached accepting", BOUND, || TcpStream::connect(address).is_ok())?;
        self.process = Some(process);
        Ok(())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("memcached does not run")?.kill()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// A connection to it, past any front.
    ///
    /// # Errors
    /// When it refuses.
    pub fn client(&self) -> Result<Client> {
        Client::connect(self.address)
    }
}

/// A connection that speaks the text protocol.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(to: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(to).with_context(|| format!("connecting to {to}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(BOUND))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Waits so long for each answer.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn patience(&mut self, time: Duration) -> Result<()> {
        Ok(self.stream.get_ref().set_read_timeout(Some(time))?)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    /// One line of answer without its end.
    ///
    /// # Errors
    /// When the connection ends or nothing comes in time.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "the connection ended");
        Ok(line.trim_end().to_owned())
    }

    /// Sends a command and returns its first line of answer.
    ///
    /// # Errors
    /// As [`Self::line`].
    pub fn ask(&mut self, command: &str) -> Result<String> {
        self.send(command.as_bytes())?;
        self.send(b"\r\n")?;
        self.line()
    }

    /// `set`; the answer.
    ///
    /// # Errors
    /// As [`Self::line`].
    pub fn set(&mut self, key: &str, value: &str) -> Result<String> {
        self.ask(&format!("set {key} 0 0 {}\r\n{value}", value.len()))
    }

    /// `get`; `None` is a miss.
    ///
    /// # Errors
    /// When the answer is neither a value nor a miss.
    pub fn get(&mut self, key: &str) -> Result<Option<String>> {
        let line = self.ask(&format!("get {key}"))?;
        if line == "END" {
            return Ok(None);
        }
        let size = line.rsplit(' ').next().and_then(|size| size.parse::<usize>().ok());
        let mut value = vec![0; size.with_context(|| format!("answered {line:?}"))? + 2];
        self.stream.read_exact(&mut value)?;
        value.truncate(value.len() - 2);
        ensure!(self.line()? == "END", "no END behind a value");
        Ok(Some(String::from_utf8(value)?))
    }
}

/// A region's part of a relay: a daemon, its front, its memcached servers.
#[derive(Debug)]
pub struct RelayRegion {
    /// The daemon.
    pub daemon: Daemon,
    /// Its servers.
    pub servers: Vec<Memcached>,
    front: SocketAddr,
}

/// The addresses of two regions, `eu` and `us`, before anything runs.
#[derive(Clone, Debug)]
pub struct Places {
    peers: [SocketAddr; 2],
    binary: PathBuf,
    workers: Option<usize>,
}

impl Places {
    /// Picks free ones.
    ///
    /// # Errors
    /// When there are none.
    pub fn pick() -> Result<Self> {
        Self::pick_for(binary()?)
    }

    /// The same for a binary of one's own.
    ///
    /// # Errors
    /// When there are none.
    pub fn pick_for(binary: PathBuf) -> Result<Self> {
        Ok(Self { peers: [free_address()?, free_address()?], binary, workers: None })
    }

    /// Lets each daemon have so many workers.
    #[must_use]
    pub fn with_workers(self, workers: usize) -> Self {
        Self { workers: Some(workers), ..self }
    }

    /// Starts one region, `own` 0 or 1, over so many servers; `pool` are further lines of `[[relay.pool]]`, `relay` of `[relay]`.
    ///
    /// # Errors
    /// When something does not start.
    pub fn region(&self, own: usize, servers: usize, relay: &str, pool: &str) -> Result<RelayRegion> {
        let servers = (0..servers).map(|_| Memcached::start(&[])).collect::<Result<Vec<_>>>()?;
        let addresses: Vec<SocketAddr> = servers.iter().map(Memcached::address).collect();
        let host = self.host(own, &addresses, relay, pool)?;
        Ok(RelayRegion { servers, ..host })
    }

    /// Starts one host of a region over servers that are there already.
    ///
    /// # Errors
    /// When it does not start.
    pub fn host(&self, own: usize, servers: &[SocketAddr], relay: &str, pool: &str) -> Result<RelayRegion> {
        let (names, front) = (["eu", "us"], free_address()?);
        let addresses: Vec<String> = servers.iter().map(|server| format!("\"{server}\"")).collect();
        let body = format!(
            r#"
[[region]]
name = "eu"
edges = ["http://{}"]
[[region]]
name = "us"
edges = ["http://{}"]
[geo]
default_region = "eu"
[[upstream]]
name = "none"
endpoints = ["http://127.0.0.1:9"]
[[listener]]
name = "peer"
address = "{}"
kind = "peer"
trusted_peers = ["127.0.0.0/8"]
upstream = "none"
[relay]
{relay}
[[relay.pool]]
name = "p"
listen = "{front}"
servers = [{}]
regions = ["{}"]
{pool}
"#,
            self.peers[0],
            self.peers[1],
            self.peers[own],
            addresses.join(", "),
            names[1 - own],
        );
        let mut daemon = Daemon::prepare_from(self.binary.clone(), None, names[own], &body)?;
        if let Some(workers) = self.workers {
            let text = std::fs::read_to_string(daemon.configuration())?;
            let text = text.replacen("[host]\n", &format!("[host]\nworkers = {workers}\n"), 1);
            std::fs::write(daemon.configuration(), text)?;
        }
        daemon.run()?;
        Ok(RelayRegion { daemon, servers: Vec::new(), front })
    }
}

impl RelayRegion {
    /// Of a daemon that runs already.
    #[must_use]
    pub fn over(daemon: Daemon, servers: Vec<Memcached>, front: SocketAddr) -> Self {
        Self { daemon, servers, front }
    }

    /// Where applications connect.
    #[must_use]
    pub fn front(&self) -> SocketAddr {
        self.front
    }

    /// A client of the front.
    ///
    /// # Errors
    /// When it does not accept.
    pub fn client(&self) -> Result<Client> {
        Client::connect(self.front)
    }

    /// `tidegate relay --json`.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn report(&self) -> Result<String> {
        self.daemon.tell(&["relay", "--json"])
    }

    /// A number of the one lane's books, or `pending`.
    ///
    /// # Errors
    /// When the daemon does not answer or there is no such number.
    pub fn book(&self, word: &str) -> Result<u64> {
        number(&self.books()?, word)
    }

    /// The one lane's books, all of one instant.
    fn books(&self) -> Result<String> {
        Ok(self.daemon.admin("GET", "/v1/relay", "")?.text())
    }

    /// Waits until nothing is pending, and checks that the books close.
    ///
    /// # Errors
    /// When something stays pending, or the books do not close.
    pub fn settle(&self) -> Result<()> {
        let settled = |books: &String| number(books, "pending").is_ok_and(|pending| pending == 0);
        let books = wait_for("nothing pending", SETTLE, || self.books().ok().filter(settled))?;
        let sum = ["applied", "coalesced", "converted", "expired"].iter().map(|word| number(&books, word));
        ensure!(number(&books, "captured")? == sum.sum::<Result<u64>>()?, "the books do not close: {books}");
        Ok(())
    }
}

/// A number of books.
fn number(books: &str, word: &str) -> Result<u64> {
    let found = books.split_once(&format!("\"{word}\":")).map(|(_, rest)| rest.trim_start());
    let digits = found.with_context(|| format!("no {word} in {books}"))?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().with_context(|| format!("{word} in {books}"))
}
