//! A TCP relay between two processes that can be cut. Never changes a byte.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

/// How often a side that hears nothing looks at the cable.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// Connections are closed, new ones too.
    Closed,
    /// Connections stay and nothing comes through.
    Silent,
    Ended,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// Connections of an earlier number are closed.
    epoch: u64,
}

type Shared = Arc<(Mutex<State>, Condvar)>;

/// The cable; it ends with its owner.
#[derive(Debug)]
pub struct Cable {
    /// Where its near end listens.
    pub address: SocketAddr,
    shared: Shared,
    listener: Option<JoinHandle<()>>,
}

fn state(shared: &Shared) -> MutexGuard<'_, State> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cable {
    /// Leads to `far`.
    ///
    /// # Errors
    /// When there is no port.
    pub fn to(far: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared: Shared = Arc::new((Mutex::new(State { mode: Mode::Open, epoch: 0 }), Condvar::new()));
        let of_thread = Arc::clone(&shared);
        let listener = std::thread::spawn(move || accept(&listener, far, &of_thread));
        Ok(Self { address, shared, listener: Some(listener) })
    }

    fn set(&self, mode: Mode) {
        let mut state = state(&self.shared);
        if mode == Mode::Closed || mode == Mode::Ended {
            state.epoch += 1;
        }
        state.mode = mode;
        self.shared.1.notify_all();
    }

    /// Closes all connections, and new ones until it is mended.
    pub fn cut(&self) {
        self.set(Mode::Closed);
    }

    /// Lets nothing through until it is mended or cut.
    pub fn hush(&self) {
        self.set(Mode::Silent);
    }

    /// Lets everything through again.
    pub fn mend(&self) {
        self.set(Mode::Open);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.set(Mode::Ended);
        // Wakes the listener up.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.listener.take() {
            let _ended = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, far: SocketAddr, shared: &Shared) {
    while let Ok((near, _)) = listener.accept() {
        let State { mode, epoch } = *state(shared);
        match mode {
            Mode::Ended => return,
            Mode::Closed => drop(near),
            Mode::Open | Mode::Silent => drop(join(near, far, shared, epoch)),
        }
    }
}

fn join(near: TcpStream, far: SocketAddr, shared: &Shared, epoch: u64) -> std::io::Result<()> {
    let far = TcpStream::connect_timeout(&far, Duration::from_secs(20))?;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK))?;
    }
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        let shared = Arc::clone(shared);
        std::thread::spawn(move || copy(from, to, &shared, epoch));
    }
    Ok(())
}

/// Moves bytes one way until either side ends or the cable is cut.
fn copy(mut from: TcpStream, mut to: TcpStream, shared: &Shared, epoch: u64) {
    let mut bytes = vec![0; 64 * 1024];
    while passable(shared, epoch) {
        match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(read) => {
                if !passable(shared, epoch) || to.write_all(&bytes[..read]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    for stream in [&from, &to] {
        let _gone = stream.shutdown(Shutdown::Both);
    }
}

/// Waits while nothing comes through; false when this connection is closed.
fn passable(shared: &Shared, epoch: u64) -> bool {
    let waits = |state: &mut State| state.mode == Mode::Silent && state.epoch == epoch;
    let state = shared.1.wait_while(state(shared), waits).unwrap_or_else(PoisonError::into_inner);
    state.epoch == epoch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo() -> Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut bytes = [0; 64];
                while let Ok(read @ 1..) = stream.read(&mut bytes) {
                    let _gone = stream.write_all(&bytes[..read]);
                }
            }
        });
        Ok(address)
    }

    #[test]
    fn bytes_pass_wait_and_end() -> Result<()> {
        let cable = Cable::to(echo()?)?;
        let mut near = TcpStream::connect(cable.address)?;
        let mut bytes = [0; 2];
        near.write_all(b"ab")?;
        near.read_exact(&mut bytes)?;
        cable.hush();
        near.write_all(b"cd")?;
        near.set_read_timeout(Some(Duration::from_millis(100)))?;
        assert!(near.read_exact(&mut bytes).is_err(), "nothing comes through");
        near.set_read_timeout(Some(Duration::from_secs(60)))?;
        cable.mend();
        near.read_exact(&mut bytes)?;
        assert_eq!(&bytes, b"cd");
        cable.cut();
        assert!(matches!(near.read(&mut bytes), Ok(0) | Err(_)));
        cable.mend();
        let mut near = TcpStream::connect(cable.address)?;
        near.write_all(b"ef")?;
        near.read_exact(&mut bytes)?;
        assert_eq!(&bytes, b"ef");
        Ok(())
    }
}
