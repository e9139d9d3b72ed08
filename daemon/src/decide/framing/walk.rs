//! HTTP/2 frames' heads as their bytes go by. Never keeps a payload.

/// Bytes of the client's preface (RFC 9113, 3.4), and of a frame's head (4.1).
const PREFACE: u32 = 24;
const HEAD: usize = 9;

/// A frame's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes behind it.
    pub length: u32,
    /// Which frame it is.
    pub kind: u8,
    /// What depends on the kind.
    pub flags: u8,
}

/// How far a connection has come.
#[derive(Debug, Default)]
pub struct Walk {
    /// Bytes until the next frame begins.
    skip: u32,
    head: [u8; HEAD],
    have: usize,
}

impl Walk {
    /// What a client sends.
    #[must_use]
    pub fn behind_preface() -> Self {
        Self { skip: PREFACE, ..Self::default() }
    }

    /// Goes on, and tells each head that is whole now.
    pub fn on(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Head)) {
        while !bytes.is_empty() {
            let skip = bytes.len().min(self.skip as usize);
            self.skip -= u32::try_from(skip).unwrap_or(0);
            bytes = &bytes[skip..];
            let take = bytes.len().min(HEAD - self.have);
            self.head[self.have..self.have + take].copy_from_slice(&bytes[..take]);
            self.have += take;
            bytes = &bytes[take..];
            if self.have == HEAD {
                let [one, two, three, kind, flags, ..] = self.head;
                let length = u32::from_be_bytes([0, one, two, three]);
                (self.have, self.skip) = (0, length);
                tell(Head { length, kind, flags });
            }
        }
    }
}
