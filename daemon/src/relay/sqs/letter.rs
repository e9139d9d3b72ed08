//! What is in a message of a queue. Never anything that is not text: SQS refuses it.
//!
//! `tgq1 KIND REGION LIFE FRAMES`: `batch` with the region and life that sent it, `words` with the region that speaks and the life that is
//! spoken to; the frames are in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const MAGIC: &str = "tgq1";

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Batch,
    Words,
}

/// A message's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) kind: Kind,
    pub(super) region: String,
    pub(super) life: String,
    pub(super) frames: Vec<u8>,
}

/// The text of a message. Names of regions have no spaces.
pub(super) fn write(kind: Kind, region: &str, life: &str, frames: &[u8]) -> String {
    let kind = match kind {
        Kind::Batch => "batch",
        Kind::Words => "words",
    };
    format!("{MAGIC} {kind} {region} {life} {}", STANDARD.encode(frames))
}

/// The letter in a message, if it is one.
pub(super) fn read(text: &str) -> Option<Letter> {
    let mut words = text.split(' ');
    if words.next()? != MAGIC {
        return None;
    }
    let kind = match words.next()? {
        "batch" => Kind::Batch,
        "words" => Kind::Words,
        _ => return None,
    };
    let (region, life) = (words.next()?.to_owned(), words.next()?.to_owned());
    let frames = STANDARD.decode(words.next()?).ok()?;
    words.next().is_none().then_some(Letter { kind, region, life, frames })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_come_back_and_nothing_else_does() {
        let text = write(Kind::Words, "eu-west-1", "0f", b"\0\xff");
        let letter =
            Letter { kind: Kind::Words, region: "eu-west-1".into(), life: "0f".into(), frames: vec![0, 255] };
        assert_eq!(read(&text), Some(letter));
        for text in [
            "",
            "tgq1",
            "tgq2 batch a b AA==",
            "tgq1 other a b AA==",
            "tgq1 batch a b !",
            "tgq1 batch a b AA== x",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
