//! The chunked coding as it goes by: where it ends, and that nobody could see another end. Never keeps a byte of it.

use super::fault::Fault;

/// Extensions of all chunks of one body together; nobody uses them.
const MOST_EXTENSION_BYTES: usize = 16_384;
/// Hexadecimal digits of a size: 60 bits, beyond any body.
const MOST_DIGITS: u8 = 15;

/// Where in a chunked body the next byte falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Digits of a size.
    Size,
    /// White space behind a size.
    Space,
    /// An extension.
    Extension,
    /// LF behind a size line's CR.
    SizeLf,
    /// A chunk's data.
    Data,
    DataCr,
    DataLf,
    /// The first byte of a trailer, or of the end.
    Line,
    /// Within a trailer.
    Trailer,
    TrailerLf,
    EndLf,
}

/// A chunked body that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunks {
    at: At,
    digits: u8,
    size: u64,
    extension_bytes: usize,
    trailer_bytes: usize,
    most_trailer_bytes: usize,
}

/// What a byte that is not data belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A size line, or the end of a chunk.
    On,
    /// A trailer, line end and all.
    Trailer,
    /// It is the body's last.
    End,
}

impl Chunks {
    /// Before the first chunk.
    pub(crate) fn new(most_trailer_bytes: usize) -> Self {
        Self { at: At::Size, digits: 0, size: 0, extension_bytes: 0, trailer_bytes: 0, most_trailer_bytes }
    }

    /// How many of the next `there` bytes are data, which is taken.
    pub(crate) fn data(&mut self, there: usize) -> usize {
        if self.at != At::Data {
            return 0;
        }
        let here = usize::try_from(self.size).unwrap_or(usize::MAX).min(there);
        self.size -= here as u64;
        if self.size == 0 {
            self.at = At::DataCr;
        }
        here
    }

    /// Takes one byte that is not data.
    ///
    /// # Errors
    /// When it can't stand here.
    pub(crate) fn step(&mut self, byte: u8) -> Result<Step, Fault> {
        self.at = match (self.at, byte) {
            (At::Size | At::Space | At::Extension, _) => self.size_line(byte)?,
            (At::SizeLf, b'\n') if self.size == 0 => At::Line,
            (At::SizeLf, b'\n') => At::Data,
            (At::SizeLf, _) => return Err(Fault::ChunkSize),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => {
                (self.digits, self.size) = (0, 0);
                At::Size
            }
            (At::Data | At::DataCr | At::DataLf, _) => return Err(Fault::ChunkEnd),
            (At::EndLf, b'\n') => return Ok(Step::End),
            (At::Line | At::Trailer | At::TrailerLf | At::EndLf, _) => {
                let next = self.trailer(byte)?;
                self.at = next;
                return Ok(if next == At::EndLf { Step::On } else { Step::Trailer });
            }
        };
        Ok(Step::On)
    }

    fn size_line(&mut self, byte: u8) -> Result<At, Fault> {
        match (self.at, byte) {
            (At::Size, digit) if digit.is_ascii_hexdigit() => {
                self.digits += 1;
                if self.digits > MOST_DIGITS {
                    return Err(Fault::ChunkSize);
                }
                self.size = self.size << 4 | u64::from((digit as char).to_digit(16).unwrap_or(0));
                Ok(At::Size)
            }
            _ if self.digits == 0 => Err(Fault::ChunkSize),
            (At::Size | At::Space | At::Extension, b'\r') => Ok(At::SizeLf),
            (At::Size | At::Space, b' ' | b'\t') => Ok(At::Space),
            (At::Size | At::Space, b';') => Ok(At::Extension),
            (At::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.extension_bytes += 1;
                let fits = self.extension_bytes <= MOST_EXTENSION_BYTES;
                fits.then_some(At::Extension).ok_or(Fault::ChunkExtension)
            }
            (At::Extension, _) => Err(Fault::ChunkExtension),
            _ => Err(Fault::ChunkSize),
        }
    }

    fn trailer(&mut self, byte: u8) -> Result<At, Fault> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > self.most_trailer_bytes {
            return Err(Fault::Trailer);
        }
        match (self.at, byte) {
            (At::Line, b'\r') => Ok(At::EndLf),
            (At::Line, b' ' | b'\t' | b'\n' | b':') | (At::Trailer, b'\n' | b'\0') => Err(Fault::Trailer),
            (At::Line, _) => Ok(At::Trailer),
            (At::Trailer, b'\r') => Ok(At::TrailerLf),
            (At::Trailer, _) => Ok(At::Trailer),
            (At::TrailerLf, b'\n') => Ok(At::Line),
            _ => Err(Fault::Trailer),
        }
    }
}
