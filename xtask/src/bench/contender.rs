//! Proxies side by side: tidegate, haproxy, nginx and Envoy before the same origin, each with one thread on one core.
//! Never tunes one of them beyond what its manual gives as the way to do it.

mod bare;
mod envoy;
mod haproxy;
mod load;
mod nginx;
mod tidegate;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_tests::certs::{Authority, Pair};
use tidegate_tests::daemon::Daemon;
use tidegate_tests::http;
use tidegate_tests::nginx::Nginx;
use tidegate_tests::process::{Process, wait_until};
use tidegate_tests::scratch::Folder;

pub(super) use self::load::{Served, h2load, wrk};
use super::machine;
use crate::build;
use crate::setup::{self, For};
use crate::sh;

/// The core that the proxy has for itself.
pub(super) const PROXY_CORE: usize = 0;
/// The core of everything else.
pub(super) const OTHER_CORE: usize = 1;
/// The name that clients ask for.
pub(super) const HOST: &str = "www.example.com";
/// Longest wait until a contender answers.
const START: Duration = Duration::from_secs(15);

/// What the proxies are asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    /// Forward.
    Plain,
    /// Forward what comes over TLS.
    Tls,
    /// Forward what comes over HTTP/2, in cleartext.
    Http2,
    /// Forward, with ceilings that are never reached.
    Watched,
    /// Let so many requests per second through.
    Ceiling(u64),
    /// The same; what begins with `/play` is critical.
    Classes(u64),
    /// Hand over to another instance by mutual TLS and HTTP/2.
    Isthmus,
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tidegate,
    Haproxy,
    Nginx,
    Envoy,
    /// hyper alone.
    Bare,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tidegate => "tidegate",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::Bare => "bare hyper",
        }
    }
}

/// What all contenders stand before and are made of.
pub(super) struct Site {
    /// tidegate's binary.
    binary: PathBuf,
    /// Envoy's, where it could be installed.
    envoy: Option<PathBuf>,
    /// Why it could not.
    pub(super) no_envoy: Option<String>,
    /// The origin's address.
    pub(super) origin: SocketAddr,
    authority: Authority,
    server: Pair,
    identities: [Pair; 2],
    _nginx: Nginx,
    _folder: Folder,
}

impl Site {
    /// Installs and builds what is missing, and starts the origin.
    pub(super) fn prepare() -> Result<Self> {
        let cores = std::thread::available_parallelism()?.get();
        ensure!(cores >= 2, "this bench needs two cores: one for the proxy, one for load and origin");
        setup::ensure(&[For::Traffic])?;
        let (envoy, no_envoy) = match envoy::program() {
            Ok(program) => (Some(program), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        if let Some(why) = &no_envoy {
            eprintln!("  without Envoy: {why}");
        }
        let binary = match std::env::var_os("TIDEGATE_BIN") {
            Some(path) => path.into(),
            None => build::host(true)?,
        };
        let folder = Folder::new("site")?;
        let authority = Authority::new(&folder, "bench")?;
        let server = authority.server(&folder, HOST)?;
        let identities = [authority.region(&folder, "here")?, authority.region(&folder, "there")?];
        let (nginx, origin) = origin()?;
        Ok(Self {
            binary,
            envoy,
            no_envoy,
            origin,
            authority,
            server,
            identities,
            _nginx: nginx,
            _folder: folder,
        })
    }

    /// The proxies that can be started here; hyper alone is none of them.
    pub(super) fn kinds(&self) -> Vec<Kind> {
        let mut kinds = vec![Kind::Tidegate, Kind::Haproxy, Kind::Nginx];
        kinds.extend(self.envoy.is_some().then_some(Kind::Envoy));
        kinds
    }

    /// All of them with one setting.
    pub(super) fn all(&self, setting: Setting) -> Result<Vec<Contender>> {
        self.kinds().into_iter().map(|kind| self.start(kind, setting)).collect()
    }

    /// Starts one.
    pub(super) fn start(&self, kind: Kind, setting: Setting) -> Result<Contender> {
        let started = match kind {
            Kind::Tidegate => tidegate::start(self, setting),
            Kind::Haproxy => haproxy::start(self, setting),
            Kind::Nginx => nginx::start(self, setting),
            Kind::Envoy => envoy::start(self, setting),
            Kind::Bare => bare::start(self, setting),
        };
        let ready = started.and_then(|started| started.ready(setting));
        ready.with_context(|| format!("starting {} ({setting:?})", kind.name()))
    }
}

/// A running proxy.
pub(super) struct Contender {
    pub(super) kind: Kind,
    pub(super) address: SocketAddr,
    running: Running,
    /// The far end of an isthmus.
    pub(super) far: Option<Box<Contender>>,
    _folder: Option<Folder>,
}

enum Running {
    Tidegate(Box<Daemon>),
    Other(Process),
}

/// Keeps ports from being given to two servers of one run.
pub(super) fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Contender {
    pub(super) fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn other(kind: Kind, address: SocketAddr, process: Process, folder: Folder) -> Self {
        Self { kind, address, running: Running::Other(process), far: None, _folder: Some(folder) }
    }

    fn daemon_at(address: SocketAddr, daemon: Daemon) -> Self {
        let running = Running::Tidegate(Box::new(daemon));
        Self { kind: Kind::Tidegate, address, running, far: None, _folder: None }
    }

    /// Waits until it answers, and puts all of its threads on the proxy's core; what is far goes to the other one.
    fn ready(mut self, setting: Setting) -> Result<Self> {
        let address = self.address;
        let answers = || match setting {
            Setting::Tls | Setting::Http2 => std::net::TcpStream::connect(address).is_ok(),
            Setting::Isthmus => {
                http::tcp(address, "GET", "/", &[], b"").is_ok_and(|answer| answer.status == 200)
            }
            _ => http::tcp(address, "GET", "/", &[], b"").is_ok(),
        };
        match &mut self.running {
            Running::Tidegate(_) => wait_until("the proxy's answer", START, answers)?,
            Running::Other(process) => process.wait_until("answering", START, answers)?,
        }
        pin(self.id()?, PROXY_CORE)?;
        if let Some(far) = &self.far {
            pin(far.id()?, OTHER_CORE)?;
        }
        Ok(self)
    }

    fn id(&self) -> Result<u32> {
        match &self.running {
            Running::Tidegate(daemon) => daemon.id().context("tidegate ended"),
            Running::Other(process) => Ok(process.id()),
        }
    }

    /// The daemon, where it is tidegate.
    pub(super) fn daemon(&self) -> Option<&Daemon> {
        match &self.running {
            Running::Tidegate(daemon) => Some(daemon),
            Running::Other(_) => None,
        }
    }

    /// CPU time so far, in microseconds, of all its threads.
    pub(super) fn cpu_us(&self) -> Result<f64> {
        machine::cpu_us(self.id()?).with_context(|| self.name())
    }

    /// Resident memory in KiB.
    pub(super) fn resident_kib(&self) -> Result<f64> {
        machine::resident_kib(self.id()?).with_context(|| self.name())
    }
}

/// Puts a process on one core.
pub(super) fn pin(id: u32, core: usize) -> Result<()> {
    sh::output(Command::new("taskset").args(["-a", "-c", "-p", &core.to_string(), &id.to_string()])).map(drop)
}

/// An nginx that answers everything at once, on the other core.
fn origin() -> Result<(Nginx, SocketAddr)> {
    let address = free()?;
    let mut nginx = Nginx::start(None, address, "origin")?;
    pin(nginx.process().id(), OTHER_CORE)?;
    Ok((nginx, address))
}
