//! Random and mutated frames from a seed. The same seed makes the same frames.

/// splitmix64.
#[derive(Clone, Debug)]
pub struct Noise(u64);

impl Noise {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next word.
    pub fn next_word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next_word() % bound as u64) as usize
    }

    /// A frame: one of `frames` mutated, or (one in 16) nothing but noise. At least 14 bytes, as every frame from a wire.
    pub fn frame(&mut self, frames: &[Vec<u8>]) -> Vec<u8> {
        let mut frame =
            if self.below(16) == 0 { self.garbage() } else { frames[self.below(frames.len())].clone() };
        for _ in 0..self.below(4) {
            self.mutate(&mut frame);
        }
        let shortest = frame.len().max(14);
        frame.resize(shortest, 0);
        frame
    }

    fn garbage(&mut self) -> Vec<u8> {
        let bytes = 14 + self.below(120);
        let mut frame: Vec<u8> = (0..bytes).map(|_| self.next_word() as u8).collect();
        let ethertype = [[0x08, 0x00], [0x86, 0xdd], [0x81, 0x00], [0x88, 0xa8]][self.below(4)];
        frame[12..14].copy_from_slice(&ethertype);
        if frame.len() > 14 {
            frame[14] = [0x45, 0x60, 0x46, frame[14]][self.below(4)];
        }
        frame
    }

    /// One change, often where headers are.
    fn mutate(&mut self, frame: &mut Vec<u8>) {
        let at = self.below(frame.len().min(96));
        match self.below(8) {
            0 => frame[at] ^= 1 << self.below(8),
            1 => frame[at] = self.next_word() as u8,
            2 => frame[at] = [0, 1, 6, 17, 44, 58, 60, 0xff][self.below(8)],
            3 => frame.truncate(14 + self.below(frame.len().max(15) - 14)),
            4 => frame.extend(vec![0; self.below(64)]),
            5 => self.tag(frame),
            6 => self.jump(frame),
            _ => {
                let other = self.below(frame.len().min(96));
                frame.swap(at, other);
            }
        }
        if frame.is_empty() {
            frame.push(0);
        }
    }

    /// Another VLAN tag.
    fn tag(&mut self, frame: &mut Vec<u8>) {
        if frame.len() >= 14 {
            let kind = [0x81, 0x00, 0x88, 0xa8];
            let start = self.below(2) * 2;
            frame.splice(12..12, [kind[start], kind[start + 1], 0, 9]);
        }
    }

    /// Another length, fragment field or protocol of an IPv4 or IPv6 header without tags.
    fn jump(&mut self, frame: &mut [u8]) {
        let field = [16, 17, 18, 19, 20, 21, 23, 37, 46, 47, 54, 55, 56, 57][self.below(14)];
        if let Some(byte) = frame.get_mut(field) {
            *byte = self.next_word() as u8 & [0xff, 0x0f, 0x3f, 0x01][self.below(4)];
        }
    }
}
