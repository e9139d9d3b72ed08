//! Reads of a frame in network byte order, checked against its end. Never a read of a single byte: the kernel's verifier
//! does not accept what compilers make of it at a variable offset.

/// A frame as it came from the wire, link-layer header first.
pub trait Frame {
    /// A checked part of the frame.
    type Window: Window;

    /// Bytes of the frame.
    fn bytes(&self) -> usize;

    /// The `N` bytes from `offset` on; `None` when the frame ends before.
    fn window<const N: usize>(&self, offset: usize) -> Option<Self::Window>;
}

/// A part of a frame; `at` counts from the window's start, and `at` plus the size read stays within it.
pub trait Window: Copy {
    /// Two bytes.
    fn u16(self, at: usize) -> u16;
    /// Four bytes.
    fn u32(self, at: usize) -> u32;
    /// Eight bytes.
    fn u64(self, at: usize) -> u64;
}

/// A frame in memory, for the host.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl<'a> Frame for Bytes<'a> {
    type Window = BytesWindow<'a>;

    fn bytes(&self) -> usize {
        self.0.len()
    }

    fn window<const N: usize>(&self, offset: usize) -> Option<Self::Window> {
        self.0.get(offset..offset.checked_add(N)?).map(BytesWindow)
    }
}

/// A part of [`Bytes`].
#[derive(Clone, Copy, Debug)]
pub struct BytesWindow<'a>(&'a [u8]);

impl BytesWindow<'_> {
    fn array<const N: usize>(self, at: usize) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.0[at..at + N]);
        array
    }
}

impl Window for BytesWindow<'_> {
    fn u16(self, at: usize) -> u16 {
        u16::from_be_bytes(self.array(at))
    }

    fn u32(self, at: usize) -> u32 {
        u32::from_be_bytes(self.array(at))
    }

    fn u64(self, at: usize) -> u64 {
        u64::from_be_bytes(self.array(at))
    }
}
