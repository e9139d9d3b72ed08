//! Handing the listening sockets from a running daemon to the next one without a service manager (`tidegate run --replace`): the words of
//! both ends. Never starts, drains or stops anything.
//!
//! Over a socket in the state folder, open to the daemon's own user and root:
//!
//! ```text
//! next daemon                       running daemon
//! (connects)                     -> names and sockets (SCM_RIGHTS); goes on accepting
//! "ready": it can begin          -> lets go of state, NIC, relay and admin socket; its proxy goes on
//! (starts)                       <- "yours"
//! "up": it accepts               -> drains and ends
//! ```
//!
//! Where the next daemon breaks off, the running one takes everything back and goes on.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};
use tokio::sync::mpsc;

/// The socket, in the instance's state folder.
pub(super) const NAME: &str = "hand-over";
/// After the last sockets.
const END: &[u8] = b"\n";
/// Sockets in one message; the kernel takes 253.
const MOST_SOCKETS: usize = 64;
/// Bytes of one message.
const MOST_BYTES: usize = 16 << 10;
/// Longest wait for a word that needs no work.
const PROMPT: Duration = Duration::from_secs(10);
/// Longest wait for the other end to stop or start its parts.
const WORK: Duration = Duration::from_secs(120);

/// The sockets are not handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// A system call failed.
    #[error("taking over from the running daemon by {}: {source}", path.display())]
    Socket {
        /// Where it was asked.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Listening sockets by listener name.
pub(super) type Named = Vec<(String, TcpListener)>;

fn is_nobody(error: rustix::io::Errno) -> bool {
    matches!(error, rustix::io::Errno::NOENT | rustix::io::Errno::CONNREFUSED)
}

/// The running daemon's ear; closed when dropped.
pub(super) struct Offer {
    socket: OwnedFd,
}

/// The next daemon, which waits for its turn.
pub(super) struct Successor {
    socket: OwnedFd,
    /// Its process.
    pub(super) pid: i32,
}

/// Begins to listen for the next daemon, which gets what `sockets` says at that moment. A stale socket is replaced: the caller holds the
/// state folder's lock.
pub(super) fn offer(
    path: &Path,
    sockets: impl Fn() -> io::Result<Named> + Send + 'static,
    successors: mpsc::Sender<Successor>,
) -> io::Result<Offer> {
    _ = std::fs::remove_file(path);
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    // Before it listens: nobody but the owner (and root) ever connects.
    rustix::fs::chmod(path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)?;
    rustix::net::listen(&socket, 4)?;
    let ear = socket.try_clone()?;
    let thread = std::thread::Builder::new().name("hand-over".to_owned());
    thread.spawn(move || hear(&ear, &sockets, &successors))?;
    Ok(Offer { socket })
}

impl Drop for Offer {
    fn drop(&mut self) {
        // Ends the thread's accept.
        _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }
}

fn hear(ear: &OwnedFd, sockets: &impl Fn() -> io::Result<Named>, successors: &mpsc::Sender<Successor>) {
    while let Ok(socket) = rustix::net::accept_with(ear, SocketFlags::CLOEXEC) {
        match meet(socket, sockets) {
            Ok(successor) => {
                // One at a time: whoever comes while one waits is let go.
                _ = successors.try_send(successor);
            }
            Err(error) => tracing::warn!(%error, "a hand-over of the listening sockets broke off"),
        }
    }
}

/// Gives the sockets to whoever connected, and waits until it is ready to begin.
fn meet(socket: OwnedFd, sockets: &impl Fn() -> io::Result<Named>) -> io::Result<Successor> {
    let peer = sockopt::socket_peercred(&socket)?;
    if !peer.uid.is_root() && peer.uid != rustix::process::geteuid() {
        return Err(io::Error::other(format!("uid {} may not take over", peer.uid.as_raw())));
    }
    bound(&socket, PROMPT)?;
    for some in sockets()?.chunks(MOST_SOCKETS) {
        let names: Vec<&str> = some.iter().map(|(name, _)| name.as_str()).collect();
        let handles: Vec<_> = some.iter().map(|(_, socket)| socket.as_fd()).collect();
        say(&socket, names.join("\n").as_bytes(), &handles)?;
    }
    say(&socket, END, &[])?;
    expect(&socket, b"ready")?;
    Ok(Successor { socket, pid: peer.pid.as_raw_nonzero().get() })
}

impl Successor {
    /// State, NIC, relay and admin socket are free; waits until the next daemon accepts. Blocks.
    pub(super) fn yours(&self) -> io::Result<()> {
        say(&self.socket, b"yours", &[])?;
        bound(&self.socket, WORK)?;
        expect(&self.socket, b"up")
    }
}

/// The running daemon, as the next one sees it.
pub(super) struct Predecessor {
    socket: OwnedFd,
    path: PathBuf,
}

/// Asks the running daemon for its sockets; `None` where there is none. Blocks.
pub(super) fn ask(path: &Path) -> Result<Option<(Predecessor, Named)>, HandOverError> {
    let failed = |source| HandOverError::Socket { path: path.to_owned(), source };
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let socket = socket.map_err(|error| failed(error.into()))?;
    let address = SocketAddrUnix::new(path).map_err(|error| failed(error.into()))?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => {}
        Err(error) if is_nobody(error) => return Ok(None),
        Err(error) => return Err(failed(error.into())),
    }
    bound(&socket, PROMPT).map_err(failed)?;
    let sockets = receive_all(&socket).map_err(failed)?;
    Ok(Some((Predecessor { socket, path: path.to_owned() }, sockets)))
}

impl Predecessor {
    /// Says that we can begin, and waits until everything is free. Blocks.
    pub(super) fn take_over(&self) -> Result<(), HandOverError> {
        let failed = |source| HandOverError::Socket { path: self.path.clone(), source };
        say(&self.socket, b"ready", &[]).map_err(failed)?;
        bound(&self.socket, WORK).map_err(failed)?;
        expect(&self.socket, b"yours").map_err(failed)
    }

    /// We accept: it may go.
    pub(super) fn up(self) -> Result<(), HandOverError> {
        say(&self.socket, b"up", &[])
            .map_err(|source| HandOverError::Socket { path: self.path.clone(), source })
    }
}

fn receive_all(socket: &OwnedFd) -> io::Result<Named> {
    let mut sockets = Vec::new();
    loop {
        let (names, handles) = hear_one(socket)?;
        if names == END {
            return Ok(sockets);
        }
        if names.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let names = String::from_utf8_lossy(&names).into_owned();
        let listeners = handles.into_iter().map(TcpListener::from);
        sockets.extend(names.lines().map(str::to_owned).zip(listeners));
    }
}

fn bound(socket: impl AsFd, time: Duration) -> io::Result<()> {
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(time))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(time))?;
    Ok(())
}

fn say(socket: &OwnedFd, words: &[u8], handles: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !handles.is_empty() && !control.push(SendAncillaryMessage::ScmRights(handles)) {
        return Err(io::Error::other("too many sockets for one message"));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(words)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn hear_one(socket: &OwnedFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut words = vec![0; MOST_BYTES];
    let mut slices = [IoSliceMut::new(&mut words)];
    let heard = rustix::net::recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    words.truncate(heard.bytes);
    let mut handles = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            handles.extend(some);
        }
    }
    Ok((words, handles))
}

fn expect(socket: &OwnedFd, word: &[u8]) -> io::Result<()> {
    match hear_one(socket)?.0 {
        heard if heard == word => Ok(()),
        heard if heard.is_empty() => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        heard => Err(io::Error::other(format!("unexpected: {:?}", String::from_utf8_lossy(&heard)))),
    }
}
