//! A client's places on the shared lines to its servers, and which one its last request took. Never more than one request at a time.

use std::sync::Arc;
use std::task::Context;

use super::shared::{Seat, Shared};
use crate::decide::relay::single::Kind;

/// Buffers that have grown beyond this are given back, in bytes.
const KEPT: usize = 64 * 1024;

/// The places.
pub(super) struct Seats {
    shared: Arc<Shared>,
    seats: Vec<Option<Seat>>,
    /// The server whose shared line took the last request; `None` when that went over the client's own connection.
    current: Option<usize>,
    /// The next bytes are one request of this kind.
    offered: Option<Kind>,
    kind: Option<Kind>,
    spent: Vec<u8>,
}

impl Seats {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, seats: Vec::new(), current: None, offered: None, kind: None, spent: Vec::new() }
    }

    /// The next request may go over a shared line, as one of this kind; `None`: it goes over the client's own connection.
    pub(super) fn offer(&mut self, kind: Option<Kind>) {
        self.offered = kind;
        if kind.is_none() {
            self.current = None;
        }
    }

    /// Sends bytes for a server over its shared line, if they belong there: an offered request, or what is sent right behind one.
    pub(super) fn send(&mut self, lane: usize, bytes: &[u8]) -> bool {
        let Some(kind) = self.offered.take() else {
            let Some(seat) = self.current.filter(|&at| at == lane).and_then(|at| self.seats[at].as_ref())
            else {
                return false;
            };
            // Deletes of ours: in text they answer nothing, in binary they do.
            seat.send(bytes, self.kind.filter(|kind| kind.binary()));
            return true;
        };
        self.current = None;
        if self.seats.len() <= lane {
            self.seats.resize_with(lane + 1, || None);
        }
        if self.seats[lane].is_none() {
            self.seats[lane] = Seat::take(self.shared.line(lane, kind));
        }
        let Some(seat) = &self.seats[lane] else { return false };
        if !seat.free() {
            // A seat whose line is gone is of no use any more.
            self.seats[lane] = None;
            return false;
        }
        seat.send(bytes, Some(kind));
        (self.current, self.kind) = (Some(lane), Some(kind));
        true
    }

    /// The server whose shared line took the last request.
    pub(super) fn lane(&self) -> Option<usize> {
        self.current
    }

    /// Whether an answer is due.
    pub(super) fn due(&self) -> bool {
        self.current.and_then(|at| self.seats[at].as_ref()).is_some_and(Seat::due)
    }

    /// Takes what has come into `answer`; when the line is gone, why. Then the client is called when there is more.
    pub(super) fn fetch(&mut self, answer: &mut Vec<u8>, cx: &Context<'_>) -> Option<Arc<str>> {
        let lane = self.current?;
        let lost = self.seats[lane].as_ref()?.fetch(answer, cx);
        if lost.is_some() {
            (self.seats[lane], self.current) = (None, None);
        }
        lost
    }

    /// An empty buffer to fetch into.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spent)
    }

    /// Gives the buffer back.
    pub(super) fn give_back(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= KEPT {
            buffer.clear();
            self.spent = buffer;
        }
    }
}
