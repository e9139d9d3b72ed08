//! A service manager's part in a restart, as systemd plays it: keeps the descriptors that a daemon gives it (`FDSTORE=1`), and starts the
//! next one with them (`LISTEN_FDS`). Never supervises: cases say when to stop and start.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use rustix::io::FdFlags;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, sockopt};

use crate::process::wait_until;
use crate::scratch::Folder;

/// Most descriptors in one message.
const MOST: usize = 64;
/// Longest wait for a word.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the daemon said and gave.
#[derive(Debug, Default)]
struct Heard {
    words: Vec<String>,
    store: HashMap<String, Vec<OwnedFd>>,
}

/// A service manager for one daemon.
#[derive(Debug)]
pub struct Manager {
    path: PathBuf,
    heard: Arc<Mutex<Heard>>,
    _folder: Folder,
}

impl Manager {
    /// Listens where daemons started with [`Self::prepare`] speak.
    ///
    /// # Errors
    /// When the socket can't be made.
    pub fn new() -> Result<Self> {
        let folder = Folder::new("manager")?;
        let path = folder.file("notify");
        let socket = UnixDatagram::bind(&path)?;
        let heard = Arc::new(Mutex::new(Heard::default()));
        let ear = Arc::clone(&heard);
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(Duration::from_millis(200)))?;
        std::thread::spawn(move || {
            // Ends when the manager is gone.
            while Arc::strong_count(&ear) > 1 {
                if let Ok((words, given)) = receive(&socket) {
                    ear.lock().unwrap_or_else(PoisonError::into_inner).take(&words, given);
                }
            }
        });
        Ok(Self { path, heard, _folder: folder })
    }

    /// Wraps a command so that it speaks to this manager and finds what the one before had stored.
    ///
    /// # Errors
    /// When descriptors can't be passed on.
    pub fn prepare(&self, command: &Command) -> Result<(Command, Vec<OwnedFd>)> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut script, mut names, mut held) = (String::new(), Vec::new(), Vec::new());
        for (name, descriptors) in &heard.store {
            for descriptor in descriptors {
                // Far above the numbers that they are moved to.
                let copy = rustix::io::fcntl_dupfd_cloexec(descriptor, 200)?;
                rustix::io::fcntl_setfd(&copy, FdFlags::empty())?;
                script +=
                    &format!("exec {}<&{} {}<&-; ", 3 + names.len(), copy.as_raw_fd(), copy.as_raw_fd());
                names.push(name.clone());
                held.push(copy);
            }
        }
        script += "export LISTEN_PID=$$; exec \"$0\" \"$@\"";
        let mut wrapped = Command::new("bash");
        wrapped.args(["-c", &script]).arg(command.get_program()).args(command.get_args());
        wrapped.env("NOTIFY_SOCKET", &self.path);
        wrapped.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        Ok((wrapped, held))
    }

    /// Forgets what was said, not what was given.
    pub fn forget_words(&self) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).words.clear();
    }

    /// Waits until the daemon said this line.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_for(&self, word: &str) -> Result<()> {
        wait_until(&format!("{word:?} to be notified"), PATIENCE, || {
            let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.words.iter().any(|line| line == word)
        })
    }

    /// How many descriptors are stored under each name.
    #[must_use]
    pub fn stored(&self) -> HashMap<String, usize> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.store.iter().map(|(name, stored)| (name.clone(), stored.len())).collect()
    }
}

impl Heard {
    fn take(&mut self, words: &str, given: Vec<OwnedFd>) {
        let name = words.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or("stored").to_owned();
        if words.lines().any(|line| line == "FDSTOREREMOVE=1") {
            self.store.remove(&name);
        }
        if words.lines().any(|line| line == "FDSTORE=1") {
            let stored = self.store.entry(name).or_default();
            for new in given {
                // As systemd: one handle of each open file is enough.
                if !stored.iter().any(|old| is_same(old, &new)) {
                    stored.push(new);
                }
            }
        }
        self.words.extend(words.lines().map(str::to_owned));
    }
}

fn is_same(one: &OwnedFd, two: &OwnedFd) -> bool {
    let inode = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).ok();
    inode(one) == inode(two)
}

fn receive(socket: &UnixDatagram) -> io::Result<(String, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut words = [0; 8192];
    let mut slices = [IoSliceMut::new(&mut words)];
    let got = rustix::net::recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut given = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            given.extend(some);
        }
    }
    Ok((String::from_utf8_lossy(&words[..got.bytes]).into_owned(), given))
}
