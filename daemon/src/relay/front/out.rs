//! Answer bytes on their way to the client, held back until the invalidations before them are in the spool. Never reorders.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use super::gate::Gate;

/// The queue.
#[derive(Default)]
pub(super) struct Out {
    bytes: Vec<u8>,
    sent: usize,
    /// Bytes up to here may go.
    free: usize,
    /// Bytes up to here may go once the ticket is durable.
    gates: VecDeque<(usize, u64)>,
}

impl Out {
    /// Appends bytes that wait for `ticket` (0: for nothing); writes at once where nothing waits.
    pub(super) fn push(&mut self, client: &TcpStream, gate: &Gate, ticket: u64, bytes: &[u8]) {
        let free = gate.is_durable(ticket);
        let mut bytes = bytes;
        if free
            && self.bytes.is_empty()
            && let Ok(written) = client.try_write(bytes)
        {
            bytes = &bytes[written..];
        }
        if bytes.is_empty() {
            return;
        }
        self.bytes.extend_from_slice(bytes);
        if free && self.gates.is_empty() {
            self.free = self.bytes.len();
        } else {
            match self.gates.back_mut().filter(|(_, last)| *last == ticket) {
                Some((end, _)) => *end = self.bytes.len(),
                None => self.gates.push_back((self.bytes.len(), ticket)),
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Writes what may go. Pending while something is left.
    pub(super) fn poll(
        &mut self,
        client: &mut TcpStream,
        gate: &Gate,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while let Some(&(end, ticket)) = self.gates.front() {
                if !gate.poll_durable(ticket, cx.waker()) {
                    break;
                }
                self.free = end;
                self.gates.pop_front();
            }
            if self.sent < self.free {
                match Pin::new(&mut *client).poll_write(cx, &self.bytes[self.sent..self.free]) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(written)) => self.sent += written,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                }
            } else if self.sent < self.bytes.len() {
                return Poll::Pending;
            } else {
                self.bytes.clear();
                (self.sent, self.free) = (0, 0);
                if self.bytes.capacity() > 256 * 1024 {
                    self.bytes = Vec::new();
                }
                return Poll::Ready(Ok(()));
            }
        }
    }
}
