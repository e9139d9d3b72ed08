//! Debian's haproxy with the edge's timeouts, in front of the same origins: what another proxy makes of the same attack. Never judged.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use tidegate_tests::process::Process;
use tidegate_tests::scratch::Folder;

/// Where it listens: no client has its own end there.
const HERE: &str = "127.2.0.2";
const START: Duration = Duration::from_secs(60);

/// A running haproxy; ends on drop.
pub(crate) struct Haproxy {
    process: Process,
    /// For other clients, and for hostile ones.
    pub(crate) doors: [SocketAddr; 2],
    _folder: Folder,
}

impl Haproxy {
    /// Starts one with a thread per core; heads are due within `head`, everything else within `pause`.
    pub(crate) fn start(origins: [SocketAddr; 2], head: Duration, pause: Duration) -> Result<Self> {
        let (one, two) = (TcpListener::bind((HERE, 0))?, TcpListener::bind((HERE, 0))?);
        let doors = [one.local_addr()?, two.local_addr()?];
        drop((one, two));
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
        let mut process = Process::spawn("haproxy", &mut command, &folder.file("log"))?;
        process
            .wait_until("answering", START, || doors.iter().all(|door| TcpStream::connect(door).is_ok()))?;
        Ok(Self { process, doors, _folder: folder })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}
