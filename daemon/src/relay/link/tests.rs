//! What an inbound link takes and what it refuses, over streams in memory.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::atomic::AtomicUsize;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::door::{Door, InPool};
use super::frames::Reader;
use super::inbound::Inbound;
use crate::decide::region::{RegionId, Regions};
use crate::decide::relay::frame::{Frame, MAX_FRAME};
use crate::decide::relay::item::Item;
use crate::decide::report::relay::Verified;
use crate::link::RelayStream;
use crate::relay::apply::{Job, Teller, Word};

/// Regions `eu` (this one), `us` and `ap`; pool `p` is shared with `us`.
fn inbound() -> (Inbound, mpsc::Receiver<Job>) {
    let (inbound, mut inboxes) = inbound_of(&["p"]);
    (inbound, inboxes.remove(0))
}

/// The same with these pools, and what comes for each.
fn inbound_of(pools: &[&str]) -> (Inbound, Vec<mpsc::Receiver<Job>>) {
    let names = Regions::new(["eu", "us", "ap"].map(String::from).to_vec()).expect("three regions");
    let (mut of, mut inboxes) = (HashMap::new(), Vec::new());
    for &pool in pools {
        let (jobs, inbox) = mpsc::channel(8);
        of.insert(pool.to_owned(), InPool { jobs, regions: vec![region(1)] });
        inboxes.push(inbox);
    }
    let (open, stop) = (AtomicUsize::new(0), CancellationToken::new());
    (Inbound { door: Door { own: region(0), names, pools: of }, open, stop }, inboxes)
}

fn region(place: usize) -> RegionId {
    RegionId::new(place).expect("a region")
}

fn batch(pool: &str) -> Vec<u8> {
    numbered(7, pool)
}

fn numbered(number: u64, pool: &str) -> Vec<u8> {
    let (mut items, mut bytes) = (Vec::new(), Vec::new());
    Item::Forget(b"k").write(&mut items);
    Frame::Batch { number, pool, items: &items }.write(&mut bytes);
    bytes
}

/// Says hello as `says` with the certificate of `certified`, then `bytes`; how the link ended when the peer hung up.
async fn talk(certified: Option<usize>, says: &str, bytes: &[u8]) -> (ErrorKind, Vec<u8>, usize) {
    let (inbound, mut inbox) = inbound();
    let (mut peer, io) = duplex(1 << 20);
    let mut hello = Vec::new();
    Frame::Hello { region: says }.write(&mut hello);
    peer.write_all(&hello).await.expect("room");
    peer.write_all(bytes).await.expect("room");
    let mut jobs = 0;
    let stream = RelayStream { region: certified.map(region), io: Box::new(io) };
    let applying = async {
        while let Some(job) = inbox.recv().await {
            if let Job::Apply(_, Teller { number, to, .. }) = job {
                jobs += 1;
                let verified = Verified { stale: 3, ..Verified::default() };
                to.send(Word::Applied { number, verified, rests: true }).expect("somebody waits");
                to.send(Word::Repeated(number)).expect("somebody waits");
            }
        }
    };
    let peer_side = async {
        let heard = answers(&mut peer).await;
        drop(peer);
        heard
    };
    let serving = async {
        let ended = inbound.serve(stream).await;
        drop(inbound);
        ended
    };
    let (ended, heard, ()) = tokio::join!(serving, peer_side, applying);
    (ended.expect_err("the peer hung up or was refused").kind(), heard, jobs)
}

/// All that comes until an answer to the batch, or the end.
async fn answers(peer: &mut DuplexStream) -> Vec<u8> {
    let mut heard = Vec::new();
    let mut part = [0; 4096];
    loop {
        let read = peer.read(&mut part).await.unwrap_or(0);
        heard.extend_from_slice(&part[..read]);
        let mut reader = Reader::new(heard.as_slice());
        while let Ok(frame) = reader.next().await {
            if matches!(frame, Frame::Repeated { .. } | Frame::Refused { .. }) {
                return heard;
            }
        }
        if read == 0 {
            return heard;
        }
    }
}

fn says(heard: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(heard).contains(text)
}

#[tokio::test]
async fn a_batch_is_acknowledged_after_it_was_applied_and_again_after_its_repetition() {
    let (_, heard, jobs) = talk(Some(1), "us", &batch("p")).await;
    let mut ack = Vec::new();
    Frame::Ack { number: 7, verified: [0, 0, 3], rests: true }.write(&mut ack);
    Frame::Repeated { number: 7 }.write(&mut ack);
    assert!(heard.ends_with(&ack));
    assert_eq!(jobs, 1);
}

#[tokio::test]
async fn a_trusted_private_link_speaks_for_whom_it_says() {
    assert_eq!(talk(None, "us", &batch("p")).await.2, 1);
}

#[tokio::test]
async fn a_peer_speaks_only_for_the_region_in_its_certificate() {
    for (certified, region) in
        [(Some(2), "us"), (Some(1), "ap"), (Some(1), "eu"), (None, "eu"), (None, "mars")]
    {
        let (ended, _, jobs) = talk(certified, region, &batch("p")).await;
        assert_eq!((ended, jobs), (ErrorKind::PermissionDenied, 0), "{certified:?} says {region}");
    }
}

#[tokio::test]
async fn a_pool_that_is_not_shared_with_the_peer_is_refused() {
    let (_, heard, jobs) = talk(Some(2), "ap", &batch("p")).await;
    assert!(says(&heard, "not shared with region \"ap\"") && jobs == 0);
    let (_, heard, jobs) = talk(Some(1), "us", &batch("other")).await;
    assert!(says(&heard, "there is no pool \"other\"") && jobs == 0);
}

#[tokio::test]
async fn oversized_and_broken_frames_end_the_link() {
    let oversized = u32::try_from(MAX_FRAME + 1).expect("small").to_le_bytes();
    let older = [9, 0, 0, 0, 1, b't', b'g', b'r', b'2', b'e', b'u', b'-', b'1'];
    let mut not_a_batch = Vec::new();
    Frame::Ack { number: 1, verified: [0; 3], rests: false }.write(&mut not_a_batch);
    for bytes in [&oversized[..], &older, &not_a_batch] {
        let (ended, _, jobs) = talk(Some(1), "us", bytes).await;
        assert_eq!((ended, jobs), (ErrorKind::InvalidData, 0));
    }
}

/// What a newer version sends is refused in words, and stays with the sender; the link and what is known go on.
#[tokio::test]
async fn an_item_that_is_not_known_is_refused_as_a_whole_batch() {
    let mut newer = Vec::new();
    let mut items = Vec::new();
    Item::Forget(b"k").write(&mut items);
    items.extend_from_slice(b"\x09\x01anew");
    Frame::Batch { number: 6, pool: "p", items: &items }.write(&mut newer);
    let (_, heard, jobs) = talk(Some(1), "us", &newer).await;
    assert!(says(&heard, "an item is not understood here") && jobs == 0);
    newer.splice(.., [batch("p"), newer.clone()].concat());
    let (_, heard, jobs) = talk(Some(1), "us", &newer).await;
    assert!(!heard.is_empty() && jobs == 1);
}

/// A pool whose servers are down has a window's worth of batches here, and the link goes on: another pool's batches are applied, pings
/// are answered, and the word of the first ones still waits for their applying.
#[tokio::test]
async fn a_pool_that_applies_nothing_holds_up_no_other() {
    let (inbound, mut inboxes) = inbound_of(&["down", "up"]);
    let (peer, io) = duplex(1 << 20);
    let serving = tokio::spawn(async move {
        inbound.serve(RelayStream { region: Some(region(1)), io: Box::new(io) }).await
    });
    let (read, mut write) = tokio::io::split(peer);
    let mut bytes = Vec::new();
    Frame::Hello { region: "us" }.write(&mut bytes);
    (1..=256).for_each(|number| bytes.extend(numbered(number, "down")));
    (257..=300).for_each(|number| bytes.extend(numbered(number, "up")));
    Frame::Ping.write(&mut bytes);
    write.write_all(&bytes).await.expect("room");
    let (mut up, mut down) = (inboxes.remove(1), inboxes.remove(0));
    let applying = tokio::spawn(async move {
        while let Some(Job::Apply(_, Teller { number, to, .. })) = up.recv().await {
            let word = Word::Applied { number, verified: Verified::default(), rests: false };
            to.send(word).expect("somebody waits");
        }
    });
    let (mut reader, mut acks, mut pong) = (Reader::new(read), Vec::new(), false);
    while acks.len() < 44 || !pong {
        match reader.next().await.expect("the link holds") {
            Frame::Ack { number, .. } => acks.push(number),
            Frame::Pong => pong = true,
            _ => {}
        }
    }
    assert_eq!(acks, (257..=300).collect::<Vec<u64>>());
    // Its servers are back.
    for number in 1..=256 {
        let Some(Job::Apply(_, teller)) = down.recv().await else { panic!("no job {number}") };
        assert_eq!(teller.number, number, "in their order");
        let word = Word::Applied { number, verified: Verified::default(), rests: false };
        teller.to.send(word).expect("somebody waits");
        assert!(matches!(reader.next().await, Ok(Frame::Ack { number: said, .. }) if said == number));
    }
    drop((reader, write));
    assert!(serving.await.expect("no panic").is_err());
    applying.await.expect("no panic");
}

#[tokio::test]
async fn a_number_is_said_once() {
    let (inbound, _inboxes) = inbound_of(&["down"]);
    let (mut peer, io) = duplex(64 * 1024);
    let mut bytes = Vec::new();
    Frame::Hello { region: "us" }.write(&mut bytes);
    bytes.extend(numbered(1, "down"));
    bytes.extend(numbered(1, "down"));
    peer.write_all(&bytes).await.expect("room");
    let ended = inbound.serve(RelayStream { region: Some(region(1)), io: Box::new(io) }).await;
    assert_eq!(ended.expect_err("refused").kind(), ErrorKind::InvalidData);
}
