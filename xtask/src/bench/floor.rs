//! What any front pays: one thread that moves bytes from socket to socket, or answers each read with the same bytes.
//! Never looks at a byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::epoll;
use rustix::thread::{CpuSet, sched_setaffinity};

/// Longest sleep of the thread before it looks whether it is over.
const NAP: Duration = Duration::from_millis(100);

/// What becomes of what a client sends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Act {
    /// It goes to this server, over a connection for each client's, and what comes back goes to the client: two reads and two writes for each
    /// request.
    Carry(SocketAddr),
    /// It is answered with these bytes: a read and a write.
    Answer(&'static [u8]),
}

/// The least that stands between a client and an answer. For small batches only: it writes with patience.
pub(super) struct Pipe {
    pub(super) address: SocketAddr,
    /// Its thread, in this process.
    pub(super) thread: u32,
    stop: Arc<AtomicBool>,
    handle: Option<JoinHandle<Result<()>>>,
}

impl Pipe {
    /// Starts one, on one core or on any.
    pub(super) fn start(act: Act, core: Option<usize>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let (address, stop) = (listener.local_addr()?, Arc::new(AtomicBool::new(false)));
        let (tell, told) = channel();
        let over = Arc::clone(&stop);
        let handle = std::thread::Builder::new()
            .name("byte-pipe".into())
            .spawn(move || run(&listener, act, core, &over, &tell))?;
        let thread = told.recv().context("the pipe did not start")?;
        Ok(Self { address, thread, stop, handle: Some(handle) })
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(Ok(Err(error))) = self.handle.take().map(JoinHandle::join) {
            eprintln!("  the byte pipe: {error:#}");
        }
    }
}

/// Event 0 is the listener; ends 2n and 2n + 1 belong together, as events 2n + 1 and 2n + 2.
fn run(
    listener: &TcpListener,
    act: Act,
    core: Option<usize>,
    over: &AtomicBool,
    tell: &Sender<u32>,
) -> Result<()> {
    if let Some(core) = core {
        let mut cores = CpuSet::new();
        cores.set(core);
        sched_setaffinity(None, &cores).context("going to one core")?;
    }
    tell.send(u32::try_from(rustix::thread::gettid().as_raw_nonzero().get())?)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, listener, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?;
    let mut ends: Vec<Option<TcpStream>> = Vec::new();
    let (mut ready, mut scratch) = (Vec::with_capacity(256), vec![0; 64 * 1024]);
    let nap = rustix::event::Timespec { tv_sec: 0, tv_nsec: NAP.as_nanos() as i64 };
    while !over.load(Ordering::Relaxed) {
        ready.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut ready), Some(&nap))?;
        for event in &ready {
            let Some(from) = usize::try_from(event.data.u64())?.checked_sub(1) else {
                let (client, _) = listener.accept()?;
                for end in [Some(client), beyond(act)?] {
                    let data = epoll::EventData::new_u64(ends.len() as u64 + 1);
                    if let Some(end) = &end {
                        end.set_nodelay(true)?;
                        epoll::add(&poll, end, data, epoll::EventFlags::IN)?;
                    }
                    ends.push(end);
                }
                continue;
            };
            if !moved(&mut ends, from, act, &mut scratch) {
                // Dropped, both are closed and no longer polled.
                (ends[from], ends[from ^ 1]) = (None, None);
            }
        }
    }
    Ok(())
}

/// The connection to the server, where there is one.
fn beyond(act: Act) -> Result<Option<TcpStream>> {
    match act {
        Act::Carry(server) => Ok(Some(TcpStream::connect(server)?)),
        Act::Answer(_) => Ok(None),
    }
}

/// Reads what one end has, and moves or answers it; false when either is at its end.
fn moved(ends: &mut [Option<TcpStream>], from: usize, act: Act, scratch: &mut [u8]) -> bool {
    let Some(read) = ends[from].as_mut().and_then(|end| end.read(scratch).ok()) else { return false };
    let (to, bytes) = match act {
        Act::Carry(_) => (from ^ 1, &scratch[..read]),
        Act::Answer(answer) => (from, answer),
    };
    read > 0 && ends[to].as_mut().is_some_and(|to| to.write_all(bytes).is_ok())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::{Act, Pipe};

    #[test]
    fn bytes_are_carried_and_answered() {
        let answers = Pipe::start(Act::Answer(b"no"), None).unwrap();
        let carries = Pipe::start(Act::Carry(answers.address), None).unwrap();
        let mut stream = TcpStream::connect(carries.address).unwrap();
        for _ in 0..3 {
            let mut answer = [0; 2];
            stream.write_all(b"may I").unwrap();
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"no");
        }
    }
}
