//! A client's HTTP/2 frames as they go by: faults whose code the library behind does not tell as RFC 9113 asks. Never looks into a header block
//! or keeps a payload.

use super::Fault;

/// The client's first bytes (RFC 9113, 3.4).
const PREFACE_BYTES: usize = 24;
const HEADER_BYTES: usize = 9;
/// Streams that are remembered as ended, the newest ones; what comes for older ones is left to the library.
const MOST_ENDED: usize = 64;
/// Streams that are remembered as open: more than anybody may have.
const MOST_OPEN: usize = 256;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// Follows one connection's incoming frames.
#[derive(Debug)]
pub struct Frames {
    /// Bytes of the preface, or of a payload, that are still to come.
    left: usize,
    /// A header that came in parts, and how much of it is there.
    partial: [u8; HEADER_BYTES],
    have: usize,
    /// The payload at hand is of `SETTINGS`: its entry so far.
    entry: Option<(usize, [u8; 6])>,
    /// A header block has begun.
    in_block: bool,
    newest: u32,
    open: Vec<u32>,
    ended: Vec<u32>,
    noted: Option<Fault>,
}

impl Default for Frames {
    fn default() -> Self {
        let (open, ended) = (Vec::new(), Vec::new());
        Self {
            left: PREFACE_BYTES,
            partial: [0; HEADER_BYTES],
            have: 0,
            entry: None,
            in_block: false,
            newest: 0,
            open,
            ended,
            noted: None,
        }
    }
}

impl Frames {
    /// A fault that the library finds by itself, but tells by another code.
    #[must_use]
    pub fn noted(&self) -> Option<Fault> {
        self.noted
    }

    /// Judges the next bytes of the connection: nothing from a faulty frame on may go further. A fault in what is on its way already is
    /// [`Self::noted`].
    pub fn look(&mut self, bytes: &[u8]) -> Option<(usize, Fault)> {
        let mut at = 0;
        while at < bytes.len() {
            let here = self.left.min(bytes.len() - at);
            self.payload(&bytes[at..at + here]);
            (self.left, at) = (self.left - here, at + here);
            let whole = self.have == 0;
            let more = (HEADER_BYTES - self.have).min(bytes.len() - at);
            self.partial[self.have..self.have + more].copy_from_slice(&bytes[at..at + more]);
            self.have += more;
            if self.have == HEADER_BYTES {
                self.have = 0;
                match self.header(self.partial) {
                    Err(fault) if whole => return Some((at, fault)),
                    Err(fault) => self.noted = Some(fault),
                    Ok(()) => {}
                }
            }
            at += more;
        }
        None
    }

    fn header(&mut self, header: [u8; HEADER_BYTES]) -> Result<(), Fault> {
        let [a, b, c, kind, flags, d, e, f, g] = header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes([d & 0x7f, e, f, g]);
        self.left = length;
        self.entry = (kind == SETTINGS).then_some((0, [0; 6]));
        let fits = match kind {
            PING => length == 8,
            PRIORITY => length == 5,
            RST_STREAM | WINDOW_UPDATE => length == 4,
            SETTINGS => length.is_multiple_of(6) && (flags & ACK == 0 || length == 0),
            _ => true,
        };
        if !fits {
            return Err(Fault::FrameSize);
        }
        if kind == PUSH_PROMISE || self.in_block != (kind == CONTINUATION) {
            return Err(Fault::FrameOrder);
        }
        if kind == HEADERS || kind == CONTINUATION {
            self.in_block = flags & END_HEADERS == 0;
        }
        match kind {
            DATA | HEADERS => self.of_stream(kind, stream, flags & END_STREAM != 0),
            RST_STREAM => {
                self.end(stream);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// RFC 9113, 5.1: behind its end, a stream has neither data nor headers.
    fn of_stream(&mut self, kind: u8, stream: u32, last: bool) -> Result<(), Fault> {
        if self.ended.contains(&stream) {
            return Err(Fault::StreamClosed);
        }
        if kind == HEADERS && stream > self.newest {
            self.newest = stream;
            if self.open.len() < MOST_OPEN {
                self.open.push(stream);
            }
        }
        if last {
            self.end(stream);
        }
        Ok(())
    }

    fn end(&mut self, stream: u32) {
        let Some(at) = self.open.iter().position(|open| *open == stream) else { return };
        self.open.swap_remove(at);
        if self.ended.len() == MOST_ENDED {
            self.ended.remove(0);
        }
        self.ended.push(stream);
    }

    /// RFC 9113, 6.5.2: no window is larger than 2^31-1.
    fn payload(&mut self, bytes: &[u8]) {
        let Some((filled, entry)) = &mut self.entry else { return };
        for byte in bytes {
            entry[*filled] = *byte;
            *filled = (*filled + 1) % 6;
            let [a, b, c, d, e, f] = *entry;
            let is_window = u16::from_be_bytes([a, b]) == INITIAL_WINDOW_SIZE;
            if *filled == 0 && is_window && u32::from_be_bytes([c, d, e, f]) > 0x7fff_ffff {
                self.noted = Some(Fault::FlowControl);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u8::try_from(payload.len()).expect("small");
        [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
    }

    fn connection(frames: &[Vec<u8>]) -> Vec<u8> {
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frames.concat()].concat()
    }

    /// The fault, however the bytes are cut.
    fn fault_of(frames: &[Vec<u8>]) -> Option<Fault> {
        let bytes = connection(frames);
        let outcome = |cut: usize| {
            let mut follower = Frames::default();
            let found = follower.look(&bytes[..cut]).or_else(|| follower.look(&bytes[cut..]));
            found.map(|(_, fault)| fault).or(follower.noted())
        };
        let whole = outcome(bytes.len());
        assert!((0..bytes.len()).all(|cut| outcome(cut) == whole), "a cut changes the outcome");
        whole
    }

    #[test]
    fn ordinary_frames_pass() {
        let settings = frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0, 0, 100]);
        let frames = [
            settings,
            frame(SETTINGS, ACK, 0, &[]),
            frame(HEADERS, END_HEADERS, 1, &[0x82]),
            frame(DATA, 0, 1, b"abc"),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x40]),
            frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]),
            frame(HEADERS, END_STREAM, 3, &[0x82]),
            frame(CONTINUATION, END_HEADERS, 3, &[0x84]),
            frame(RST_STREAM, 0, 3, &[0, 0, 0, 8]),
            frame(PING, 0, 0, &[0; 8]),
            frame(PRIORITY, 0, 3, &[0; 5]),
            frame(0x77, 0, 0, b"unknown"),
        ];
        assert_eq!(fault_of(&frames), None);
    }

    #[test]
    fn faults_have_their_codes() {
        let get = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0x82]);
        let post = |stream| frame(HEADERS, END_HEADERS, stream, &[0x83]);
        let rows = [
            (vec![frame(PING, 0, 0, &[0; 6])], Fault::FrameSize),
            (vec![frame(PRIORITY, 0, 1, &[0; 4])], Fault::FrameSize),
            (vec![post(1), frame(RST_STREAM, 0, 1, &[0; 3])], Fault::FrameSize),
            (vec![frame(WINDOW_UPDATE, 0, 0, &[0; 3])], Fault::FrameSize),
            (vec![frame(SETTINGS, ACK, 0, &[0; 6])], Fault::FrameSize),
            (vec![frame(SETTINGS, 0, 0, &[0; 3])], Fault::FrameSize),
            (vec![frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0])], Fault::FlowControl),
            (vec![frame(PUSH_PROMISE, END_HEADERS, 1, &[0; 4])], Fault::FrameOrder),
            (vec![get(1), frame(CONTINUATION, END_HEADERS, 1, &[0x82])], Fault::FrameOrder),
            (vec![frame(HEADERS, 0, 1, &[0x82]), frame(PING, 0, 0, &[0; 8])], Fault::FrameOrder),
            (vec![get(1), frame(DATA, 0, 1, b"x")], Fault::StreamClosed),
            (vec![get(1), get(1)], Fault::StreamClosed),
            (vec![post(1), frame(RST_STREAM, 0, 1, &[0; 4]), post(1)], Fault::StreamClosed),
        ];
        for (frames, fault) in rows {
            assert_eq!(fault_of(&frames), Some(fault), "{frames:?}");
        }
    }
}
