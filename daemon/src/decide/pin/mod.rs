//! Session pins: a signed word in a cookie that keeps a session in one region. Never stores anything about a client, and reads no clock.
//!
//! A pin is `1.REGION.EXPIRY.MAC`: the format's version, the region's name, the Unix second at which it runs out, and HMAC-SHA256 (RFC 2104)
//! of all that stands before the last dot, in base64url without padding (RFC 4648, section 5). It names no client: whoever holds the cookie
//! is pinned, from whatever address.

mod cookie;
mod key;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue};
use ring::hmac;

pub use key::{KeyFault, PinKeys};

use super::region::{RegionId, Regions};

const VERSION: &str = "1";
/// Most cookies of our name that one request is searched for.
const MOST_COOKIES: usize = 8;
/// Bytes of a MAC.
const MAC_BYTES: usize = 32;

/// Reads and writes pins.
#[derive(Debug)]
pub struct Pins {
    cookie: String,
    ttl: Duration,
    keys: PinKeys,
    names: Regions<String>,
}

/// What a request's cookies say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// No pin.
    Absent,
    /// A pin of ours.
    Valid {
        /// The region it names.
        region: RegionId,
        /// It should be written again: half of its time is over, or the previous key signed it.
        renew: bool,
    },
    /// None of it is valid; counted, and otherwise as if it was absent.
    Ignored(PinFault),
}

/// Why a pin is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PinFault {
    /// Neither key signed it, or it isn't a pin at all.
    Forged,
    /// Its time is over.
    Expired,
    /// It names a region that isn't configured any more.
    Unknown,
}

impl PinFault {
    /// Every fault, by index.
    pub const ALL: [Self; 3] = [Self::Forged, Self::Expired, Self::Unknown];

    /// The metric label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Forged => "forged",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }

    /// Place in [`Self::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

impl Pin {
    /// The region of a valid pin.
    #[must_use]
    pub fn region(self) -> Option<RegionId> {
        match self {
            Self::Valid { region, .. } => Some(region),
            Self::Absent | Self::Ignored(_) => None,
        }
    }

    /// Whether the answer to a request with this pin should carry a new one for `home`.
    #[must_use]
    pub fn is_due(self, home: RegionId) -> bool {
        match self {
            Self::Valid { region, renew } => renew || region != home,
            Self::Absent | Self::Ignored(_) => true,
        }
    }
}

impl Pins {
    /// Pins in the cookie called `cookie`, for `ttl` each, that name regions of `names`.
    #[must_use]
    pub fn new(cookie: String, ttl: Duration, keys: PinKeys, names: Regions<String>) -> Self {
        Self { cookie, ttl, keys, names }
    }

    /// The pin in a request's head. Where there are several, the first that is valid counts; without one, the first fault does.
    #[must_use]
    pub fn read(&self, headers: &HeaderMap, now_unix: u64) -> Pin {
        let mut fault = None;
        for value in cookie::values(headers, &self.cookie).take(MOST_COOKIES) {
            match self.judge(value, now_unix) {
                Ok((region, renew)) => return Pin::Valid { region, renew },
                Err(found) => fault = fault.or(Some(found)),
            }
        }
        fault.map_or(Pin::Absent, Pin::Ignored)
    }

    /// The field that pins whoever receives it to `region`. `secure` is left out only where clients speak cleartext.
    #[must_use]
    pub fn write(&self, region: RegionId, now_unix: u64, secure: bool) -> Option<(HeaderName, HeaderValue)> {
        let pin = self.sign(self.names.get(region)?, now_unix.saturating_add(self.ttl.as_secs()));
        let text = cookie::set(&self.cookie, &pin, self.ttl, secure);
        Some((http::header::SET_COOKIE, HeaderValue::try_from(text).ok()?))
    }

    fn sign(&self, region: &str, expires: u64) -> String {
        let mut pin = format!("{VERSION}.{region}.{expires}");
        let mac = hmac::sign(&self.keys.current, pin.as_bytes());
        pin.push('.');
        URL_SAFE_NO_PAD.encode_string(mac.as_ref(), &mut pin);
        pin
    }

    /// The signature is judged first: nothing in a forged pin is looked at.
    fn judge(&self, pin: &[u8], now_unix: u64) -> Result<(RegionId, bool), PinFault> {
        let (signed, by_previous) = self.signed(pin).ok_or(PinFault::Forged)?;
        let (region, expires) = words(signed).ok_or(PinFault::Forged)?;
        let left = expires.checked_sub(now_unix).filter(|left| *left > 0).ok_or(PinFault::Expired)?;
        let known = self.names.iter().find(|(_, name)| *name == region);
        let (region, _) = known.ok_or(PinFault::Unknown)?;
        Ok((region, by_previous || left <= self.ttl.as_secs() / 2))
    }

    /// What is signed, and whether by the previous key. Compared in constant time.
    fn signed<'a>(&self, pin: &'a [u8]) -> Option<(&'a [u8], bool)> {
        let dot = pin.iter().rposition(|byte| *byte == b'.')?;
        let (signed, mac) = (&pin[..dot], &pin[dot + 1..]);
        let mut tag = [0; MAC_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(mac, &mut tag).ok()?;
        if length != MAC_BYTES {
            return None;
        }
        let by = |key: &hmac::Key| hmac::verify(key, signed, &tag).is_ok();
        if by(&self.keys.current) {
            return Some((signed, false));
        }
        self.keys.previous.as_ref().is_some_and(by).then_some((signed, true))
    }
}

/// Region and expiry of a signed text.
fn words(signed: &[u8]) -> Option<(&str, u64)> {
    let (version, rest) = std::str::from_utf8(signed).ok()?.split_once('.')?;
    let (region, expires) = rest.rsplit_once('.')?;
    (version == VERSION).then_some((region, expires.parse().ok()?))
}

#[cfg(test)]
mod tests;
