//! A headless Chromium and a small server with a page and what it asks for. Never fetches from anywhere but loopback.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};

use crate::scratch::Folder;

/// Answers a path with a content type and a body; `None` is 404.
pub type Pages = dyn Fn(&str, u64) -> Option<(&'static str, String)> + Send + Sync;

/// Serves pages on loopback for as long as the process lives; the number passed along counts requests of that path's kind.
///
/// # Errors
/// When no port can be bound.
pub fn serve(pages: Arc<Pages>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no loopback port")?;
    let address = listener.local_addr()?;
    let count = Arc::new(AtomicU64::new(0));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (pages, count) = (Arc::clone(&pages), Arc::clone(&count));
            thread::spawn(move || answer(&stream, pages.as_ref(), &count));
        }
    });
    Ok(address)
}

fn answer(mut stream: &TcpStream, pages: &Pages, count: &AtomicU64) -> io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = first.split(' ').nth(1).unwrap_or("/");
    let (status, kind, body) = match pages(path, count.fetch_add(1, Ordering::Relaxed)) {
        Some((kind, body)) => ("200 OK", kind, body),
        None => ("404 Not Found", "text/plain", String::new()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// Chromium with a profile of its own.
#[derive(Debug)]
pub struct Browser {
    profile: Folder,
    names: Vec<String>,
}

impl Browser {
    /// A browser that knows nothing of earlier ones.
    ///
    /// # Errors
    /// When no folder can be made for its profile.
    pub fn new() -> Result<Self> {
        Ok(Self { profile: Folder::new("browser")?, names: Vec::new() })
    }

    /// The same browser, for which these host names have these addresses.
    #[must_use]
    pub fn with_names(mut self, names: &[(&str, Ipv4Addr)]) -> Self {
        self.names = names.iter().map(|(name, address)| format!("MAP {name} {address}")).collect();
        self
    }

    fn command(&self, size: (u32, u32), dark: bool) -> Command {
        let mut chromium = Command::new("chromium");
        // Without a sandbox: tests run as root, and the page comes from loopback.
        chromium.args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ]);
        chromium.args([
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ]);
        chromium.args(["--enable-logging=stderr", "--virtual-time-budget=90000"]);
        chromium.arg(format!("--window-size={},{}", size.0, size.1));
        chromium.arg(format!("--user-data-dir={}", self.profile.path().display()));
        if !self.names.is_empty() {
            chromium.arg(format!("--host-resolver-rules={}", self.names.join(",")));
        }
        if dark {
            chromium.arg("--blink-settings=preferredColorScheme=0");
        }
        chromium
    }

    /// The page's elements after it ran for some seconds of its own time, and what it wrote to its console.
    ///
    /// # Errors
    /// When Chromium can't be started or fails.
    pub fn elements(&self, url: &str) -> Result<(String, Vec<String>)> {
        let done = run(self.command((1280, 900), false).args(["--dump-dom", url]))?;
        let told = String::from_utf8_lossy(&done.stderr);
        let console = told.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect();
        Ok((String::from_utf8_lossy(&done.stdout).into_owned(), console))
    }

    /// Writes a PNG of the page.
    ///
    /// # Errors
    /// When Chromium can't be started or leaves no picture.
    pub fn picture(&self, url: &str, size: (u32, u32), dark: bool, file: &Path) -> Result<()> {
        run(self.command(size, dark).arg(format!("--screenshot={}", file.display())).arg(url))?;
        ensure!(file.is_file(), "chromium left no {}", file.display());
        Ok(())
    }
}

fn run(command: &mut Command) -> Result<Output> {
    let done = command.output().context("cannot start chromium (Debian package chromium)")?;
    ensure!(done.status.success(), "chromium: {}", String::from_utf8_lossy(&done.stderr));
    Ok(done)
}
