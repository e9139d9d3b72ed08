//! A server for which slow connections are no work: it accepts, reads and answers nothing, and closes when it was told to. Beside it is seen
//! what a crowd costs others because it shares their machine, whomever it is after. Never more than one thread.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Longest time between two looks.
const TURN: Duration = Duration::from_millis(20);

/// A running sink; ends with the last connection that it was told of.
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
}

impl Sink {
    /// Bears the nth connection for as long as the nth of `times` says.
    pub(crate) fn start(times: Vec<Duration>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        std::thread::spawn(move || bear(&listener, times));
        Ok(Self { address })
    }
}

/// Accepts as many as there are times, and closes each when its time is over.
fn bear(listener: &TcpListener, times: Vec<Duration>) -> Result<()> {
    let (mut times, mut held) = (times.into_iter().enumerate().peekable(), BTreeMap::new());
    while times.peek().is_some() || !held.is_empty() {
        let nap = Timespec { tv_sec: 0, tv_nsec: i64::try_from(TURN.as_nanos())? };
        poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&nap))?;
        while times.peek().is_some()
            && let Some(stream) = accept(listener)?
        {
            let due = times.next().map(|(at, time)| (Instant::now() + time, at));
            held.extend(due.map(|due| (due, stream)));
        }
        let later = held.split_off(&(Instant::now(), 0));
        held = later;
    }
    Ok(())
}

fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    match listener.accept() {
        Ok((stream, _)) => Ok(Some(stream)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}
