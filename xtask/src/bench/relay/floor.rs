//! What any front pays, and any durable spool: a pipe that moves bytes from socket to socket, and an append that is made durable.
//! Never looks at a byte.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::epoll;
use tidegate_tests::scratch::Folder;

/// Longest sleep of the pipe before it looks whether it is over.
const NAP: Duration = Duration::from_millis(100);
/// Bytes of the file that appends go to, written before so that its length never changes.
const LOG: usize = 1 << 20;
/// Bytes of an append: about what 64 clients' captured sets weigh.
pub(super) const APPEND: usize = 2048;
/// Appends per measurement.
const APPENDS: usize = 50;

/// The least that stands between a client and a server: one thread, a server's connection for each client's, two reads and two writes for
/// each request. For small batches only: it writes with patience.
pub(super) struct Pipe {
    pub(super) address: SocketAddr,
    /// Its thread, in this process.
    pub(super) thread: u32,
    stop: Arc<AtomicBool>,
    handle: Option<JoinHandle<Result<()>>>,
}

impl Pipe {
    /// Starts one before `server`.
    pub(super) fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let (address, stop) = (listener.local_addr()?, Arc::new(AtomicBool::new(false)));
        let (tell, told) = channel();
        let over = Arc::clone(&stop);
        let handle = std::thread::Builder::new()
            .name("byte-pipe".into())
            .spawn(move || carry(&listener, server, &over, &tell))?;
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

/// Event 0 is the listener; sockets 2n and 2n + 1 belong together, as events 2n + 1 and 2n + 2.
fn carry(listener: &TcpListener, server: SocketAddr, over: &AtomicBool, tell: &Sender<u32>) -> Result<()> {
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
                for end in [client, TcpStream::connect(server)?] {
                    end.set_nodelay(true)?;
                    let data = epoll::EventData::new_u64(ends.len() as u64 + 1);
                    epoll::add(&poll, &end, data, epoll::EventFlags::IN)?;
                    ends.push(Some(end));
                }
                continue;
            };
            if !moved(&mut ends, from, &mut scratch) {
                // Dropped, both are closed and no longer polled.
                (ends[from], ends[from ^ 1]) = (None, None);
            }
        }
    }
    Ok(())
}

/// Moves what one socket has to the other; false when either is at its end.
fn moved(ends: &mut [Option<TcpStream>], from: usize, scratch: &mut [u8]) -> bool {
    let Some(read) = ends[from].as_mut().and_then(|end| end.read(scratch).ok()) else { return false };
    let to = ends[from ^ 1].as_mut();
    read > 0 && to.is_some_and(|to| to.write_all(&scratch[..read]).is_ok())
}

/// A file beside the spools, to append to.
pub(super) struct Log {
    file: File,
    at: usize,
    _folder: Folder,
}

impl Log {
    pub(super) fn make() -> Result<Self> {
        let folder = Folder::new("floor")?;
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(folder.file("log"))?;
        file.write_all_at(&vec![1; LOG], 0)?;
        file.sync_all()?;
        Ok(Self { file, at: 0, _folder: folder })
    }

    /// Microseconds of an append that is durable, in the middle of many.
    pub(super) fn append(&mut self) -> Result<f64> {
        let mut took = Vec::with_capacity(APPENDS);
        for _ in 0..APPENDS {
            let start = Instant::now();
            self.file.write_all_at(&[2; APPEND], self.at as u64)?;
            self.file.sync_data()?;
            took.push(start.elapsed().as_secs_f64() * 1e6);
            self.at = (self.at + APPEND) % LOG;
        }
        took.sort_unstable_by(f64::total_cmp);
        Ok(took[APPENDS / 2])
    }
}
