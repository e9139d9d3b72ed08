//! Bytes in pieces, as sockets bring them: where they are cut is said by a number, so that it can be said again. Never changes a byte.

/// What separates the sides of a conversation in an input.
pub const BETWEEN: &[u8] = b"\xff\0\xff\0";

/// The splitmix64 sequence: where to cut.
#[derive(Clone, Copy, Debug)]
pub struct Cuts(u64);

impl Cuts {
    /// From a number.
    #[must_use]
    pub fn of(number: u64) -> Self {
        Self(number)
    }

    /// The next number below `bound`; 0 where that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((word ^ (word >> 31)) >> 1).unwrap_or(0) % bound.max(1)
    }

    /// `bytes` in pieces: mostly small ones, sometimes all that is left.
    pub fn pieces<'a>(&mut self, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let most = [1, 4, 16, 64, bytes.len()][self.below(5)];
            let (piece, rest) = bytes.split_at((1 + self.below(most)).min(bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }
}

/// The parts of an input.
pub fn parts(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (Vec::new(), bytes);
    while let Some(at) = rest.windows(BETWEEN.len()).position(|here| here == BETWEEN) {
        parts.push(&rest[..at]);
        rest = &rest[at + BETWEEN.len()..];
    }
    parts.push(rest);
    parts
}

#[cfg(test)]
mod tests {
    use super::{BETWEEN, Cuts, parts};

    #[test]
    fn pieces_are_the_whole_again() {
        let bytes: Vec<u8> = (0..=255).collect();
        for number in 0..100 {
            assert_eq!(Cuts::of(number).pieces(&bytes).concat(), bytes, "{number}");
        }
        assert!(Cuts::of(1).pieces(b"").is_empty());
    }

    #[test]
    fn parts_are_what_stands_between() {
        let bytes = [b"a", BETWEEN, b"", BETWEEN, b"b\xff"].concat();
        assert_eq!(parts(&bytes), [&b"a"[..], b"", b"b\xff"]);
        assert_eq!(parts(b""), [b""]);
    }
}
