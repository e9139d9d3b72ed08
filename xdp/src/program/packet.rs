//! Packet memory as a frame. Each window is one pointer, checked once against the packet's end, which is hidden from the compiler
//! wherever it would drop the check because of a comparison with the frame's length.

use aya_ebpf::programs::XdpContext;
use tidegate_xdp::frame::{Frame, Window};

use crate::opaque::opaque;

/// The packet that the program runs on.
#[derive(Clone, Copy)]
pub(crate) struct Packet {
    start: usize,
    end: usize,
}

impl Packet {
    /// The packet of a context.
    #[inline(always)]
    pub(crate) fn of(ctx: &XdpContext) -> Self {
        Self { start: ctx.data(), end: ctx.data_end() }
    }
}

impl Packet {
    /// Writes words in network byte order; `None` when the packet ends before.
    #[inline(always)]
    pub(crate) fn write_words<const N: usize>(&self, offset: usize, words: [u32; N]) -> Option<()> {
        let at = self.start + offset;
        if at + N * 4 > opaque(self.end) {
            return None;
        }
        for (index, word) in words.into_iter().enumerate() {
            // SAFETY: checked above, and the verifier checks it again.
            unsafe { *((at + index * 4) as *mut u32) = word.to_be() };
        }
        Some(())
    }

    /// Exchanges source and destination of the link-layer header; `None` when the packet is shorter.
    #[inline(always)]
    pub(crate) fn swap_hardware_addresses(&self) -> Option<()> {
        if self.start + 12 > opaque(self.end) {
            return None;
        }
        let word = |at: usize| (self.start + at) as *mut u16;
        for at in [0, 2, 4] {
            // SAFETY: checked above, and the verifier checks it again.
            unsafe {
                let (destination, source) = (*word(at), *word(at + 6));
                *word(at) = source;
                *word(at + 6) = destination;
            }
        }
        Some(())
    }
}

/// A checked pointer into the packet.
#[derive(Clone, Copy)]
pub(crate) struct Checked(usize);

impl Frame for Packet {
    type Window = Checked;

    #[inline(always)]
    fn bytes(&self) -> usize {
        opaque(self.end) - self.start
    }

    #[inline(always)]
    fn window<const N: usize>(&self, offset: usize) -> Option<Checked> {
        let at = self.start + offset;
        if at + N > self.end { None } else { Some(Checked(at)) }
    }
}

impl Window for Checked {
    #[inline(always)]
    fn u16(self, at: usize) -> u16 {
        // SAFETY: `window` checked that the bytes lie in the packet, and the verifier checks it again. BPF loads need no alignment
        // where the kernel runs without strict alignment; else the verifier refuses the program.
        u16::from_be(unsafe { *((self.0 + at) as *const u16) })
    }

    #[inline(always)]
    fn u32(self, at: usize) -> u32 {
        // SAFETY: as for `u16`.
        u32::from_be(unsafe { *((self.0 + at) as *const u32) })
    }

    #[inline(always)]
    fn u64(self, at: usize) -> u64 {
        // SAFETY: as for `u16`.
        u64::from_be(unsafe { *((self.0 + at) as *const u64) })
    }
}
