//! Network namespaces with links, addresses and routes, removed on drop.
//! Never enters or changes the namespace that the test was started in.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{scratch, sweep};

/// Where iproute2 keeps namespaces.
pub(crate) const NAMESPACES: &str = "/run/netns";

/// Why namespaces can't be used here, if they can't: cases print it as the reason of a skip.
#[must_use]
pub fn unavailable() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root for network namespaces");
    }
    None
}

/// A network namespace; its links vanish with it.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes one with its loopback up. Names what it is for by `label` (letters and digits).
    ///
    /// # Errors
    /// When `ip` is missing or this isn't root.
    pub fn new(label: &str) -> Result<Self> {
        sweep::orphans();
        let name = scratch::unique(label);
        ip(&["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file, for `setns(2)`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(NAMESPACES).join(&self.name)
    }

    /// A command that will run inside, with this machine's mounts (bpffs among them), unlike `ip netns exec`.
    /// The child's process id is the program's own.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Runs `ip ARGUMENTS` inside.
    ///
    /// # Errors
    /// When it fails; the error carries what `ip` said.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["-netns", &self.name];
        all.extend(arguments);
        ip(&all)
    }

    /// Runs the closure on a thread inside; sockets it makes stay inside.
    ///
    /// # Errors
    /// When the namespace can't be entered, or the closure panics.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let namespace = File::open(self.path()).with_context(|| format!("opening {}", self.name))?;
        thread::scope(|scope| {
            let inside = scope.spawn(move || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(work())
            });
            inside.join().map_err(|_| anyhow!("the thread in {} panicked", self.name))?
        })
    }

    /// Starts a thread inside that may outlive this call.
    ///
    /// # Errors
    /// When the namespace can't be opened.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<thread::JoinHandle<Result<T>>> {
        let namespace = File::open(self.path()).with_context(|| format!("opening {}", self.name))?;
        Ok(thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(work())
        }))
    }

    /// Writes a sysctl of this namespace, such as `net/ipv4/ip_forward`.
    ///
    /// # Errors
    /// When there is no such key or it can't be written.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let file = format!("/proc/sys/{key}");
        self.run(|| std::fs::write(&file, value))?.with_context(|| format!("writing {file} in {}", self.name))
    }

    /// Forwards packets between its links, v4 and v6.
    ///
    /// # Errors
    /// When the sysctls can't be written.
    pub fn forward(&self) -> Result<()> {
        self.sysctl("net/ipv4/ip_forward", "1")?;
        self.sysctl("net/ipv6/conf/all/forwarding", "1")
    }

    /// Adds an address with its prefix length to a link, usable at once (no duplicate detection).
    ///
    /// # Errors
    /// When `ip` refuses it.
    pub fn address(&self, link: &str, address: &str) -> Result<()> {
        let mut arguments = vec!["address", "add", address, "dev", link];
        if address.contains(':') {
            arguments.push("nodad");
        }
        self.ip(&arguments).map(drop)
    }

    /// Adds a route; `to` may be `default`.
    ///
    /// # Errors
    /// When `ip` refuses it.
    pub fn route(&self, to: &str, via: &str) -> Result<()> {
        let family = if via.contains(':') { "-6" } else { "-4" };
        self.ip(&[family, "route", "add", to, "via", via]).map(drop)
    }

    /// The hardware address of a link.
    ///
    /// # Errors
    /// When there is no such link.
    pub fn mac(&self, link: &str) -> Result<String> {
        let shown = self.ip(&["-oneline", "link", "show", "dev", link])?;
        let mut words = shown.split_whitespace().skip_while(|word| *word != "link/ether");
        words
            .nth(1)
            .map(str::to_owned)
            .with_context(|| format!("{link} in {} has no hardware address", self.name))
    }

    /// Switches checksum and segmentation offloads of a link off, so that packets look as they would on a wire.
    ///
    /// # Errors
    /// When `ethtool` is missing or refuses.
    pub fn no_offloads(&self, link: &str) -> Result<()> {
        let mut ethtool = self.command("ethtool");
        ethtool.args(["-K", link, "tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off"]);
        finish(&mut ethtool).map(drop)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = ip(&["netns", "delete", &self.name]);
    }
}

/// A veth pair between two namespaces, up on both ends, offloads off, with static neighbours left to the kernel.
///
/// # Errors
/// When the names are taken or `ip` refuses.
pub fn link(one: (&Netns, &str), other: (&Netns, &str)) -> Result<()> {
    let ((a, a_link), (b, b_link)) = (one, other);
    ip(&[
        "link",
        "add",
        "name",
        a_link,
        "netns",
        a.name(),
        "type",
        "veth",
        "peer",
        "name",
        b_link,
        "netns",
        b.name(),
    ])?;
    for (namespace, link) in [one, other] {
        namespace.no_offloads(link)?;
        namespace.ip(&["link", "set", link, "up"])?;
    }
    Ok(())
}

/// Runs a command to its end and returns its standard output.
///
/// # Errors
/// When it can't be started or fails; the error carries its standard error.
pub fn finish(command: &mut Command) -> Result<String> {
    let done = command.output().with_context(|| format!("starting {command:?}"))?;
    if !done.status.success() {
        bail!("{command:?} failed ({}): {}", done.status, String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

pub(crate) fn ip(arguments: &[&str]) -> Result<String> {
    finish(Command::new("ip").args(arguments))
}

#[cfg(test)]
mod tests {
    use super::{Netns, link, unavailable};
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn two_namespaces_talk_over_a_link_and_vanish() {
        if let Some(reason) = unavailable() {
            eprintln!("skipped: {reason}");
            return;
        }
        let (server, client) = (Netns::new("server").unwrap(), Netns::new("client").unwrap());
        link((&server, "eth0"), (&client, "eth0")).unwrap();
        for (namespace, v4, v6) in
            [(&server, "192.0.2.1/24", "2001:db8::1/64"), (&client, "192.0.2.2/24", "2001:db8::2/64")]
        {
            namespace.address("eth0", v4).unwrap();
            namespace.address("eth0", v6).unwrap();
        }
        for address in ["192.0.2.1:80", "[2001:db8::1]:80"] {
            let listener = server.run(|| TcpListener::bind(address)).unwrap().unwrap();
            let mut stream = client.run(|| TcpStream::connect(address)).unwrap().unwrap();
            stream.write_all(b"x").unwrap();
            let mut got = [0];
            listener.accept().unwrap().0.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"x");
        }
        assert_eq!(server.mac("eth0").unwrap().len(), 17);
        assert!(server.route("192.0.2.0/24", "nonsense").is_err());
        let paths = [server.path(), client.path()];
        drop((server, client));
        assert!(paths.iter().all(|path| !path.exists()));
    }

    #[test]
    fn a_command_runs_inside() {
        if let Some(reason) = unavailable() {
            eprintln!("skipped: {reason}");
            return;
        }
        let namespace = Netns::new("inside").unwrap();
        namespace.ip(&["link", "add", "only0", "type", "veth", "peer", "only1"]).unwrap();
        let links = super::finish(namespace.command("ip").args(["-brief", "link"])).unwrap();
        assert!(links.contains("only0"), "{links}");
    }
}
