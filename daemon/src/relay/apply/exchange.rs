//! One pipelined exchange with a memcached server in the meta protocol (1.6 or later). Never captured: it bypasses the front.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use xxhash_rust::xxh3::Xxh3;

use crate::decide::relay::item::Item;

/// Longest line that a server answers with, in bytes.
const MAX_LINE: usize = 4096;
/// Times that a copy is looked at because it was changed between look and delete; at the last it is deleted whatever it is.
const LOOKS: usize = 3;

/// A copy that differed from what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    /// The item's place.
    pub(super) item: usize,
    pub(super) cas: u64,
    pub(super) hash: u128,
}

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) copies: Vec<Copy>,
}

/// A connection to one server.
pub(super) struct Link {
    read: BufReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

/// What happened to one item on one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    /// There was no copy, or it was deleted unseen.
    #[default]
    Absent,
    /// There was an equal one; it stayed.
    Equal,
    /// There was one that differed.
    Differed,
}

impl Link {
    pub(super) fn new(stream: TcpStream) -> Self {
        let (read, write) = stream.into_split();
        Self { read: BufReader::with_capacity(64 * 1024, read), write }
    }

    /// Applies the items; copies whose place `spare` names are looked at but left. Fates by place.
    pub(super) async fn apply(
        &mut self,
        items: &[Item<'_>],
        spare: &impl Fn(usize) -> bool,
    ) -> io::Result<Vec<Fate>> {
        let mut fates = vec![Fate::Absent; items.len()];
        let mut ask = Vec::with_capacity(items.len() * 48);
        for (place, item) in items.iter().enumerate() {
            first(item, place, &mut ask);
        }
        let mut found = self.exchange(&ask).await?;
        for left in (0..LOOKS).rev() {
            let mut again = Vec::new();
            ask.clear();
            for copy in &found.copies {
                let Some((key, effect)) = items[copy.item].key() else { continue };
                if effect.hash() == Some(copy.hash) {
                    fates[copy.item] = Fate::Equal;
                    continue;
                }
                fates[copy.item] = Fate::Differed;
                if !spare(copy.item) && left == 0 {
                    first(&Item::Forget(key), copy.item, &mut ask);
                } else if !spare(copy.item) {
                    command(b"md ", key, &mut ask);
                    ask.extend_from_slice(format!(" C{} q\r\n", copy.cas).as_bytes());
                    // Whether it was changed in between shows by looking again.
                    look(key, copy.item, &mut again);
                }
            }
            if ask.is_empty() {
                break;
            }
            ask.extend_from_slice(&again);
            found = self.exchange(&ask).await?;
        }
        Ok(fates)
    }

    /// The hash of a key's copy.
    pub(super) async fn look(&mut self, key: &[u8]) -> io::Result<Option<u128>> {
        let mut ask = Vec::new();
        look(key, 0, &mut ask);
        let found = self.exchange(&ask).await?;
        Ok(found.copies.first().map(|copy| copy.hash))
    }

    /// Sends quiet commands and a no-op, and reads what comes back until that is answered.
    async fn exchange(&mut self, ask: &[u8]) -> io::Result<Found> {
        let Self { read, write } = self;
        let send = async {
            write.write_all(ask).await?;
            write.write_all(b"mn\r\n").await
        };
        let (sent, found) = tokio::join!(send, answers(read));
        sent?;
        found
    }
}

/// The first command for an item.
fn first(item: &Item<'_>, place: usize, ask: &mut Vec<u8>) {
    match *item {
        Item::Flush(0) => ask.extend_from_slice(b"flush_all\r\n"),
        Item::Flush(delay_s) => ask.extend_from_slice(format!("flush_all {delay_s}\r\n").as_bytes()),
        Item::Forget(key) => {
            command(b"md ", key, ask);
            ask.extend_from_slice(b" q\r\n");
        }
        Item::Differs(key, _) | Item::Verify(key, _) | Item::Refill(key, _) | Item::Reread(key, _) => {
            look(key, place, ask);
        }
    }
}

fn look(key: &[u8], place: usize, ask: &mut Vec<u8>) {
    command(b"mg ", key, ask);
    ask.extend_from_slice(b" c f v q O");
    let mut digits = [0u8; 20];
    ask.extend_from_slice(decimal(place, &mut digits));
    ask.extend_from_slice(b"\r\n");
}

/// `number` in decimal, without an allocation.
fn decimal(mut number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

/// A command with its key; keys that are no text go as base64.
fn command(name: &[u8], key: &[u8], ask: &mut Vec<u8>) {
    ask.extend_from_slice(name);
    if key.iter().all(|&byte| byte > b' ' && byte != 0x7f) {
        ask.extend_from_slice(key);
    } else {
        ask.extend_from_slice(STANDARD.encode(key).as_bytes());
        ask.extend_from_slice(b" b");
    }
}

async fn answers(read: &mut BufReader<OwnedReadHalf>) -> io::Result<Found> {
    let mut found = Found::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let taken = (&mut *read).take(MAX_LINE as u64).read_until(b'\n', &mut line).await?;
        if taken == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = std::str::from_utf8(&line).unwrap_or("").trim_end();
        match text.get(..2) {
            Some("MN") => return Ok(found),
            Some("VA") => found.copies.extend(value(read, text).await?),
            Some("OK" | "HD" | "NF" | "EN" | "EX" | "NS") => {}
            _ if text.starts_with("CLIENT_ERROR unauth") => {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "wants authentication: invalidations wait until it is asked for none (memcached without -Y)",
                ));
            }
            _ if text == "ERROR" => {
                return Err(io::Error::other(
                    "does not know the meta protocol: memcached 1.6 or later is needed",
                ));
            }
            _ => return Err(io::Error::other(format!("answered {text:?}"))),
        }
    }
}

/// The rest of `VA SIZE cCAS fFLAGS OPLACE`.
async fn value(
    read: &mut (impl AsyncRead + AsyncBufReadExt + Unpin),
    line: &str,
) -> io::Result<Option<Copy>> {
    let bad = || io::Error::other(format!("answered {line:?}"));
    let mut words = line.split(' ').skip(1).filter(|word| !word.is_empty());
    let mut left: usize = words.next().and_then(|word| word.parse().ok()).ok_or_else(bad)?;
    let (mut cas, mut flags, mut item) = (None, 0u32, None);
    for word in words {
        match word.split_at_checked(1) {
            Some(("c", number)) => cas = number.parse().ok(),
            Some(("f", number)) => flags = number.parse().map_err(|_| bad())?,
            Some(("O", number)) => item = number.parse().ok(),
            _ => {}
        }
    }
    let mut hasher = Xxh3::with_seed(u64::from(flags));
    while left > 0 {
        let part = read.fill_buf().await?;
        if part.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let take = part.len().min(left);
        hasher.update(&part[..take]);
        read.consume(take);
        left -= take;
    }
    let mut end = [0; 2];
    read.read_exact(&mut end).await?;
    match (cas, item) {
        (Some(cas), Some(item)) => Ok(Some(Copy { item, cas, hash: hasher.digest128() })),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_no_text_go_as_base64() {
        let mut ask = Vec::new();
        first(&Item::Forget(b"a b"), 0, &mut ask);
        first(&Item::Differs(b"k", 1), 120, &mut ask);
        first(&Item::Flush(0), 0, &mut ask);
        assert_eq!(ask, b"md YSBi b q\r\nmg k c f v q O120\r\nflush_all\r\n");
    }
}
