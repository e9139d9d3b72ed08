//! A client's ear for HTTP/2: which streams were answered, reset or ended, and how the connection ended. Never answers, and understands of a
//! header block nothing but a status.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::{DATA, END_STREAM, GOAWAY, HEADERS, RST_STREAM};

const HEADER_BYTES: usize = 9;

/// What was heard of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// The answer's status; the last one's if there were several.
    pub status: Option<u16>,
    /// Reset by this code.
    pub reset: Option<u32>,
    /// The answer is whole.
    pub ended: bool,
}

impl Stream {
    /// Nothing more comes.
    #[must_use]
    pub fn is_over(self) -> bool {
        self.ended || self.reset.is_some()
    }
}

/// What was heard over one connection.
#[derive(Debug, Default)]
pub struct Heard {
    /// By stream.
    pub streams: BTreeMap<u32, Stream>,
    /// The code of the last `GOAWAY`.
    pub goaway: Option<u32>,
    /// The server closed.
    pub closed: bool,
}

impl Heard {
    /// One stream's part.
    #[must_use]
    pub fn of(&self, stream: u32) -> Stream {
        self.streams.get(&stream).copied().unwrap_or_default()
    }

    /// Listens until `enough` or the connection ends.
    ///
    /// # Errors
    /// When nothing comes within the stream's own time limit.
    pub fn listen(&mut self, from: &mut impl Read, enough: impl Fn(&Self) -> bool) -> io::Result<()> {
        while !self.closed && !enough(self) {
            match self.frame(from) {
                Ok(()) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(error);
                }
                Err(_) => self.closed = true,
            }
        }
        Ok(())
    }

    fn frame(&mut self, from: &mut impl Read) -> io::Result<()> {
        let mut header = [0; HEADER_BYTES];
        from.read_exact(&mut header)?;
        let [a, b, c, kind, flags, d, e, f, g] = header;
        let stream = u32::from_be_bytes([d, e, f, g]);
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        from.read_exact(&mut payload)?;
        let word =
            |at: usize| payload.get(at..at + 4).and_then(|word| word.try_into().ok()).map(u32::from_be_bytes);
        match kind {
            GOAWAY => self.goaway = word(4),
            RST_STREAM => self.streams.entry(stream).or_default().reset = word(0),
            HEADERS | DATA => {
                let heard = self.streams.entry(stream).or_default();
                heard.ended |= flags & END_STREAM != 0;
                heard.status = if kind == HEADERS { status(&payload).or(heard.status) } else { heard.status };
            }
            _ => {}
        }
        Ok(())
    }
}

/// A status that is the block's first field, by index or as digits with or without Huffman codes (RFC 7541, appendices A and B).
fn status(block: &[u8]) -> Option<u16> {
    match block {
        [first @ 0x88..=0x8e, ..] => Some([200, 204, 206, 304, 400, 404, 500][usize::from(first - 0x88)]),
        [0x08 | 0x18 | 0x48, length, value @ ..] => {
            let value = value.get(..usize::from(length & 0x7f))?;
            let text = if length & 0x80 == 0 { value.to_vec() } else { digits(value) };
            std::str::from_utf8(&text).ok()?.parse().ok()
        }
        _ => None,
    }
}

/// Three digits: `0`, `1` and `2` have codes of five bits, the others of six.
fn digits(coded: &[u8]) -> Vec<u8> {
    let bits = coded.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let (mut left, mut text) = (coded.len() * 8, Vec::new());
    while text.len() < 3 && left >= 5 {
        let five = u8::try_from((bits >> (left - 5)) & 0x1f).unwrap_or(0);
        if five < 3 {
            text.push(b'0' + five);
            left -= 5;
        } else if left >= 6 {
            let six = u8::try_from((bits >> (left - 6)) & 0x3f).unwrap_or(0);
            text.push(b'3' + six.saturating_sub(0x19));
            left -= 6;
        } else {
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_in_all_forms() {
        assert_eq!(status(&[0x88]), Some(200));
        assert_eq!(status(&[0x8c, 0x00]), Some(400));
        assert_eq!(status(b"\x48\x03501"), Some(501));
        // `302`, of RFC 7541, C.6.1.
        assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), Some(302));
        assert_eq!(status(&[0x20]), None);
    }
}
