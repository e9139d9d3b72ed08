//! Letters of other regions on their way to this region's memcached servers, and the words about them. Never makes a word before the
//! letter was applied.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::decide::region::RegionId;
use crate::decide::relay::frame::Frame;
use crate::decide::relay::item::{Item, Items};
use crate::relay::apply::{self, Job, Teller};
use crate::relay::link::door::{Door, Pace, count, sender};
use crate::relay::link::inbound::frame;

/// Bytes of frames that go into one letter of words.
const WORDS_BYTES: usize = 32 * 1024;
/// Letters that may be applied or rest before no more are taken.
const MOST_WAITING: usize = 1_000_000;

/// A letter that came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parcel<'a> {
    /// The region it says it comes from: the broker's permissions vouch for that, nothing else.
    pub(crate) from: &'a str,
    /// The life of the daemon that waits for the word.
    pub(crate) life: &'a str,
    /// One [`Frame::Batch`].
    pub(crate) frame: &'a [u8],
}

/// Words for one daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) to: String,
    pub(crate) life: String,
    /// Frames: [`Frame::Ack`], [`Frame::Repeated`] and [`Frame::Refused`].
    pub(crate) frames: Vec<u8>,
}

/// Takes letters.
pub(crate) struct Receiver {
    door: Door,
    paces: HashMap<RegionId, Pace>,
    to: mpsc::UnboundedSender<apply::Word>,
    heard: mpsc::UnboundedReceiver<apply::Word>,
    /// What is being applied, or rests, by the number of its job.
    jobs: HashMap<u64, Vec<Addressee>>,
    next: u64,
    /// Letters in `jobs`.
    waiting: usize,
}

/// A region and a life of a daemon there.
type Whom = Arc<(String, String)>;

/// Who waits for the word about a letter.
struct Addressee {
    whom: Whom,
    number: u64,
}

/// Items of one sender that are applied together, and who waits.
type Batch = (Vec<u8>, Vec<Addressee>);

/// One letter after a look at it.
enum Judged<'a> {
    /// Number and items, for the pool's task.
    Apply(&'a str, u64, &'a [u8]),
    Refused(u64, String),
    /// Nobody can be told.
    Nonsense(String),
}

impl Receiver {
    /// For this region's pools.
    pub(crate) fn new(door: Door) -> Self {
        let (to, heard) = mpsc::unbounded_channel();
        Self { door, paces: HashMap::new(), to, heard, jobs: HashMap::new(), next: 0, waiting: 0 }
    }

    /// Whether more letters may come: not while too many wait for their repetition.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting < MOST_WAITING
    }

    /// Waits for words about what came before.
    pub(crate) async fn later(&mut self) -> Vec<Words> {
        let mut words = Vec::new();
        self.heard.recv_many(&mut words, 64).await;
        let mut out = Outbox::default();
        words.into_iter().for_each(|word| self.hear(word, &mut out));
        out.close()
    }

    /// Applies the letters and returns the words about them, with those about what came before; `None` when this host stops before that
    /// is done.
    pub(crate) async fn take(&mut self, parcels: &[Parcel<'_>]) -> Option<Vec<Words>> {
        let mut out = Outbox::default();
        let mut open = HashSet::new();
        for (pool, batch) in self.sort(parcels, &mut out).await {
            open.insert(self.apply(pool, batch).await?);
        }
        while !open.is_empty() {
            let word = self.heard.recv().await?;
            if let apply::Word::Applied { number, .. } = word {
                open.remove(&number);
            }
            self.hear(word, &mut out);
        }
        Some(out.close())
    }

    /// What is to be applied: one batch per pool and sender, in the order of sending; read-backs alone, since the word about them has
    /// their result.
    async fn sort<'a>(&mut self, parcels: &[Parcel<'a>], out: &mut Outbox) -> Vec<(&'a str, Batch)> {
        let mut whoms: HashMap<(&str, &str), Whom> = HashMap::new();
        let mut letters = Vec::new();
        for parcel in parcels {
            let (from, life) = (parcel.from, parcel.life);
            let whom = whoms.entry((from, life)).or_insert_with(|| Arc::new((from.into(), life.into())));
            match self.judge(parcel) {
                Judged::Nonsense(why) => tracing::warn!(from, why, "a letter of the relay is left"),
                Judged::Refused(number, why) => out.put(whom, &Frame::Refused { number, why: &why }),
                Judged::Apply(pool, number, items) => {
                    let region = self.door.region(from).unwrap_or_default();
                    let pace = self.paces.entry(region).or_insert_with(Pace::new);
                    pace.take(count(items).unwrap_or_default()).await;
                    letters.push((number, pool, Arc::clone(whom), items));
                }
            }
        }
        letters.sort_by_key(|&(number, ..)| number);
        let mut batches: BTreeMap<(&str, Whom), Batch> = BTreeMap::new();
        let mut checks = Vec::new();
        for (number, pool, whom, items) in letters {
            let addressee = Addressee { whom: Arc::clone(&whom), number };
            if Items::new(items).any(|item| matches!(item, Item::Verify(..))) {
                checks.push((pool, (items.to_vec(), vec![addressee])));
            } else {
                let batch = batches.entry((pool, whom)).or_default();
                batch.0.extend_from_slice(items);
                batch.1.push(addressee);
            }
        }
        batches.into_iter().map(|((pool, _), batch)| (pool, batch)).chain(checks).collect()
    }

    /// Gives a batch to its pool; the number of the job.
    async fn apply(&mut self, pool: &str, (items, whom): Batch) -> Option<u64> {
        let number = self.next;
        self.next += 1;
        self.waiting += whom.len();
        self.jobs.insert(number, whom);
        let jobs = &self.door.pools.get(pool)?.jobs;
        // A broker keeps no order between what came at different times, so that each batch is a sender of its own.
        let teller = Teller { sender: sender(), number, to: self.to.clone() };
        jobs.send(Job::Apply(items, teller)).await.ok()?;
        Some(number)
    }

    fn hear(&mut self, word: apply::Word, out: &mut Outbox) {
        let (job, rests) = match word {
            apply::Word::Applied { number, rests, .. } => (number, rests),
            apply::Word::Repeated(number) => (number, false),
        };
        let Some(letters) = self.jobs.get(&job) else { return };
        for &Addressee { ref whom, number } in letters {
            let about = match word {
                apply::Word::Applied { verified, rests, .. } => {
                    apply::Word::Applied { number, verified, rests }
                }
                apply::Word::Repeated(_) => apply::Word::Repeated(number),
            };
            out.put(whom, &frame(about));
        }
        if !rests {
            self.waiting -= letters.len();
            self.jobs.remove(&job);
        }
    }

    fn judge<'a>(&self, parcel: &Parcel<'a>) -> Judged<'a> {
        let (number, pool, items) = match Frame::read(parcel.frame) {
            Ok(Some((Frame::Batch { number, pool, items }, size))) if size == parcel.frame.len() => {
                (number, pool, items)
            }
            _ => return Judged::Nonsense("it is no batch".to_owned()),
        };
        match self.door.region(parcel.from) {
            None => Judged::Nonsense("its region is not configured".to_owned()),
            Some(region) if region == self.door.own => Judged::Nonsense("it is this region's own".to_owned()),
            Some(region) => match self.door.pool(pool, region).and_then(|_| count(items)) {
                Ok(_) => Judged::Apply(pool, number, items),
                Err(why) => Judged::Refused(number, why),
            },
        }
    }
}

/// Words by daemon, cut where a letter is full.
#[derive(Default)]
struct Outbox {
    open: BTreeMap<Whom, Vec<u8>>,
    full: Vec<Words>,
}

impl Outbox {
    fn put(&mut self, whom: &Whom, frame: &Frame<'_>) {
        let frames = self.open.entry(Arc::clone(whom)).or_default();
        frame.write(frames);
        if frames.len() >= WORDS_BYTES {
            let frames = std::mem::take(frames);
            self.full.push(Words { to: whom.0.clone(), life: whom.1.clone(), frames });
        }
    }

    fn close(mut self) -> Vec<Words> {
        let open = self.open.into_iter().filter(|(_, frames)| !frames.is_empty());
        let words = open.map(|(whom, frames)| Words { to: whom.0.clone(), life: whom.1.clone(), frames });
        self.full.extend(words);
        self.full
    }
}

/// The words in some frames; ends at what is none.
pub(crate) fn words(frames: &[u8]) -> impl Iterator<Item = super::Word> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        let (frame, size) = Frame::read(rest).ok().flatten()?;
        rest = &rest[size..];
        match frame {
            Frame::Ack { number, verified, rests } => Some(super::Word::Ack(number, verified, rests)),
            Frame::Repeated { number } => Some(super::Word::Repeated(number)),
            Frame::Refused { number, why } => {
                Some(super::Word::Refused(number, why.chars().take(200).collect()))
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::Word;
    use super::*;
    use crate::decide::region::Regions;
    use crate::decide::report::relay::Verified;
    use crate::relay::link::door::InPool;

    fn region(place: usize) -> RegionId {
        RegionId::new(place).expect("a region")
    }

    /// Regions `eu` (this one), `us` and `ap`; pool `p` is shared with `us`.
    fn receiver() -> (Receiver, mpsc::Receiver<Job>) {
        let names = Regions::new(["eu", "us", "ap"].map(String::from).to_vec()).expect("three regions");
        let (jobs, inbox) = mpsc::channel(8);
        let pools = HashMap::from([("p".to_owned(), InPool { jobs, regions: vec![region(1)] })]);
        (Receiver::new(Door { own: region(0), names, pools }), inbox)
    }

    fn batch(number: u64, pool: &str, item: &Item<'_>) -> Vec<u8> {
        let (mut items, mut frame) = (Vec::new(), Vec::new());
        item.write(&mut items);
        Frame::Batch { number, pool, items: &items }.write(&mut frame);
        frame
    }

    #[tokio::test]
    async fn words_follow_applying_and_go_to_whom_they_concern() {
        let (mut receiver, mut inbox) = receiver();
        let mut newer = Vec::new();
        Frame::Batch { number: 5, pool: "p", items: b"\x09\x01anew" }.write(&mut newer);
        let frames = [
            batch(1, "p", &Item::Forget(b"a")),
            batch(2, "p", &Item::Verify(b"b", 7)),
            batch(3, "q", &Item::Forget(b"c")),
            batch(4, "p", &Item::Forget(b"d")),
            newer,
        ];
        let parcel = |from, life, frame| Parcel { from, life, frame };
        let parcels = [
            parcel("us", "1", &frames[0]),
            parcel("us", "1", &frames[1]),
            parcel("us", "2", &frames[2]),
            parcel("ap", "3", &frames[3]),
            parcel("mars", "4", &frames[0]),
            parcel("eu", "5", &frames[0]),
            parcel("us", "6", b"nonsense"),
            parcel("us", "7", &frames[4]),
        ];
        let applying = async {
            let mut keys = Vec::new();
            while let Some(job) = inbox.recv().await {
                if let Job::Apply(items, Teller { number, to, .. }) = job {
                    keys.extend(Items::new(&items).filter_map(|item| Some(item.key()?.0.to_vec())));
                    let verified = Verified { stale: 1, ..Verified::default() };
                    let rests = keys.len() == 1;
                    to.send(apply::Word::Applied { number, verified, rests }).expect("somebody waits");
                    if rests {
                        to.send(apply::Word::Repeated(number)).expect("somebody waits");
                    }
                }
            }
            keys
        };
        let taking = async {
            let mut words = receiver.take(&parcels).await.expect("not stopped");
            while receiver.waiting > 0 {
                words.extend(receiver.later().await);
            }
            drop(receiver);
            words
        };
        let (keys, said) = tokio::join!(applying, taking);
        assert_eq!(keys, [b"a".to_vec(), b"b".to_vec()]);
        let heard: Vec<(&str, &str, Vec<Word>)> = said
            .iter()
            .map(|said| (said.to.as_str(), said.life.as_str(), words(&said.frames).collect()))
            .collect();
        assert_eq!(heard[0].0, "ap");
        assert!(matches!(&heard[0].2[..], [Word::Refused(4, why)] if why.contains("not shared")));
        let first: Vec<&Word> =
            heard.iter().filter(|heard| heard.1 == "1").flat_map(|heard| &heard.2).collect();
        let (applied, checked) = (Word::Ack(1, [0, 0, 1], true), Word::Ack(2, [0, 0, 1], false));
        assert_eq!((first.len(), first[0]), (3, &applied));
        assert!(first.contains(&&checked) && first.contains(&&Word::Repeated(1)));
        let third = heard.iter().find(|heard| heard.1 == "2").expect("words for the second life");
        assert!(matches!(&third.2[..], [Word::Refused(3, why)] if why.contains("no pool")));
        let newer = heard.iter().find(|heard| heard.1 == "7").expect("words for what is newer");
        assert!(matches!(&newer.2[..], [Word::Refused(5, why)] if why.contains("not understood here")));
    }

    #[tokio::test]
    async fn a_host_that_stops_says_nothing() {
        let (mut receiver, inbox) = receiver();
        drop(inbox);
        let frame = batch(1, "p", &Item::Forget(b"a"));
        assert_eq!(receiver.take(&[Parcel { from: "us", life: "1", frame: &frame }]).await, None);
    }
}
