//! One request line of memcached's text protocols (doc/protocol.txt), taken apart. Never looks at what follows the line.

use super::effect::MAX_KEY;

/// Storage commands of the classic protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Cas,
}

impl Verb {
    /// The value on the wire is the whole new value.
    pub(super) fn whole(self) -> bool {
        !matches!(self, Self::Append | Self::Prepend)
    }
}

/// Meta commands that name a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetaOp {
    Get,
    Set,
    Delete,
    Arithmetic,
    Debug,
}

/// A meta command's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta<'a> {
    pub(super) op: MetaOp,
    /// As on the wire.
    pub(super) key: &'a [u8],
    /// The key is base64.
    pub(super) base64: bool,
    /// `q`.
    pub(super) quiet: bool,
    /// `v` of `mg`: the answer has the value.
    pub(super) value: bool,
    /// Bytes of the data block that follows (`ms`).
    pub(super) data: u64,
    /// They are said by `S`, as the first versions of 1.6 had it; later ones refuse that, and take no data block.
    pub(super) early: bool,
    /// Mode of `ms`.
    pub(super) verb: Verb,
    /// Client flags of `ms`.
    pub(super) flags: u32,
}

/// What a line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// `get`, `gets`, `gat`, `gats`: the command with its leading arguments, and the keys.
    Get {
        head: &'a [u8],
        keys: &'a [u8],
    },
    Store {
        verb: Verb,
        key: &'a [u8],
        flags: u32,
        data: u64,
        noreply: bool,
    },
    Delete {
        key: &'a [u8],
        noreply: bool,
    },
    Arithmetic {
        key: &'a [u8],
        noreply: bool,
    },
    Touch {
        key: &'a [u8],
        noreply: bool,
    },
    Meta(Meta<'a>),
    /// `mn`.
    MetaNoop,
    Flush {
        delay_s: u32,
        noreply: bool,
    },
    /// One line answers.
    Simple {
        noreply: bool,
    },
    /// Many lines answer, up to `END`, `OK`, `RESET` or an error.
    Listing,
    /// `watch`: the answer never ends.
    Stream,
    Quit,
    /// One line, or nobody knows.
    Unknown,
    /// A line that memcached refuses, and versions differ in what they do with the data behind it.
    Unframed,
}

/// The words of a line.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    line.split(|&byte| byte == b' ').filter(|word| !word.is_empty())
}

/// A decimal number without sign.
pub(super) fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > 20 {
        return None;
    }
    word.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then_some(())?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Takes a line apart; `line` has neither `\n` nor the `\r` before it.
pub(super) fn parse(line: &[u8]) -> Line<'_> {
    let mut rest = words(line);
    let Some(command) = rest.next() else { return Line::Unknown };
    match command {
        b"get" | b"gets" => get(line, command, 0),
        b"gat" | b"gats" => get(line, command, 1),
        b"set" => store(Verb::Set, rest),
        b"add" => store(Verb::Add, rest),
        b"replace" => store(Verb::Replace, rest),
        b"append" => store(Verb::Append, rest),
        b"prepend" => store(Verb::Prepend, rest),
        b"cas" => store(Verb::Cas, rest),
        b"delete" => keyed(rest, |key, noreply| Line::Delete { key, noreply }),
        b"incr" | b"decr" => keyed(rest, |key, noreply| Line::Arithmetic { key, noreply }),
        b"touch" => keyed(rest, |key, noreply| Line::Touch { key, noreply }),
        b"mg" => meta(MetaOp::Get, rest),
        b"ms" => meta(MetaOp::Set, rest),
        b"md" => meta(MetaOp::Delete, rest),
        b"ma" => meta(MetaOp::Arithmetic, rest),
        b"me" => meta(MetaOp::Debug, rest),
        b"mn" => Line::MetaNoop,
        b"flush_all" => flush(rest),
        b"stats" => Line::Listing,
        b"lru_crawler" => match rest.next() {
            Some(b"metadump" | b"mgdump") => Line::Listing,
            _ => simple(rest),
        },
        b"watch" => Line::Stream,
        b"quit" => Line::Quit,
        b"version" | b"verbosity" | b"cache_memlimit" | b"slabs" | b"lru" | b"refresh_certs"
        | b"extstore" | b"shutdown" | b"misbehave" | b"debug" => simple(rest),
        _ => Line::Unknown,
    }
}

fn get<'a>(line: &'a [u8], command: &'a [u8], arguments: usize) -> Line<'a> {
    let mut keys = after(line, command);
    for _ in 0..arguments {
        let Some(word) = words(keys).next() else { return Line::Simple { noreply: false } };
        keys = after(keys, word);
    }
    if words(keys).next().is_none() {
        return Line::Simple { noreply: false };
    }
    Line::Get { head: &line[..line.len() - keys.len()], keys }
}

/// What follows `word` in `line`; `word` is a slice of it.
fn after<'a>(line: &'a [u8], word: &[u8]) -> &'a [u8] {
    let spaces = line.iter().take_while(|&&byte| byte == b' ').count();
    line.get(spaces + word.len()..).unwrap_or(&[])
}

fn store<'a>(verb: Verb, mut rest: impl Iterator<Item = &'a [u8]>) -> Line<'a> {
    let mut fields = || {
        let key = rest.next().filter(|key| key.len() <= MAX_KEY)?;
        let flags = u32::try_from(number(rest.next()?)?).ok()?;
        let _lifetime = rest.next()?;
        let data = number(rest.next()?).filter(|&data| data <= 0x7fff_fffd)?;
        if verb == Verb::Cas {
            number(rest.next()?)?;
        }
        Some(Line::Store { verb, key, flags, data, noreply: rest.next() == Some(b"noreply") })
    };
    fields().unwrap_or(Line::Unframed)
}

fn keyed<'a>(
    mut rest: impl Iterator<Item = &'a [u8]>,
    make: impl Fn(&'a [u8], bool) -> Line<'a>,
) -> Line<'a> {
    let Some(key) = rest.next() else { return Line::Simple { noreply: false } };
    let noreply = rest.last() == Some(b"noreply");
    if key.len() > MAX_KEY {
        return Line::Simple { noreply: false };
    }
    make(key, noreply)
}

fn simple<'a>(rest: impl Iterator<Item = &'a [u8]>) -> Line<'a> {
    Line::Simple { noreply: rest.last() == Some(b"noreply") }
}

fn flush<'a>(rest: impl Iterator<Item = &'a [u8]>) -> Line<'a> {
    let (mut delay_s, mut noreply) = (0, false);
    for word in rest {
        match number(word) {
            Some(delay) => delay_s = u32::try_from(delay).unwrap_or(u32::MAX),
            None => noreply = word == b"noreply",
        }
    }
    Line::Flush { delay_s, noreply }
}

fn meta<'a>(op: MetaOp, mut rest: impl Iterator<Item = &'a [u8]>) -> Line<'a> {
    let broken = if op == MetaOp::Set { Line::Unframed } else { Line::Simple { noreply: false } };
    let Some(key) = rest.next().filter(|key| key.len() <= MAX_KEY) else { return broken };
    let (base64, quiet, value, early) = (false, false, false, false);
    let mut meta = Meta { op, key, base64, quiet, value, data: 0, early, verb: Verb::Set, flags: 0 };
    let mut sized = op != MetaOp::Set;
    for (place, word) in rest.enumerate() {
        if op == MetaOp::Set && place == 0 && word[0].is_ascii_digit() {
            let Some(data) = number(word).filter(|&data| data <= 0x7fff_fffd) else { return broken };
            (meta.data, sized) = (data, true);
            continue;
        }
        match (word[0], op) {
            (b'b', _) => meta.base64 = true,
            (b'q', _) => meta.quiet = true,
            (b'v', MetaOp::Get) => meta.value = true,
            (b'S', MetaOp::Set) if !sized => {
                let Some(data) = number(&word[1..]) else { return broken };
                (meta.data, meta.early, sized) = (data, true, true);
            }
            (b'F', MetaOp::Set) => match number(&word[1..]).and_then(|flags| u32::try_from(flags).ok()) {
                Some(flags) => meta.flags = flags,
                None => return broken,
            },
            (b'M', MetaOp::Set) => meta.verb = mode(word),
            _ => {}
        }
    }
    if sized { Line::Meta(meta) } else { broken }
}

fn mode(word: &[u8]) -> Verb {
    match word.get(1) {
        Some(b'E' | b'e') => Verb::Add,
        Some(b'A' | b'a') => Verb::Append,
        Some(b'P' | b'p') => Verb::Prepend,
        Some(b'R' | b'r') => Verb::Replace,
        _ => Verb::Set,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_get_keeps_its_head_and_keys() {
        assert_eq!(parse(b"get a b"), Line::Get { head: b"get", keys: b" a b" });
        assert_eq!(parse(b"gat 10 a"), Line::Get { head: b"gat 10", keys: b" a" });
        assert_eq!(parse(b"get"), Line::Simple { noreply: false });
    }

    #[test]
    fn a_store_needs_every_field() {
        let line = Line::Store { verb: Verb::Cas, key: b"k", flags: 7, data: 3, noreply: true };
        assert_eq!(parse(b"cas k 7 0 3 99 noreply"), line);
        for broken in [&b"set k 0 0"[..], b"set k x 0 1", b"set k 0 0 -1", b"cas k 0 0 1", b"set"] {
            assert_eq!(parse(broken), Line::Unframed, "{}", String::from_utf8_lossy(broken));
        }
        let long = [b"set ", [b'k'; 251].as_slice(), b" 0 0 1"].concat();
        assert_eq!(parse(&long), Line::Unframed);
    }

    #[test]
    fn meta_flags_are_read() {
        let Line::Meta(meta) = parse(b"ms Zm9v 2 T0 F9 b MA q") else { panic!("no meta") };
        assert_eq!(
            (meta.data, meta.flags, meta.base64, meta.quiet, meta.verb),
            (2, 9, true, true, Verb::Append)
        );
        assert_eq!(parse(b"ms k"), Line::Unframed);
        assert!(matches!(parse(b"mg k v"), Line::Meta(Meta { op: MetaOp::Get, quiet: false, .. })));
    }

    #[test]
    fn flush_takes_delay_and_noreply() {
        assert_eq!(parse(b"flush_all 10 noreply"), Line::Flush { delay_s: 10, noreply: true });
        assert_eq!(parse(b"flush_all"), Line::Flush { delay_s: 0, noreply: false });
    }
}
