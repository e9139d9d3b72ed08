//! Debian's haproxy with the edge's timeouts, in front of the same origins: what another proxy makes of the same attack. Never judged.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use tidegate_tests::ports::free_address;
use tidegate_tests::process::Process;
use tidegate_tests::scratch::Folder;

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
        let mut process = Process::spawn("haproxy", &mut command, &folder.file("log"))?;
        process
            .wait_until("answering", START, || doors.iter().all(|door| TcpStream::connect(door).is_ok()))?;
        Ok(Self { process, doors, _folder: folder })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}
