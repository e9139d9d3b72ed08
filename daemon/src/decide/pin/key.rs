//! The keys that sign pins, as their file holds them: the key on the first line, the previous one on the second. Never shows a key.

use std::fmt;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ring::hmac;

/// Fewest bytes of a key: as many as the hash has (RFC 2104, section 3).
const FEWEST_BYTES: usize = 32;
/// Most bytes of a key file.
const MOST_BYTES: usize = 4096;
/// Keys are used for pins only, even if the file's bytes serve something else as well.
const PURPOSE: &[u8] = b"tidegate session pin 1";

/// The key that signs, and the one that signed until lately.
pub struct PinKeys {
    pub(super) current: hmac::Key,
    pub(super) previous: Option<hmac::Key>,
}

impl fmt::Debug for PinKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinKeys").field("previous", &self.previous.is_some()).finish_non_exhaustive()
    }
}

/// A key file can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// Nothing in it.
    #[error("it is empty: write a key on its first line, as `openssl rand -hex 32` prints it")]
    Empty,
    /// A key is too weak.
    #[error(
        "line {line}: the key has {bytes} bytes, at least 32 are needed: `openssl rand -hex 32` prints one"
    )]
    Short {
        /// Which line, from 1.
        line: usize,
        /// How many it has.
        bytes: usize,
    },
    /// More than two keys.
    #[error("line {line}: only two keys are read, the key and the previous one: remove what follows")]
    TooMany {
        /// The first line that is too many.
        line: usize,
    },
    /// Not a key file.
    #[error("it is larger than 4096 bytes: that is no key file")]
    TooLarge,
}

impl PinKeys {
    /// Reads a key file's bytes. A line holds a key in hexadecimal, in base64 (either alphabet, padded or not), or as plain text; bytes
    /// that aren't text are one key as they are. Blank lines count for nothing.
    ///
    /// # Errors
    /// Says which line, what is wrong, and what to do.
    pub fn parse(file: &[u8]) -> Result<Self, KeyFault> {
        if file.len() > MOST_BYTES {
            return Err(KeyFault::TooLarge);
        }
        let Ok(text) = std::str::from_utf8(file) else {
            return Ok(Self { current: key(1, file)?, previous: None });
        };
        let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
        let mut keys = lines.map(|(at, line)| (at + 1, decoded(line)));
        let (line, current) = keys.next().ok_or(KeyFault::Empty)?;
        let current = key(line, &current)?;
        let previous = keys.next().map(|(line, bytes)| key(line, &bytes)).transpose()?;
        match keys.next() {
            Some((line, _)) => Err(KeyFault::TooMany { line }),
            None => Ok(Self { current, previous }),
        }
    }
}

fn key(line: usize, bytes: &[u8]) -> Result<hmac::Key, KeyFault> {
    if bytes.len() < FEWEST_BYTES {
        return Err(KeyFault::Short { line, bytes: bytes.len() });
    }
    let own = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, bytes), PURPOSE);
    Ok(hmac::Key::new(hmac::HMAC_SHA256, own.as_ref()))
}

/// The bytes that a line stands for: the same on every edge, since the first reading that fits is taken.
fn decoded(line: &str) -> Vec<u8> {
    hexadecimal(line)
        .or_else(|| base64(line).filter(|bytes| bytes.len() >= FEWEST_BYTES))
        .unwrap_or_else(|| line.as_bytes().to_vec())
}

fn hexadecimal(line: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pairs = line.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

fn base64(line: &str) -> Option<Vec<u8>> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabets = [&base64::alphabet::STANDARD, &base64::alphabet::URL_SAFE];
    alphabets.iter().find_map(|alphabet| GeneralPurpose::new(alphabet, config).decode(line).ok())
}
