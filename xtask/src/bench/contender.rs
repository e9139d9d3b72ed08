//! Proxies side by side: tidegate, haproxy and nginx before the same origin, each with one thread on one core.
//! Never tunes one of them beyond what its manual gives as the way to do it.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tidegate_tests::daemon::Daemon;
use tidegate_tests::http;
use tidegate_tests::process::Process;
use tidegate_tests::scratch::Folder;

use crate::sh;

/// What the proxies are asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    /// Forward.
    Plain,
    /// Forward, with a ceiling that is never reached.
    Watched,
    /// Let so many requests per second through.
    Ceiling(u64),
}

/// A running proxy.
pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    running: Running,
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
    /// Starts tidegate.
    pub(super) fn tidegate(binary: &Path, origin: SocketAddr, setting: Setting) -> Result<Self> {
        let address = free()?;
        let ceiling = match setting {
            Setting::Plain => String::new(),
            Setting::Watched => {
                ceiling("everyone", "", 10_000_000) + &ceiling("home", "home = \"here\"\n", 10_000_000)
            }
            Setting::Ceiling(rate) => ceiling("everyone", "", rate),
        };
        let body = format!(
            "[[region]]\nname = \"here\"\n[geo]\ndefault_region = \"here\"\n[xdp]\ninterfaces = []\n[log]\naccess = \"off\"\n\
             [[upstream]]\nname = \"origin\"\nendpoints = [\"http://{origin}\"]\n\
             [[listener]]\nname = \"public\"\naddress = \"{address}\"\nupstream = \"origin\"\n{ceiling}"
        );
        let mut daemon = Daemon::prepare_from(binary.to_path_buf(), None, "here", &body)?;
        let file = daemon.configuration();
        let text = fs::read_to_string(&file)?.replacen("[host]\n", "[host]\nworkers = 1\n", 1);
        fs::write(&file, text)?;
        daemon.run()?;
        Self { name: "tidegate", address, running: Running::Tidegate(Box::new(daemon)), _folder: None }
            .ready()
    }

    /// Starts haproxy; its usual idiom for a ceiling is a stick table with a rate over one second.
    pub(super) fn haproxy(origin: SocketAddr, setting: Setting) -> Result<Self> {
        let (folder, address) = (Folder::new("haproxy")?, free()?);
        let limit = match setting {
            Setting::Plain => String::new(),
            Setting::Watched => limit(10_000_000),
            Setting::Ceiling(rate) => limit(rate),
        };
        let text = format!(
            "global\n  nbthread 1\n  maxconn 20000\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 75s\n  timeout server 30s\n\
             frontend public\n  bind {address}\n{limit}  option forwardfor\n  default_backend origin\n\
             backend origin\n  http-reuse always\n  server one {origin}\n"
        );
        let file = folder.write("haproxy.cfg", &text)?;
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(file);
        let process = Process::spawn("haproxy", &mut command, &folder.file("log"))?;
        Self { name: "haproxy", address, running: Running::Other(process), _folder: Some(folder) }.ready()
    }

    /// Starts nginx; its ceiling is `limit_req` with a burst of 100 ms, as tidegate's is by default.
    pub(super) fn nginx(origin: SocketAddr, setting: Setting) -> Result<Self> {
        let (folder, address) = (Folder::new("nginx")?, free()?);
        let (zone, limit) = match setting {
            Setting::Plain => (String::new(), String::new()),
            Setting::Watched => request_limit(10_000_000),
            Setting::Ceiling(rate) => request_limit(rate),
        };
        let at = folder.path().display();
        let text = format!(
            "daemon off; master_process off; pid {at}/pid; error_log stderr crit;\nevents {{ worker_connections 10000; }}\n\
             http {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u;\n\
             scgi_temp_path {at}/s; keepalive_requests 100000000; {zone}\n\
             upstream origin {{ server {origin}; keepalive 256; keepalive_requests 100000000; }}\n\
             server {{ listen {address}; location / {{ {limit} proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_pass http://origin; }} }} }}\n"
        );
        let file = folder.write("nginx.conf", &text)?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(file).arg("-p").arg(folder.path()).arg("-e").arg("stderr");
        let process = Process::spawn("nginx", &mut command, &folder.file("log"))?;
        Self { name: "nginx", address, running: Running::Other(process), _folder: Some(folder) }.ready()
    }

    /// All three.
    pub(super) fn all(binary: &Path, origin: SocketAddr, setting: Setting) -> Result<Vec<Self>> {
        Ok(vec![
            Self::tidegate(binary, origin, setting)?,
            Self::haproxy(origin, setting)?,
            Self::nginx(origin, setting)?,
        ])
    }

    /// Waits until it answers, and puts all of its threads on the first core.
    fn ready(mut self) -> Result<Self> {
        let address = self.address;
        let answers = || http::tcp(address, "GET", "/", &[], b"").is_ok();
        let bound = Duration::from_secs(10);
        match &mut self.running {
            Running::Tidegate(_) => {
                tidegate_tests::process::wait_until("the proxy's answer", bound, answers)?;
            }
            Running::Other(process) => process.wait_until("answering", bound, answers)?,
        }
        pin(self.id()?, 0)?;
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
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()?))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // Fields 14 and 15 (proc(5)), counted from the state, in ticks of 10 ms.
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
        let (user, system) = (ticks(11).context("utime")?, ticks(12).context("stime")?);
        Ok((user + system) * 10_000.0)
    }

    /// Resident memory in MiB.
    pub(super) fn resident_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        let kib = line.trim().split(' ').next().and_then(|kib| kib.parse::<f64>().ok());
        Ok(kib.context("VmRSS")? / 1024.0)
    }
}

/// Puts a process on one core.
pub(super) fn pin(id: u32, core: usize) -> Result<()> {
    sh::output(Command::new("taskset").args(["-a", "-c", "-p", &core.to_string(), &id.to_string()])).map(drop)
}

fn ceiling(name: &str, home: &str, rate: u64) -> String {
    format!("[[ceiling]]\nname = \"{name}\"\n{home}requests_per_second = {rate}\n")
}

fn limit(rate: u64) -> String {
    format!(
        "  stick-table type integer size 1 expire 10s store http_req_rate(1s)\n  http-request track-sc0 int(1)\n\
         \x20 http-request deny deny_status 503 if {{ sc_http_req_rate(0) gt {rate} }}\n"
    )
}

fn request_limit(rate: u64) -> (String, String) {
    let zone = format!("limit_req_zone $server_name zone=all:1m rate={rate}r/s; limit_req_status 503;");
    (zone, format!("limit_req zone=all burst={} nodelay;", (rate / 10).max(1)))
}

/// An nginx that answers everything at once, on the second core.
pub(super) fn origin() -> Result<(tidegate_tests::nginx::Nginx, SocketAddr)> {
    let address = free()?;
    let mut nginx = tidegate_tests::nginx::Nginx::start(None, address, "origin")?;
    pin(nginx.process().id(), 1)?;
    Ok((nginx, address))
}

/// Requests per second and failures that wrk counted, from the second core.
pub(super) fn wrk(address: SocketAddr, connections: u32, seconds: u32) -> Result<f64> {
    let url = format!("http://{address}/");
    let mut command = Command::new("taskset");
    command.args(["-c", "1", "wrk", "-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), &url]);
    let said = sh::output(&mut command)?;
    let line = said.lines().find(|line| line.contains(" requests in ")).context("wrk's count")?;
    let count =
        line.split_whitespace().next().and_then(|count| count.parse::<f64>().ok()).context("wrk's count")?;
    ensure!(count > 0.0, "no requests: {said}");
    Ok(count)
}
