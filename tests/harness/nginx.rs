//! A real nginx as an origin.
//! Never reads or writes the system's own nginx configuration.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::http;
use crate::netns::Netns;
use crate::process::Process;
use crate::scratch::Folder;

const START: Duration = Duration::from_secs(60);
/// Bytes of a large answer.
pub const LARGE: usize = 8 << 20;

/// A running nginx; ends on drop.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
    _folder: Folder,
}

impl Nginx {
    /// Serves `label` as the body of every path at `address`, in a namespace or (`None`) here; `/healthz` says `ok`, `/large` has [`LARGE`] bytes.
    ///
    /// # Errors
    /// When nginx is missing or doesn't answer in time.
    pub fn start(namespace: Option<&Netns>, address: SocketAddr, label: &str) -> Result<Self> {
        let folder = Folder::new("nginx")?;
        folder.write("large", &"x".repeat(LARGE))?;
        let file = folder.write("nginx.conf", &configuration(folder.path(), address, label))?;
        let mut command =
            namespace.map_or_else(|| Command::new("nginx"), |namespace| namespace.command("nginx"));
        command.arg("-c").arg(file).arg("-p").arg(folder.path()).arg("-e").arg(folder.file("error.log"));
        let mut process = Process::spawn("nginx", &mut command, &folder.file("output"))?;
        let ask = || http::tcp(address, "GET", "/healthz", &[], b"").is_ok_and(|answer| answer.status == 200);
        process.wait_until("answering", START, || match namespace {
            Some(namespace) => namespace.run(ask).unwrap_or(false),
            None => ask(),
        })?;
        Ok(Self { process, _folder: folder })
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn configuration(folder: &Path, address: SocketAddr, label: &str) -> String {
    let folder = folder.display();
    format!(
        r#"daemon off;
master_process off;
pid {folder}/pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    sendfile_max_chunk 64k;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000;
    default_type text/plain;
    server {{
        listen {address} reuseport;
        location = /healthz {{ return 200 "ok\n"; }}
        location = /large {{ alias {folder}/large; }}
        location / {{
            add_header X-Origin "{label}" always;
            return 200 "{label}\n";
        }}
    }}
}}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::Nginx;
    use crate::http;
    use crate::netns::{Netns, unavailable};

    #[test]
    fn serves_its_label() {
        let missing = std::process::Command::new("nginx").arg("-v").output().is_err();
        if let Some(reason) = unavailable().or(missing.then_some("needs nginx")) {
            eprintln!("skipped: {reason}");
            return;
        }
        let namespace = Netns::new("nginx").unwrap();
        let address = "127.0.0.1:80".parse().unwrap();
        let _nginx = Nginx::start(Some(&namespace), address, "eu-west-1").unwrap();
        let answer = namespace.run(|| http::tcp(address, "GET", "/x", &[], b"")).unwrap().unwrap();
        assert_eq!(answer.text(), "eu-west-1\n");
    }
}
