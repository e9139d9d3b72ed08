//! One daemon: its spool on a disk that survives it, its fences, what it repeats, its links. Never decides by itself: lanes, fences,
//! windows and repetitions are the real ones.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::decide::relay::books::Books;
use crate::decide::relay::fence::Fences;
use crate::decide::relay::item::Items;
use crate::decide::relay::lane::{Lane, Row};
use crate::decide::relay::repeat::Repeats;
use crate::decide::relay::window::Window;

/// What is on disk of one lane.
#[derive(Clone, Default)]
pub(super) struct Disk {
    rows: BTreeMap<u64, Row>,
    resting: BTreeSet<u64>,
    books: Books,
    next: u64,
}

/// What the other region said of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    Applied,
    Rests,
    Repeated,
}

/// One lane as the spool's thread has it.
pub(super) struct Out {
    pub(super) region: usize,
    pub(super) lane: Lane,
    pub(super) disk: Disk,
    /// What the commit under way makes of the disk.
    coming: Option<Disk>,
    pub(super) ready: VecDeque<Arc<Row>>,
    pub(super) window: Window,
    /// The connection in use.
    pub(super) link: Option<usize>,
    pub(super) settled: Vec<(Arc<Row>, Settled)>,
}

impl Out {
    fn new(region: usize) -> Self {
        let disk = Disk { next: 1, ..Disk::default() };
        Self {
            region,
            lane: Lane::new(7, Books::default(), 1),
            disk,
            coming: None,
            ready: VecDeque::new(),
            window: Window::new(1),
            link: None,
            settled: Vec::new(),
        }
    }

    pub(super) fn check(&self) {
        assert_eq!(self.lane.books().pending(), Some(self.lane.pending()), "{:?}", self.lane.books());
    }

    /// Nothing is pending, on its way, or kept for a repetition.
    pub(super) fn assert_done(&self) {
        self.check();
        assert_eq!(self.lane.pending(), 0, "{:?}", self.lane.books());
        assert!(self.disk.rows.is_empty() && self.disk.resting.is_empty(), "rows are left on disk");
    }

    /// Captures and settles, and says what the disk will be after the commit.
    fn begin(&mut self, items: &[u8], most: u64) {
        let mut disk = self.disk.clone();
        for item in Items::new(items) {
            self.lane.capture(&item);
            self.check();
        }
        self.cut(&mut disk);
        for (row, how) in std::mem::take(&mut self.settled) {
            if how != Settled::Repeated {
                self.lane.applied(&row);
                self.check();
            }
            if how == Settled::Rests && disk.rows.contains_key(&row.first) {
                disk.resting.insert(row.first);
            } else {
                disk.rows.remove(&row.first);
                disk.resting.remove(&row.first);
            }
        }
        if self.lane.pending() > most {
            self.lane.convert();
            self.check();
            self.cut(&mut disk);
        }
        disk.books = self.lane.books();
        self.coming = Some(disk);
    }

    fn cut(&mut self, disk: &mut Disk) {
        if let Some(below) = self.lane.take_void() {
            disk.rows = disk.rows.split_off(&below);
            disk.resting = disk.resting.split_off(&below);
            self.ready.clear();
        }
        if let Some(row) = self.lane.take_row(0) {
            disk.next = row.end();
            disk.rows.insert(row.first, row.clone());
            self.ready.push_back(Arc::new(row));
        }
    }

    /// The daemon is there again, with what is on disk.
    fn restart(&mut self) {
        let disk = std::mem::take(&mut self.disk);
        let mut lane = Lane::new(8, disk.books, disk.next);
        for row in disk.rows.values().filter(|row| !disk.resting.contains(&row.first)) {
            lane.restore(row);
        }
        assert_eq!(lane.reconcile(), 0, "the disk holds more than the books");
        let ready = disk.rows.values().map(|row| Arc::new(row.clone())).collect();
        *self = Self { lane, ready, disk, ..Self::new(self.region) };
        self.check();
    }
}

/// A batch that came over a link.
pub(super) struct Job {
    pub(super) items: Vec<u8>,
    pub(super) link: usize,
    pub(super) number: u64,
}

pub(super) struct Host {
    pub(super) region: usize,
    pub(super) alive: bool,
    /// Lives so far: events of an earlier one are void.
    pub(super) life: u32,
    pub(super) fences: Fences,
    pub(super) invalidations: u64,
    pub(super) repeats: Repeats<(usize, u64)>,
    pub(super) jobs: VecDeque<Job>,
    pub(super) applying: bool,
    pub(super) outs: Vec<Out>,
    /// Captured and not in a commit yet, up to ticket `submitted`.
    inbox: Vec<u8>,
    submitted: u64,
    committing: Option<u64>,
    pub(super) durable: u64,
    buckets: usize,
    repeat_after: Duration,
}

impl Host {
    pub(super) fn new(region: usize, regions: usize, buckets: usize, repeat_after: Duration) -> Self {
        Self {
            region,
            alive: true,
            life: 0,
            fences: Fences::new(buckets),
            invalidations: 0,
            repeats: Repeats::new(repeat_after, 3),
            jobs: VecDeque::new(),
            applying: false,
            outs: (0..regions).filter(|other| *other != region).map(Out::new).collect(),
            inbox: Vec::new(),
            submitted: 0,
            committing: None,
            durable: 0,
            buckets,
            repeat_after,
        }
    }

    /// Hands items to the spool; the ticket.
    pub(super) fn submit(&mut self, items: &[u8]) -> u64 {
        self.inbox.extend_from_slice(items);
        self.submitted += 1;
        self.submitted
    }

    /// Starts a commit if there is anything to commit and none is under way.
    pub(super) fn begin(&mut self, most: u64) -> bool {
        let idle = self.inbox.is_empty() && self.outs.iter().all(|out| out.settled.is_empty());
        if self.committing.is_some() || idle {
            return false;
        }
        let items = std::mem::take(&mut self.inbox);
        self.outs.iter_mut().for_each(|out| out.begin(&items, most));
        self.committing = Some(self.submitted);
        true
    }

    pub(super) fn committed(&mut self) {
        for out in &mut self.outs {
            out.disk = out.coming.take().expect("a commit under way");
        }
        self.durable = self.committing.take().expect("a commit under way");
    }

    /// SIGKILL, or the power is cut: only disks stay.
    pub(super) fn die(&mut self) {
        self.alive = false;
        self.life += 1;
        self.fences = Fences::new(self.buckets);
        self.repeats = Repeats::new(self.repeat_after, 3);
        self.jobs.clear();
        self.applying = false;
        self.inbox.clear();
        self.committing = None;
        self.durable = self.submitted;
    }

    pub(super) fn restart(&mut self) {
        self.alive = true;
        self.outs.iter_mut().for_each(Out::restart);
    }
}
