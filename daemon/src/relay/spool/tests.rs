//! The spool on a disk that fails, tears and forgets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU8;

use redb::StorageBackend;

use super::changes::Batch;
use super::store::Store;
use super::*;
use crate::decide::relay::item::{Item, Items};

/// A disk in memory: what was synced, and what was only written.
#[derive(Debug, Default)]
struct Platter {
    synced: Vec<u8>,
    /// Writes and lengths since the last sync, in order.
    volatile: Vec<Change>,
    current: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Len(usize),
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Len(len) => bytes.resize(*len, 0),
        Change::Write(at, data) => {
            bytes.resize(bytes.len().max(at + data.len()), 0);
            bytes[*at..at + data.len()].copy_from_slice(data);
        }
    }
}

/// How a disk fails: not at all, ENOSPC, EIO, or EIO after a part of each write.
const WELL: u8 = 0;
const FULL: u8 = 1;
const BROKEN: u8 = 2;
const TORN: u8 = 3;
/// EIO at the sync after so many more of them, and from then on; writes go on.
const UNSYNCED: u8 = 100;

#[derive(Clone, Debug, Default)]
struct Disk {
    platter: Arc<Mutex<Platter>>,
    /// Of the other file.
    journal: Arc<Mutex<Platter>>,
    failing: Arc<AtomicU8>,
}

impl Disk {
    fn opener(&self) -> Opener {
        let disk = self.clone();
        let journal = Self { platter: Arc::clone(&self.journal), ..self.clone() };
        Opener {
            database: Box::new(move || {
                redb::Builder::new()
                    .create_with_backend(disk.clone())
                    .map_err(|error| StoreError::Damaged(error.to_string()))
            }),
            journal: Box::new(move || Ok(Box::new(journal.clone()))),
        }
    }

    fn check(&self) -> Result<(), std::io::Error> {
        match self.failing.load(Ordering::Relaxed) {
            WELL | UNSYNCED.. => Ok(()),
            FULL => Err(std::io::Error::from_raw_os_error(28)),
            _ => Err(std::io::Error::from_raw_os_error(5)),
        }
    }

    /// Power is cut: of what was not synced, each piece is there, torn, or not, as the dice say.
    fn cut_power(&self, dice: &mut impl FnMut(u64) -> u64) -> Self {
        // Both at the same instant.
        let (platter, journal) = (lock(&self.platter), lock(&self.journal));
        let mut left = |platter: &Platter| Arc::new(Mutex::new(platter.cut_power(dice)));
        Self { platter: left(&platter), journal: left(&journal), failing: Arc::default() }
    }
}

impl Platter {
    fn cut_power(&self, dice: &mut impl FnMut(u64) -> u64) -> Self {
        let mut bytes = self.synced.clone();
        for change in &self.volatile {
            match (change, dice(3)) {
                (_, 0) => {}
                (Change::Write(at, data), 1) => {
                    let part = usize::try_from(dice(data.len() as u64 + 1)).expect("small");
                    apply(&mut bytes, &Change::Write(*at, data[..part].to_vec()));
                }
                (change, _) => apply(&mut bytes, change),
            }
        }
        Self { synced: bytes.clone(), volatile: Vec::new(), current: bytes }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, std::io::Error> {
        Ok(lock(&self.platter).current.len() as u64)
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        let at = usize::try_from(offset).expect("small");
        out.copy_from_slice(&lock(&self.platter).current[at..at + out.len()]);
        Ok(())
    }
    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.check()?;
        let mut platter = lock(&self.platter);
        let change = Change::Len(usize::try_from(len).expect("small"));
        apply(&mut platter.current, &change);
        platter.volatile.push(change);
        Ok(())
    }
    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.check()?;
        match self.failing.load(Ordering::Relaxed) {
            UNSYNCED => return Err(std::io::Error::from_raw_os_error(5)),
            more @ UNSYNCED.. => self.failing.store(more - 1, Ordering::Relaxed),
            _ => {}
        }
        let mut platter = lock(&self.platter);
        platter.volatile.clear();
        platter.synced = platter.current.clone();
        Ok(())
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        let torn = self.failing.load(Ordering::Relaxed) == TORN;
        if !torn {
            self.check()?;
        }
        let part = if torn { &data[..data.len() / 2] } else { data };
        let mut platter = lock(&self.platter);
        let change = Change::Write(usize::try_from(offset).expect("small"), part.to_vec());
        apply(&mut platter.current, &change);
        platter.volatile.push(change);
        self.check()
    }
}

fn config(limit_bytes: u64, group: bool) -> SpoolConfig {
    let lane = LaneConfig {
        pool: 0,
        name: "p\0r".into(),
        group: 0,
        expire_after: Duration::from_secs(3600),
        flush_unknown: true,
    };
    SpoolConfig { limit_bytes, group, lanes: vec![lane], pools: 1, tick: TICK }
}

fn open(disk: &Disk, config: &SpoolConfig) -> (Spool, std::thread::JoinHandle<()>) {
    Spool::open(disk.opener(), config, false, Box::new(|_, _| {})).expect("opens")
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..20_000 {
        if done() {
            return;
        }
        std::thread::yield_now();
        std::thread::park_timeout(Duration::from_micros(500));
    }
    panic!("never: {what}");
}

fn put(spool: &Spool, key: &[u8]) -> u64 {
    let mut bytes = Vec::new();
    Item::Forget(key).write(&mut bytes);
    spool.submit(0, &bytes)
}

fn drain(spool: &Spool) -> Vec<Arc<Row>> {
    let mut rows = Vec::new();
    let mut seen = 0;
    until("all rows", || {
        rows.extend(std::iter::from_fn(|| spool.next(0)));
        seen = rows.iter().map(|row| u64::from(row.count)).sum::<u64>();
        seen >= spool.lane_state(0).pending
    });
    rows
}

fn closed(spool: &Spool) {
    let view = spool.lane_state(0);
    assert_eq!(view.books.pending(), Some(view.pending), "{:?}", view.books);
}

#[test]
fn what_was_durable_is_there_after_every_power_cut() {
    let seed = 20_261_124u64;
    let mut state = seed;
    let mut dice = move |sides: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % sides
    };
    let mut disk = Disk::default();
    let mut owed: BTreeSet<Vec<u8>> = BTreeSet::new();
    let lives = std::env::var("TIDEGATE_POWER_CUTS").map_or(60, |lives| lives.parse().expect("a number"));
    for life in 0..lives {
        let (spool, thread) = open(&disk, &config(1 << 30, true));
        closed(&spool);
        let mut tickets = BTreeMap::new();
        for n in 0..dice(30) {
            let key = format!("{life}:{}", n % 7).into_bytes();
            tickets.insert(put(&spool, &key), key);
            if dice(3) == 0 {
                until("durable", || tickets.keys().all(|&ticket| spool.is_durable(ticket)));
            }
        }
        let how = [FULL, BROKEN, TORN].get(usize::try_from(dice(12)).expect("small")).copied();
        disk.failing.store(how.unwrap_or(WELL), Ordering::Relaxed);
        let durable: Vec<Vec<u8>> = tickets
            .iter()
            .filter(|(ticket, _)| spool.is_durable(**ticket))
            .map(|(_, key)| key.clone())
            .collect();
        owed.extend(durable);
        let after = disk.cut_power(&mut dice);
        spool.stop();
        disk.failing.store(WELL, Ordering::Relaxed);
        thread.join().expect("the thread ends");
        disk = after;
        // The next life finds everything that was owed.
        let (spool, thread) = open(&disk, &config(1 << 30, true));
        closed(&spool);
        let rows = drain(&spool);
        let there: BTreeSet<Vec<u8>> = rows
            .iter()
            .flat_map(|row| Items::new(&row.items).filter_map(|item| item.key().map(|(key, _)| key.to_vec())))
            .collect();
        let lost: Vec<_> = owed.difference(&there).collect();
        assert!(lost.is_empty(), "seed {seed}, life {life}: lost {lost:?}");
        if dice(2) == 0 {
            rows.into_iter().for_each(|row| spool.applied(0, row));
            until("applied", || spool.lane_state(0).pending == 0);
            owed.clear();
        }
        closed(&spool);
        spool.stop();
        thread.join().expect("the thread ends");
    }
}

/// The lag is the age of what waits, wherever it does, and the word about the newest once nothing does.
#[test]
fn lag_grows_while_nothing_comes_back() {
    let disk = Disk::default();
    let aged = |spool: &Spool| {
        let view = spool.lane_state(0);
        assert_eq!((view.lag, view.pending), (view.oldest, 1));
        until("grown", || spool.lane_state(0).lag > view.lag);
        spool.lane_state(0).lag
    };
    let (spool, thread) = open(&disk, &config(1 << 30, true));
    assert_eq!(spool.lane_state(0).lag, None);
    let ticket = put(&spool, b"k");
    until("durable", || spool.is_durable(ticket));
    aged(&spool);
    spool.stop();
    thread.join().expect("the thread ends");
    let (spool, thread) = open(&disk, &config(1 << 30, true));
    aged(&spool);
    let rows = drain(&spool);
    let age = aged(&spool);
    rows.into_iter().for_each(|row| spool.applied(0, row));
    until("applied", || spool.lane_state(0).pending == 0);
    let view = spool.lane_state(0);
    assert!(view.oldest.is_none() && view.lag >= age);
    let now = unix_ms();
    until("time goes on", || unix_ms() > now + 2);
    assert_eq!(spool.lane_state(0).lag, view.lag, "nothing waits");
    spool.stop();
    thread.join().expect("the thread ends");
}

/// A spool whose thread is not woken by its tick: a call that is lost stays lost.
fn without_tick() -> (Spool, std::thread::JoinHandle<()>) {
    open(&Disk::default(), &SpoolConfig { tick: Duration::from_secs(24 * 3600), ..config(1 << 30, true) })
}

fn submit(spool: &Spool, key: &[u8], in_turn: bool) -> u64 {
    let mut bytes = Vec::new();
    Item::Forget(key).write(&mut bytes);
    spool.submit_looking(0, &bytes, in_turn, |_| {})
}

fn sleeps(spool: &Spool) {
    until("asleep", || lock(&spool.shared.inbox).call.sleeps());
}

/// What is handed over in one turn goes into one commit; a turn that does not end holds up nothing for long.
#[test]
fn a_commit_waits_for_what_a_worker_has_on_its_way() {
    let (spool, thread) = without_tick();
    until("together", || {
        sleeps(&spool);
        let before = spool.report().commits;
        spool.open_turn();
        let tickets = [submit(&spool, b"a", true), submit(&spool, b"b", true)];
        spool.hand_over(true);
        until("durable", || spool.is_durable(tickets[1]));
        spool.report().commits == before + 1
    });
    spool.open_turn();
    let ticket = submit(&spool, b"c", true);
    spool.hand_over(false);
    until("durable", || spool.is_durable(ticket));
    spool.hand_over(true);
    assert!(lock(&spool.shared.inbox).call.between_turns());
    spool.stop();
    thread.join().expect("the thread ends");
}

/// Another worker's turn lasts, as while its server hangs: whoever is in no turn of his own waits for nobody's.
#[test]
fn who_is_in_no_turn_does_not_wait_for_the_end_of_anothers() {
    let (spool, thread) = without_tick();
    spool.open_turn();
    let ticket = submit(&spool, b"a", true);
    spool.hand_over(false);
    until("durable", || spool.is_durable(ticket));
    for key in [b"b", b"c"] {
        sleeps(&spool);
        let ticket = submit(&spool, key, false);
        until("durable", || spool.is_durable(ticket));
    }
    spool.hand_over(true);
    spool.stop();
    thread.join().expect("the thread ends");
}

/// A flush to come is known to the next life for as long as the other region is not done with it.
#[test]
fn a_flush_to_come_is_there_after_a_crash() {
    let disk = Disk::default();
    let lives = |lives: &mut dyn FnMut(&Spool)| {
        let (spool, thread) = open(&disk, &config(1 << 30, true));
        lives(&spool);
        spool.stop();
        thread.join().expect("the thread ends");
        let (spool, thread) = open(&disk, &config(1 << 30, true));
        let to_come = spool.to_come_ms(0);
        spool.stop();
        thread.join().expect("the thread ends");
        to_come
    };
    let say = |spool: &Spool, items: &[Item<'_>]| {
        let mut bytes = Vec::new();
        items.iter().for_each(|item| item.write(&mut bytes));
        let ticket = spool.submit(0, &bytes);
        until("durable", || spool.is_durable(ticket));
    };
    let before = unix_ms();
    let due = lives(&mut |spool| say(spool, &[Item::Flush(900), Item::Flush(100), Item::Forget(b"k")]));
    assert!(due.is_some_and(|due| (before + 100_000..=unix_ms() + 100_000).contains(&due)));
    let rests = lives(&mut |spool| drain(spool).into_iter().for_each(|row| spool.rests(0, row)));
    assert_eq!(rests, due, "applied, and not yet done");
    let done = lives(&mut |spool| {
        until("all", || spool.next(0).map(|row| spool.repeated(0, row)).is_some());
    });
    assert_eq!(done, None);
    assert!(lives(&mut |spool| say(spool, &[Item::Flush(100)])).is_some());
    assert_eq!(lives(&mut |spool| say(spool, &[Item::Flush(0)])), None, "the newest word counts");
}

/// A full journal turns, and what was written before and after is there after a crash.
#[test]
fn a_journal_that_turns_loses_nothing() {
    let disk = Disk::default();
    let (spool, thread) = open(&disk, &config(1 << 30, true));
    let commits = journal::LENGTH / 4096 + 20;
    for n in 0..commits {
        let ticket = put(&spool, format!("k{n}").as_bytes());
        until("durable", || spool.is_durable(ticket));
        if n % 64 == 0 {
            let (crashed, second) = open(&disk.cut_power(&mut |_| 0), &config(1 << 30, true));
            assert_eq!(crashed.lane_state(0).pending, n + 1);
            closed(&crashed);
            crashed.stop();
            second.join().expect("the thread ends");
        }
    }
    assert_eq!(drain(&spool).iter().map(|row| u64::from(row.count)).sum::<u64>(), commits);
    spool.stop();
    thread.join().expect("the thread ends");
}

#[test]
fn a_record_counts_when_it_is_whole_and_of_this_turn() {
    let disk = Disk::default();
    let read = |epoch| journal::Journal::open(Box::new(disk.clone()), epoch).expect("opens");
    let (mut journal, none) = read(1);
    assert!(none.is_empty());
    for record in [b"one".as_slice(), &[2; 5000], b"three"] {
        assert!(journal.append(|out| out.extend_from_slice(record)).expect("written"));
    }
    assert!(!journal.append(|out| out.resize(2 << 20, 0)).expect("no room"));
    let records = read(1).1;
    assert_eq!(records, [b"one".to_vec(), vec![2; 5000], b"three".to_vec()]);
    assert!(read(2).1.is_empty(), "of another turn");
    // A bit of the second is lost: neither it nor what is behind it counts.
    lock(&disk.platter).current[4096 + 4000] ^= 1;
    assert_eq!(read(1).1, [b"one".to_vec()]);
    // A disk that has the first in two places: it is there once.
    lock(&disk.platter).current.copy_within(..4096, 4096);
    assert_eq!(read(1).1, [b"one".to_vec()]);
    journal.turn(2);
    assert!(journal.append(|out| out.extend_from_slice(b"new")).expect("written"));
    assert_eq!(read(2).1, [b"new".to_vec()]);
}

/// What the database's transaction could not take over stays in the journal and in memory, however far that transaction got: what was
/// put is there, and what is removed afterwards does not come back.
#[test]
fn a_turn_that_fails_loses_nothing_and_brings_nothing_back() {
    let mut failed = 0;
    for how in [FULL, BROKEN, TORN].into_iter().chain(UNSYNCED..UNSYNCED + 3) {
        let disk = Disk::default();
        let (mut store, _) = Store::open(disk.opener()).expect("opens");
        let (lane, ..) = store.lane("p\0r").expect("a lane");
        let row = |first| Arc::new(Row { first, at_ms: 7, count: 1, items: vec![1, 1, b'k'] });
        let puts = (1..=3).map(|first| (lane, row(first))).collect();
        store.commit(&Batch { puts, ..Batch::default() }).expect("journalled");
        disk.failing.store(how, Ordering::Relaxed);
        failed += u32::from(store.rows(lane, 0, 1 << 20).is_err());
        disk.failing.store(WELL, Ordering::Relaxed);
        store.commit(&Batch { removes: vec![(lane, 2)], ..Batch::default() }).expect("well again");
        let firsts = |store: &mut Store| -> Vec<u64> {
            store.rows(lane, 0, 1 << 20).expect("reads").0.iter().map(|row| row.first).collect()
        };
        assert_eq!(firsts(&mut store), [1, 3], "how {how}");
        drop(store);
        let (mut again, _) = Store::open(disk.cut_power(&mut |_| 0).opener()).expect("opens");
        assert_eq!(firsts(&mut again), [1, 3], "how {how}, after a power cut");
    }
    assert!(failed >= 4, "only {failed} turns failed");
}

/// The other region dies between applying a row and repeating it: the row is still there to be sent again, also after a crash here,
/// and the books count it once.
#[test]
fn what_was_applied_and_not_repeated_is_sent_again_and_counted_once() {
    let disk = Disk::default();
    let (spool, thread) = open(&disk, &config(1 << 20, true));
    for key in [b"a", b"b", b"c"] {
        let ticket = put(&spool, key);
        until("durable", || spool.is_durable(ticket));
    }
    let rows = drain(&spool);
    assert_eq!(rows.len(), 3);
    spool.rests(0, Arc::clone(&rows[0]));
    spool.rests(0, Arc::clone(&rows[1]));
    until("applied", || spool.lane_state(0).pending == 1);
    spool.repeated(0, Arc::clone(&rows[0]));
    closed(&spool);
    spool.stop();
    thread.join().expect("the thread ends");
    let crashed = disk.cut_power(&mut |_| 2);
    let (spool, thread) = open(&crashed, &config(1 << 20, true));
    let view = spool.lane_state(0);
    assert_eq!((view.books.captured, view.books.applied, view.pending), (3, 2, 1));
    let mut again = Vec::new();
    until("both rows", || {
        again.extend(std::iter::from_fn(|| spool.next(0)));
        again.len() == 2
    });
    assert_eq!(again, rows[1..]);
    again.iter().for_each(|row| spool.rests(0, Arc::clone(row)));
    again.iter().for_each(|row| spool.repeated(0, Arc::clone(row)));
    until("all applied", || spool.lane_state(0).pending == 0);
    assert_eq!(spool.lane_state(0).books.applied, 3);
    closed(&spool);
    spool.stop();
    thread.join().expect("the thread ends");
    let (spool, thread) = open(&crashed, &config(1 << 20, true));
    assert!(spool.next(0).is_none(), "nothing is left");
    spool.stop();
    thread.join().expect("the thread ends");
}

#[test]
fn a_disk_that_fails_delays_tickets_and_loses_nothing() {
    let disk = Disk::default();
    let (spool, thread) = open(&disk, &config(1 << 30, true));
    for (number, how) in [FULL, BROKEN, TORN, FULL, TORN].into_iter().enumerate() {
        disk.failing.store(how, Ordering::Relaxed);
        let ticket = put(&spool, format!("k{number}").as_bytes());
        until("the failure is told", || spool.report().failure.is_some());
        assert!(!spool.is_durable(ticket));
        disk.failing.store(WELL, Ordering::Relaxed);
        until("durable again", || spool.is_durable(ticket));
        assert_eq!(spool.report().failure, None);
    }
    assert_eq!(drain(&spool).len(), 5);
    closed(&spool);
    let crashed = disk.cut_power(&mut |_| 0);
    let (again, second) = open(&crashed, &config(1 << 30, true));
    assert_eq!(again.lane_state(0).pending, 5);
    again.stop();
    second.join().expect("the thread ends");
    spool.stop();
    thread.join().expect("the thread ends");
}

#[test]
fn over_the_bound_keys_become_one_flush() {
    let disk = Disk::default();
    let (spool, thread) = open(&disk, &config(64 * 1024, true));
    let mut ticket = 0;
    for n in 0..5_000 {
        ticket = put(&spool, format!("some-key-{n}").as_bytes());
    }
    until("durable", || spool.is_durable(ticket));
    let view = spool.lane_state(0);
    assert!(view.books.converted > 0, "{:?}", view.books);
    assert_eq!(view.books.captured, 5_000);
    closed(&spool);
    let rows = drain(&spool);
    assert!(rows.iter().any(|row| Items::new(&row.items).any(|item| item == Item::Flush(0))));
    rows.into_iter().for_each(|row| spool.applied(0, row));
    until("applied", || spool.lane_state(0).pending == 0);
    closed(&spool);
    spool.stop();
    thread.join().expect("the thread ends");
}

#[test]
fn a_crash_with_sync_os_is_unknown_and_a_clean_stop_is_not() {
    let disk = Disk::default();
    let (spool, thread) = open(&disk, &config(1 << 20, false));
    assert_eq!(put(&spool, b"k"), 0, "answered at once");
    spool.stop();
    thread.join().expect("the thread ends");
    let (spool, thread) = open(&disk, &config(1 << 20, false));
    assert_eq!(spool.lane_state(0).books.unknown, 0);
    assert_eq!(spool.lane_state(0).pending, 1);
    let crashed = disk.cut_power(&mut |_| 2);
    spool.stop();
    thread.join().expect("the thread ends");
    let (spool, thread) = open(&crashed, &config(1 << 20, false));
    until("the flush", || spool.lane_state(0).books.unknown == 1);
    let rows = drain(&spool);
    assert!(rows.iter().any(|row| Items::new(&row.items).any(|item| item == Item::Flush(0))));
    closed(&spool);
    spool.stop();
    thread.join().expect("the thread ends");
}

#[test]
fn a_file_of_the_spool_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("spool.redb");
    let (spool, thread) =
        Spool::open(file(path.clone()), &config(1 << 20, true), false, Box::new(|_, _| {})).expect("opens");
    let mode = std::fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = Spool::open(file(path), &config(1 << 20, true), false, Box::new(|_, _| {}));
    assert!(matches!(again, Err(StoreError::InUse)), "{:?}", again.err());
    spool.stop();
    thread.join().expect("the thread ends");
}
