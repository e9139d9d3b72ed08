//! What two regions say to each other on a relay link. Never reads a socket; nothing longer than [`MAX_FRAME`] is accepted.
//!
//! A frame is a length (four bytes, little-endian, of what follows), a kind byte and a payload; numbers are little-endian.

use super::lane::ROW_BYTES;

/// Most bytes behind the length.
pub const MAX_FRAME: usize = 2 * ROW_BYTES;
/// Begins every hello, before the version.
const MAGIC: [u8; 3] = *b"tgr";
/// Of frames and items; one more with each kind of them that the version before does not know.
const VERSION: u8 = b'3';

const HELLO: u8 = 1;
const BATCH: u8 = 2;
const ACK: u8 = 3;
const REFUSED: u8 = 4;
const PING: u8 = 5;
const PONG: u8 = 6;
const REPEATED: u8 = 7;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Both ends' first: the region they speak for.
    Hello {
        /// Its name.
        region: &'a str,
    },
    /// Invalidations of a pool.
    Batch {
        /// Counts up on a link.
        number: u64,
        /// The pool's name.
        pool: &'a str,
        /// See [`super::item`].
        items: &'a [u8],
    },
    /// The batch was applied on all servers of the pool.
    Ack {
        /// Which.
        number: u64,
        /// Read-backs in it that were equal, absent, stale.
        verified: [u32; 3],
        /// It will be applied once more, and [`Frame::Repeated`] follows then.
        rests: bool,
    },
    /// The batch was applied once more; nothing of it is left to be done.
    Repeated {
        /// Which.
        number: u64,
    },
    /// The batch was not applied and will not be as things stand.
    Refused {
        /// Which.
        number: u64,
        /// Why, in words.
        why: &'a str,
    },
    /// Answer me.
    Ping,
    /// The answer.
    Pong,
}

/// Bytes that are no frame; the link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// Longer than [`MAX_FRAME`].
    #[error("a frame of {0} bytes")]
    TooLong(usize),
    /// Not understood.
    #[error("a frame that is not understood (kind {0})")]
    Malformed(u8),
    /// The peer's hello is of another version.
    #[error("the peer speaks version {0} of the relay's link, this tidegate version {own}: both need the same", own = char::from(VERSION))]
    Version(char),
}

impl<'a> Frame<'a> {
    /// Appends the frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        match *self {
            Self::Hello { region } => {
                out.push(HELLO);
                out.extend_from_slice(&MAGIC);
                out.push(VERSION);
                out.extend_from_slice(region.as_bytes());
            }
            Self::Batch { number, pool, items } => {
                out.push(BATCH);
                out.extend_from_slice(&number.to_le_bytes());
                let len = u8::try_from(pool.len()).unwrap_or(u8::MAX);
                out.push(len);
                out.extend_from_slice(&pool.as_bytes()[..usize::from(len)]);
                out.extend_from_slice(items);
            }
            Self::Ack { number, verified, rests } => {
                out.push(ACK);
                out.extend_from_slice(&number.to_le_bytes());
                verified.iter().for_each(|count| out.extend_from_slice(&count.to_le_bytes()));
                out.push(u8::from(rests));
            }
            Self::Repeated { number } => {
                out.push(REPEATED);
                out.extend_from_slice(&number.to_le_bytes());
            }
            Self::Refused { number, why } => {
                out.push(REFUSED);
                out.extend_from_slice(&number.to_le_bytes());
                out.extend_from_slice(why.as_bytes());
            }
            Self::Ping => out.push(PING),
            Self::Pong => out.push(PONG),
        }
        let len = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
        out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    }

    /// The frame at the front of `bytes`, and how many bytes it takes; `None` while it is not complete.
    ///
    /// # Errors
    /// [`BadFrame`], as early as it can be known.
    pub fn read(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, BadFrame> {
        let Some((len, rest)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_le_bytes(*len) as usize;
        if len > MAX_FRAME {
            return Err(BadFrame::TooLong(len));
        }
        let Some(body) = rest.get(..len) else { return Ok(None) };
        let kind = body.first().copied().unwrap_or(0);
        match body {
            [HELLO, b't', b'g', b'r', version, ..] if *version != VERSION => {
                return Err(BadFrame::Version(char::from(*version)));
            }
            _ => {}
        }
        let frame = Self::parse(body).ok_or(BadFrame::Malformed(kind))?;
        Ok(Some((frame, 4 + len)))
    }

    fn parse(body: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = body.split_first()?;
        match kind {
            HELLO => {
                let region =
                    std::str::from_utf8(rest.strip_prefix(&MAGIC)?.strip_prefix(&[VERSION])?).ok()?;
                Some(Self::Hello { region })
            }
            BATCH => {
                let (number, rest) = rest.split_first_chunk::<8>()?;
                let (&len, rest) = rest.split_first()?;
                let (pool, items) = rest.split_at_checked(usize::from(len))?;
                let pool = std::str::from_utf8(pool).ok()?;
                Some(Self::Batch { number: u64::from_le_bytes(*number), pool, items })
            }
            ACK => {
                let (number, rest) = rest.split_first_chunk::<8>()?;
                let (counts, rest) = rest.split_first_chunk::<12>()?;
                let rests = match rest {
                    [0] => false,
                    [1] => true,
                    _ => return None,
                };
                let count = |at: usize| {
                    u32::from_le_bytes([counts[at], counts[at + 1], counts[at + 2], counts[at + 3]])
                };
                Some(Self::Ack {
                    number: u64::from_le_bytes(*number),
                    verified: [count(0), count(4), count(8)],
                    rests,
                })
            }
            REPEATED => Some(Self::Repeated { number: u64::from_le_bytes(rest.try_into().ok()?) }),
            REFUSED => {
                let (number, rest) = rest.split_first_chunk::<8>()?;
                Some(Self::Refused {
                    number: u64::from_le_bytes(*number),
                    why: std::str::from_utf8(rest).ok()?,
                })
            }
            PING if rest.is_empty() => Some(Self::Ping),
            PONG if rest.is_empty() => Some(Self::Pong),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_come_back_as_they_were_written() {
        let frames = [
            Frame::Hello { region: "eu-west-1" },
            Frame::Batch { number: 7, pool: "sessions", items: b"\x01\x01k" },
            Frame::Ack { number: u64::MAX, verified: [1, 2, 3], rests: true },
            Frame::Repeated { number: 3 },
            Frame::Refused { number: 9, why: "not shared" },
            Frame::Ping,
            Frame::Pong,
        ];
        for frame in frames {
            let mut bytes = Vec::new();
            frame.write(&mut bytes);
            assert_eq!(Frame::read(&bytes), Ok(Some((frame, bytes.len()))));
            for cut in 0..bytes.len() {
                assert_eq!(Frame::read(&bytes[..cut]), Ok(None));
            }
        }
    }

    #[test]
    fn a_hello_of_another_version_is_told_from_nonsense() {
        for version in *b"24" {
            let bytes = [&[9, 0, 0, 0, HELLO], b"tgr".as_slice(), &[version], b"eu-1"].concat();
            let judged = Frame::read(&bytes);
            assert_eq!(judged, Err(BadFrame::Version(char::from(version))));
            let said = judged.expect_err("refused").to_string();
            assert!(
                said.contains(&format!("version {} of", char::from(version))) && said.contains("version 3:")
            );
        }
        assert_eq!(
            Frame::read(&[5, 0, 0, 0, HELLO, b't', b'g', b'x', b'3']),
            Err(BadFrame::Malformed(HELLO))
        );
    }

    #[test]
    fn an_oversized_frame_is_refused_by_its_length_alone() {
        let bytes = (MAX_FRAME as u32 + 1).to_le_bytes();
        assert_eq!(Frame::read(&bytes), Err(BadFrame::TooLong(MAX_FRAME + 1)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Some((frame, taken))) = Frame::read(&bytes) {
                let mut again = Vec::new();
                frame.write(&mut again);
                prop_assert_eq!(&bytes[..taken], again.as_slice());
            }
        }
    }
}
