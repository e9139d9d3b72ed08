//! Frames over a byte stream. Never buffers more than one frame beyond what was asked for.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;

use crate::decide::relay::frame::{BadFrame, Frame};
use crate::link::Duplex;

/// Longest silence on a link: pings are answered.
pub(super) const SILENCE: Duration = Duration::from_secs(20);
/// Longest wait for a hello, and for a write to be taken.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A stream to or from a peer.
pub(super) type Stream = Box<dyn Duplex>;

/// Reads frames.
pub(super) struct Reader<R = ReadHalf<Stream>> {
    from: R,
    bytes: Vec<u8>,
    /// Bytes of the frame that was handed out last.
    taken: usize,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, bytes: Vec::new(), taken: 0 }
    }

    /// The next frame.
    ///
    /// # Errors
    /// At the end, after too long a silence, and at bytes that are no frame. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> io::Result<Frame<'_>> {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        loop {
            let size = Frame::read(&self.bytes).map_err(bad)?.map(|(_, size)| size);
            if let Some(size) = size {
                self.taken = size;
                return match Frame::read(&self.bytes).map_err(bad)? {
                    Some((frame, _)) => Ok(frame),
                    None => Err(io::ErrorKind::InvalidData.into()),
                };
            }
            self.bytes.reserve(64 * 1024);
            let read = timeout(SILENCE, self.from.read_buf(&mut self.bytes));
            if read.await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the peer is silent"))?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn bad(error: BadFrame) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Writes and empties the buffer.
pub(super) async fn send(to: &mut (impl AsyncWrite + Unpin), bytes: &mut Vec<u8>) -> io::Result<()> {
    let slow = |_| io::Error::new(io::ErrorKind::TimedOut, "the peer takes nothing");
    timeout(PATIENCE, to.write_all(bytes)).await.map_err(slow)??;
    timeout(PATIENCE, to.flush()).await.map_err(slow)??;
    bytes.clear();
    Ok(())
}

/// Both ends' hello; the region that the peer says it speaks for.
pub(super) async fn greet(stream: Stream, own: &str) -> io::Result<(Reader, WriteHalf<Stream>, String)> {
    let (read, mut write) = tokio::io::split(stream);
    let mut bytes = Vec::new();
    Frame::Hello { region: own }.write(&mut bytes);
    send(&mut write, &mut bytes).await?;
    let mut reader = Reader::new(read);
    let hello = timeout(PATIENCE, reader.next()).await;
    let region = match hello.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no hello"))?? {
        Frame::Hello { region } => region.to_owned(),
        _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "no hello")),
    };
    Ok((reader, write, region))
}
