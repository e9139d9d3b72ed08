//! What another region says on a relay link: frames and items come out as they were written, or not at all, and never before they are whole.

use tidegate::decide::relay::frame::{Frame, MAX_FRAME};
use tidegate::decide::relay::item::{Item, Items};
use tidegate::decide::relay::subject::{self, Way};

use crate::Target;

/// Frames behind each other, and the same bytes as items and as a subject.
pub(super) const TARGET: Target = Target {
    name: "link",
    run,
    seeds,
    words: &[
        b"tgr3",
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        b"tidegate.keys.",
        b"\xfa",
        b"\xfb",
        b"\x01\0\0\0\x06",
    ],
    most_bytes: 4096,
};

fn seeds() -> Vec<Vec<u8>> {
    let mut items = Vec::new();
    let kinds = [
        Item::Forget(b"k"),
        Item::Differs(b"key", 7),
        Item::Flush(0),
        Item::Refill(b"r", 9),
        Item::Reread(b"s", 3),
        Item::Verify(b"v", 1),
    ];
    kinds.iter().for_each(|item| item.write(&mut items));
    let frames = [
        Frame::Hello { region: "eu" },
        Frame::Batch { number: 1, pool: "p", items: &items },
        Frame::Ack { number: 1, verified: [1, 2, 3], rests: true },
        Frame::Repeated { number: 1 },
        Frame::Refused { number: 2, why: "no" },
        Frame::Ping,
        Frame::Pong,
    ];
    let mut seeds = vec![items.clone(), b"tidegate.keys.p.us.eu.0f.kAA".to_vec()];
    seeds.extend(frames.iter().map(|frame| {
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        bytes
    }));
    seeds.push(seeds[2..].concat());
    seeds
}

fn run(data: &[u8]) {
    let mut at = 0;
    while let Ok(Some((frame, size))) = Frame::read(&data[at..]) {
        let bytes = &data[at..at + size];
        assert!(size <= 4 + MAX_FRAME);
        assert_eq!(Frame::read(bytes), Ok(Some((frame.clone(), size))), "what follows a frame changes it");
        assert_eq!(Frame::read(&bytes[..size - 1]), Ok(None), "it is read before it is whole");
        let mut again = Vec::new();
        frame.write(&mut again);
        assert_eq!(again, bytes, "{frame:?}");
        if let Frame::Batch { items: bytes, .. } = frame {
            items(bytes);
        }
        at += size;
    }
    items(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let token = subject::token(text);
        assert!(token.bytes().all(|byte| byte.is_ascii_graphic() && !b".*>".contains(&byte)), "{token}");
        if let Some((region, life)) = subject::sender(text) {
            assert!(text.contains(region) && text.contains(life));
        }
    }
}

fn items(bytes: &[u8]) {
    let (mut again, mut all) = (Vec::new(), Items::new(bytes));
    for item in all.by_ref() {
        item.write(&mut again);
        let mut alone = Vec::new();
        item.write(&mut alone);
        let letter = Way::new("p", "eu", "us", "0f").subject(&alone);
        assert_eq!(subject::sender(&letter), Some(("eu", "0f")), "{letter}");
    }
    assert!(bytes.starts_with(&again) && (all.broken() || again.len() == bytes.len()), "{bytes:?}");
}
