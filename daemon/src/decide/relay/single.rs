//! Requests that several clients may send over one connection to a server, and where each of their answers ends. Never takes what may
//! have no answer, two, or one that another version of memcached would frame differently.

use memchr::memchr;

use super::effect::MAX_KEY;
use super::line::{number, words};

/// Longest request that is shared, in bytes: nobody waits long behind it.
const MAX_REQUEST: usize = 16 * 1024;
/// Longest line of an answer, in bytes.
const MAX_LINE: usize = 8 * 1024;
/// Bytes of a binary header.
const HEADER: usize = 24;

/// How the answer to a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text: `VALUE` blocks, then `END`, or an error.
    Get,
    /// Text: one line.
    Line,
    /// Text: one line, behind `VA` with a value.
    Meta,
    /// One binary frame.
    Binary,
}

impl Kind {
    /// Whether it is of the binary protocol.
    #[must_use]
    pub fn binary(self) -> bool {
        self == Self::Binary
    }
}

/// What kind of request `bytes` are, if they are exactly one that has exactly one answer.
#[must_use]
pub fn request(bytes: &[u8]) -> Option<Kind> {
    if bytes.len() > MAX_REQUEST {
        return None;
    }
    match bytes.first()? {
        0x80 => binary(bytes).then_some(Kind::Binary),
        _ => text(bytes),
    }
}

fn text(bytes: &[u8]) -> Option<Kind> {
    let end = memchr(b'\n', bytes)?;
    let (line, data) = (bytes[..end].strip_suffix(b"\r")?, &bytes[end + 1..]);
    let mut rest = line.split(|&byte| byte == b' ');
    let command = rest.next()?;
    rest.next().filter(|key| is_key(key))?;
    let kind = match command {
        b"get" | b"gets" => Kind::Get,
        b"mg" if rest.by_ref().all(is_flag) => Kind::Meta,
        b"set" | b"add" | b"replace" | b"append" | b"prepend" => return stored(rest, 0, data),
        b"cas" => return stored(rest, 1, data),
        b"delete" => Kind::Line,
        b"incr" | b"decr" => rest.next().and_then(number).map(|_| Kind::Line)?,
        b"touch" => rest.next().and_then(lifetime).map(|()| Kind::Line)?,
        _ => return None,
    };
    (data.is_empty() && rest.next().is_none()).then_some(kind)
}

/// A store with `more` numbers behind its length, and its data block.
fn stored<'a>(mut rest: impl Iterator<Item = &'a [u8]>, more: usize, data: &[u8]) -> Option<Kind> {
    u32::try_from(number(rest.next()?)?).ok()?;
    lifetime(rest.next()?)?;
    let size = usize::try_from(number(rest.next()?)?).ok()?;
    for _ in 0..more {
        number(rest.next()?)?;
    }
    let whole = data.strip_suffix(b"\r\n").is_some_and(|value| value.len() == size);
    (whole && rest.next().is_none()).then_some(Kind::Line)
}

fn is_key(word: &[u8]) -> bool {
    !word.is_empty() && word.len() <= MAX_KEY && word.iter().all(|&byte| byte > b' ' && byte != 0x7f)
}

/// A flag of `mg` that every version knows, and that leaves the answer one answer.
fn is_flag(word: &[u8]) -> bool {
    match word {
        [b't' | b'v' | b'f' | b'c' | b's' | b'k' | b'l' | b'h'] => true,
        [b'O', opaque @ ..] => !opaque.is_empty() && opaque.len() <= 32,
        _ => false,
    }
}

/// Seconds that every version takes.
fn lifetime(word: &[u8]) -> Option<()> {
    number(word).filter(|&seconds| seconds <= 0x7fff_ffff).map(drop)
}

/// Exactly one loud frame whose parts are of the sizes that its opcode has.
fn binary(bytes: &[u8]) -> bool {
    let Some(head) = bytes.first_chunk::<HEADER>() else { return false };
    let key = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let extras = usize::from(head[4]);
    let body = u32::from_be_bytes([head[8], head[9], head[10], head[11]]) as usize;
    let valued = matches!(head[1], 0x01..=0x03 | 0x0e | 0x0f);
    let due = match head[1] {
        // get, getk, delete, append, prepend
        0x00 | 0x0c | 0x04 | 0x0e | 0x0f => 0,
        // set, add, replace
        0x01..=0x03 => 8,
        // increment, decrement
        0x05 | 0x06 => 20,
        // touch, gat, gatk
        0x1c | 0x1d | 0x23 => 4,
        _ => return false,
    };
    let sized = if valued { body >= key + extras } else { body == key + extras };
    extras == due && sized && head[5] == 0 && (1..=MAX_KEY).contains(&key) && bytes.len() == HEADER + body
}

/// An answer that is no answer to the request: nobody knows where the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit;

/// How far an answer has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that pass without a look.
    skip: u64,
    /// Behind them the answer is complete.
    last: bool,
}

impl Progress {
    /// Takes bytes of an answer of this kind: how many belong to it, and whether it is complete with them. What it leaves of an answer
    /// that is not complete is the beginning of a line, and comes again with more behind it.
    ///
    /// # Errors
    /// [`Misfit`] when it is none.
    pub fn take(&mut self, kind: Kind, bytes: &[u8]) -> Result<(usize, bool), Misfit> {
        let mut at = 0;
        loop {
            if self.skip > 0 {
                let take = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.skip -= take as u64;
                at += take;
            }
            if self.skip == 0 && self.last {
                *self = Self::default();
                return Ok((at, true));
            }
            if at == bytes.len() {
                return Ok((at, false));
            }
            match self.head(kind, &bytes[at..])? {
                None => return Ok((at, false)),
                Some(used) => at += used,
            }
        }
    }

    /// The head of what follows; how long it is, `None` while it is not whole.
    fn head(&mut self, kind: Kind, bytes: &[u8]) -> Result<Option<usize>, Misfit> {
        if kind == Kind::Binary {
            if bytes[0] != 0x81 {
                return Err(Misfit);
            }
            let Some(head) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
            self.skip = u64::from(u32::from_be_bytes([head[8], head[9], head[10], head[11]]));
            self.last = true;
            return Ok(Some(HEADER));
        }
        let Some(end) = memchr(b'\n', bytes) else {
            return if bytes.len() > MAX_LINE { Err(Misfit) } else { Ok(None) };
        };
        let line = bytes[..end].strip_suffix(b"\r").ok_or(Misfit)?;
        let value = match kind {
            Kind::Get => line.strip_prefix(b"VALUE ").map(|rest| words(rest).nth(2)),
            Kind::Meta => line.strip_prefix(b"VA ").map(|rest| words(rest).next()),
            Kind::Line | Kind::Binary => None,
        };
        match value {
            Some(size) => {
                self.skip = size.and_then(number).and_then(|size| size.checked_add(2)).ok_or(Misfit)?;
                self.last = kind == Kind::Meta;
            }
            None if kind == Kind::Get && line != b"END" && !is_error(line) => return Err(Misfit),
            None => self.last = true,
        }
        Ok(Some(end + 1))
    }
}

fn is_error(line: &[u8]) -> bool {
    line.starts_with(b"ERROR") || line.starts_with(b"CLIENT_ERROR ") || line.starts_with(b"SERVER_ERROR ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(opcode: u8, key: &[u8], extras: usize, value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[0] = 0x80;
        bytes[1] = opcode;
        bytes[2..4].copy_from_slice(&(key.len() as u16).to_be_bytes());
        bytes[4] = extras as u8;
        bytes[8..12].copy_from_slice(&((extras + key.len() + value.len()) as u32).to_be_bytes());
        bytes.resize(HEADER + extras, 0);
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        bytes
    }

    #[test]
    fn one_request_with_one_answer_is_shared() {
        let long = [b"get ".as_slice(), &[b'k'; 250], b"\r\n"].concat();
        let shared: [(&[u8], Kind); 13] = [
            (b"get k\r\n", Kind::Get),
            (&long, Kind::Get),
            (b"gets k\r\n", Kind::Get),
            (b"set k 1 0 2\r\nab\r\n", Kind::Line),
            (b"set k 1 0 2\r\n\r\n\r\n", Kind::Line),
            (b"append k 1 0 0\r\n\r\n", Kind::Line),
            (b"cas k 1 0 2 77\r\nab\r\n", Kind::Line),
            (b"delete k\r\n", Kind::Line),
            (b"incr k 5\r\n", Kind::Line),
            (b"touch k 5\r\n", Kind::Line),
            (b"mg k v t Oabc\r\n", Kind::Meta),
            (&frame(0, b"k", 0, b""), Kind::Binary),
            (&frame(1, b"k", 8, b"value"), Kind::Binary),
        ];
        for (bytes, kind) in shared {
            assert_eq!(request(bytes), Some(kind), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn what_may_be_answered_otherwise_is_not() {
        let long = [b"get ".as_slice(), &[b'k'; 251], b"\r\n"].concat();
        let own: [&[u8]; 36] = [
            b"",
            b"\r\n",
            b"get\r\n",
            b"get k",
            b"get k\n",
            b"get  k\r\n",
            b"get k l\r\n",
            b"get k \r\n",
            b"get k\r\nget l\r\n",
            b"get k\x01\r\n",
            &long,
            b"gat 1 k\r\n",
            b"set k 1 0 2 noreply\r\nab\r\n",
            b"set k 1 0 2\r\nabc\r\n",
            b"set k 1 0 3\r\nab\r\n",
            b"set k 1 0 2\r\nab",
            b"set k 1 x 2\r\nab\r\n",
            b"set k 1 -1 2\r\nab\r\n",
            b"set k 4294967296 0 2\r\nab\r\n",
            b"set k 1 0 -1\r\nab\r\n",
            b"set k 1 0 2\r\nab\r\nget k\r\n",
            b"cas k 1 0 2\r\nab\r\n",
            b"delete k 0\r\n",
            b"delete k noreply\r\n",
            b"incr k 1 noreply\r\n",
            b"incr k -1\r\n",
            b"touch k 1 noreply\r\n",
            b"mg k v q\r\n",
            b"mg k E1\r\n",
            b"mn\r\n",
            b"ms k 2\r\nab\r\n",
            b"stats\r\n",
            b"version\r\n",
            b"flush_all\r\n",
            b"watch\r\n",
            b"quit\r\n",
        ];
        for bytes in own {
            assert_eq!(request(bytes), None, "{:?}", String::from_utf8_lossy(bytes));
        }
        let mut two = frame(0, b"k", 0, b"");
        two.extend(frame(0, b"k", 0, b""));
        let odd = [
            frame(9, b"k", 0, b""),
            frame(0, b"", 0, b""),
            frame(1, b"k", 4, b"v"),
            frame(0x20, b"k", 0, b""),
        ];
        for bytes in odd.iter().chain([&two, &frame(0, b"k", 0, b"v"), &frame(8, b"", 0, b"")]) {
            assert_eq!(request(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_misfit_is_told() {
        for (kind, bytes) in [
            (Kind::Get, b"STORED\r\n".as_slice()),
            (Kind::Get, b"VALUE k 0\r\n"),
            (Kind::Get, b"VALUE k 0 18446744073709551615\r\n"),
            (Kind::Line, b"STORED\n"),
            (Kind::Meta, b"VA x\r\n"),
            (Kind::Binary, b"\x80"),
        ] {
            assert_eq!(Progress::default().take(kind, bytes), Err(Misfit), "{kind:?}");
        }
    }

    fn answer() -> impl Strategy<Value = (Kind, Vec<u8>)> {
        let value = proptest::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            proptest::collection::vec(value.clone(), 0..3).prop_map(|values| {
                let blocks = values.iter().map(|value| {
                    [format!("VALUE k 0 {}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
                });
                (Kind::Get, blocks.chain([b"END\r\n".to_vec()]).collect::<Vec<_>>().concat())
            }),
            Just((Kind::Get, b"SERVER_ERROR out of memory\r\n".to_vec())),
            "[A-Z_ 0-9]{0,20}".prop_map(|line| (Kind::Line, format!("{line}\r\n").into_bytes())),
            Just((Kind::Meta, b"EN\r\n".to_vec())),
            value.clone().prop_map(|value| {
                (Kind::Meta, [format!("VA {} t0\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat())
            }),
            value.prop_map(|value| {
                let mut bytes = frame(0, b"", 4, &value);
                bytes[0] = 0x81;
                (Kind::Binary, bytes)
            }),
        ]
    }

    proptest! {
        /// However the answers arrive in pieces, each ends where it ends.
        #[test]
        fn answers_end_where_they_end(
            answers in proptest::collection::vec(answer(), 1..6),
            pieces in proptest::collection::vec(1usize..30, 1..40),
        ) {
            let stream: Vec<u8> = answers.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            let (mut held, mut sent, mut got) = (Vec::new(), 0, vec![Vec::new()]);
            let (mut progress, mut pieces) = (Progress::default(), pieces.into_iter().cycle());
            while got.len() <= answers.len() {
                let more = pieces.next().unwrap_or(1).min(stream.len() - sent);
                held.extend_from_slice(&stream[sent..sent + more]);
                sent += more;
                while let Some((kind, _)) = answers.get(got.len() - 1) {
                    let (used, done) = progress.take(*kind, &held).expect("fits");
                    got.last_mut().expect("one").extend(held.drain(..used));
                    if !done {
                        break;
                    }
                    got.push(Vec::new());
                }
            }
            got.pop();
            let due: Vec<Vec<u8>> = answers.into_iter().map(|(_, bytes)| bytes).collect();
            prop_assert_eq!(got, due);
        }
    }
}
