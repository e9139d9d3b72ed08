//! Debian's haproxy and nginx with the edge's timeouts, in front of the same origins: what other proxies make of the same attack. Never judged.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use tidegate_tests::ports::free_address;
use tidegate_tests::process::Process;
use tidegate_tests::scratch::Folder;

const WAIT: Duration = Duration::from_secs(60);

/// Starts one in front of the origins for other clients and for hostile ones; heads are due within the first time, everything else within the
/// second.
pub(crate) type Start = fn([SocketAddr; 2], Duration, Duration) -> Result<Beside>;

/// Another proxy, running; ends on drop.
pub(crate) struct Beside {
    pub(crate) name: &'static str,
    process: Process,
    /// For other clients, and for hostile ones.
    pub(crate) doors: [SocketAddr; 2],
    _folder: Folder,
}

impl Beside {
    /// haproxy with a thread per core; heads are due within `head`, everything else within `pause`.
    pub(crate) fn haproxy(origins: [SocketAddr; 2], head: Duration, pause: Duration) -> Result<Self> {
        let doors = [free_address()?, free_address()?];
        let mut text = format!(
            "global\n  maxconn 8000\n  nbthread {}\ndefaults\n  mode http\n  timeout connect 1s\n  timeout server 60s\n  \
             timeout http-request {}s\n  timeout http-keep-alive 4s\n  timeout client {}s\n  http-reuse always\n",
            std::thread::available_parallelism()?,
            head.as_secs(),
            pause.as_secs()
        );
        for (at, (door, origin)) in doors.iter().zip(origins).enumerate() {
            text += &format!("listen l{at}\n  bind {door}\n  server one {origin}\n");
        }
        let folder = Folder::new("haproxy")?;
        let file = folder.write("haproxy.cfg", &text)?;
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(file);
        Self::start("haproxy", &mut command, doors, folder)
    }

    /// nginx with a worker per core and the same terms; it does not read ahead of clients.
    pub(crate) fn nginx(origins: [SocketAddr; 2], head: Duration, pause: Duration) -> Result<Self> {
        let doors = [free_address()?, free_address()?];
        let folder = Folder::new("nginx")?;
        let text = nginx_file(folder.path(), &doors, origins, (head, pause))?;
        let file = folder.write("nginx.conf", &text)?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(file).arg("-p").arg(folder.path()).arg("-e").arg(folder.file("error.log"));
        Self::start("nginx", &mut command, doors, folder)
    }

    fn start(
        name: &'static str,
        command: &mut Command,
        doors: [SocketAddr; 2],
        folder: Folder,
    ) -> Result<Self> {
        let mut process = Process::spawn(name, command, &folder.file("log"))?;
        process
            .wait_until("answering", WAIT, || doors.iter().all(|door| TcpStream::connect(door).is_ok()))?;
        Ok(Self { name, process, doors, _folder: folder })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

fn nginx_file(
    folder: &Path,
    doors: &[SocketAddr; 2],
    origins: [SocketAddr; 2],
    (head, pause): (Duration, Duration),
) -> Result<String> {
    let (folder, workers) = (folder.display(), std::thread::available_parallelism()?);
    let (head, pause) = (head.as_secs(), pause.as_secs());
    let mut text = format!(
        "daemon off;\nuser root;\nworker_processes {workers};\npid {folder}/pid;\nevents {{ worker_connections 16384; }}\nhttp {{\n\
         access_log off;\nclient_body_temp_path {folder}/body;\nproxy_temp_path {folder}/proxy;\nfastcgi_temp_path {folder}/fastcgi;\n\
         uwsgi_temp_path {folder}/uwsgi;\nscgi_temp_path {folder}/scgi;\nclient_header_timeout {head}s;\nclient_body_timeout {pause}s;\n\
         send_timeout {pause}s;\nkeepalive_timeout 4s;\nkeepalive_requests 1000000;\nreset_timedout_connection on;\nproxy_buffering off;\n\
         proxy_request_buffering off;\nproxy_http_version 1.1;\nproxy_set_header Connection \"\";\n"
    );
    for (at, (door, origin)) in doors.iter().zip(origins).enumerate() {
        text += &format!(
            "upstream u{at} {{ server {origin}; keepalive 64; }}\n\
             server {{ listen {door} reuseport backlog=4096; location / {{ proxy_pass http://u{at}; }} }}\n"
        );
    }
    Ok(text + "}\n")
}
