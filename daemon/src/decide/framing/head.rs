//! One request's head, judged: whether it can be framed in one way only, and what body follows. Never looks at fields that framing does not
//! depend on; the parser behind judges their characters.

use memchr::{memchr_iter, memrchr};

use super::fault::Fault;

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    None,
    Length(u64),
    Chunks,
}

/// A head that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its bytes, with what stood before its first line.
    pub(super) length: usize,
    pub(super) body: Body,
    /// It asks for another protocol: what follows may not be HTTP.
    pub(super) upgrade: bool,
}

/// Empty lines before a request line that are passed over (RFC 9112, 2.2: at least one).
const MOST_EMPTY_LINES: u8 = 4;

/// Judges a head from its first byte on; `None` while its end is not there.
pub(super) fn judge(bytes: &[u8]) -> Result<Option<Head>, Fault> {
    let (mut start, mut empty) = (0, 0);
    let mut fields: Option<Fields<'_>> = None;
    for end in memchr_iter(b'\n', bytes) {
        let Some((b'\r', line)) = bytes[start..end].split_last() else { return Err(Fault::BareLf) };
        start = end + 1;
        match (&mut fields, line.is_empty()) {
            (None, true) if empty < MOST_EMPTY_LINES => empty += 1,
            (None, true) => return Err(Fault::RequestLine),
            (None, false) => fields = Some(Fields::of(request_line(line)?)),
            (Some(fields), false) => fields.read(line)?,
            (Some(fields), true) => return fields.conclude(start).map(Some),
        }
    }
    Ok(None)
}

/// Whether a head with this many bytes so far has not even ended its first line.
pub(super) fn is_first_line(bytes: &[u8]) -> bool {
    let begun = bytes.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(bytes.len());
    memchr::memchr(b'\n', &bytes[begun..]).is_none()
}

/// What a parser gave up on in a request line of which only this much is there.
pub(super) fn first_line_fault(bytes: &[u8]) -> Option<Fault> {
    if !is_first_line(bytes) {
        return None;
    }
    let begun = bytes.iter().position(|byte| !b"\r\n".contains(byte))?;
    let ended = bytes.ends_with(b"\r");
    let line = bytes[begun..].strip_suffix(b"\r").unwrap_or(&bytes[begun..]);
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next()?, words.next().unwrap_or_default(), words.next());
    let number = version.and_then(|word| word.strip_prefix(b"HTTP/")).unwrap_or_default();
    Some(if !is_token(method) {
        Fault::RequestLine
    } else if target.iter().any(|byte| !is_of_target(*byte)) {
        Fault::Target
    } else if words.next().is_none() && is_other_version(number, ended) {
        Fault::Version
    } else {
        Fault::RequestLine
    })
}

/// Whether this is a token (RFC 9110, 5.6.2).
#[must_use]
pub fn is_token(text: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !text.is_empty() && text.iter().all(is_tchar)
}

/// A version that is not spoken, or, where the line hasn't ended, its beginning.
fn is_other_version(number: &[u8], ended: bool) -> bool {
    let well_formed = match number {
        [major] => major.is_ascii_digit(),
        [major, b'.'] => !ended && major.is_ascii_digit(),
        [major, b'.', minor] => major.is_ascii_digit() && minor.is_ascii_digit(),
        _ => false,
    };
    let goes_on = |spoken: &[u8]| spoken == number || !ended && spoken.starts_with(number);
    well_formed && !goes_on(b"1.0") && !goes_on(b"1.1")
}

fn is_of_target(byte: u8) -> bool {
    matches!(byte, b'!'..=b'"' | b'$'..=b'~')
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Old,
    Present,
}

fn request_line(line: &[u8]) -> Result<Version, Fault> {
    let last = memrchr(b' ', line).ok_or(Fault::RequestLine)?;
    let version = match &line[last + 1..] {
        b"HTTP/1.1" => Version::Present,
        b"HTTP/1.0" => Version::Old,
        other => return Err(version_fault(other)),
    };
    let first = memchr::memchr(b' ', line).unwrap_or(last);
    if first == 0 || first >= last {
        return Err(Fault::RequestLine);
    }
    let target = &line[first + 1..last];
    if target.is_empty() || target.contains(&b' ') {
        return Err(Fault::RequestLine);
    }
    if target.iter().any(|byte| !is_of_target(*byte)) {
        return Err(Fault::Target);
    }
    if &line[..first] == b"CONNECT" {
        return Err(Fault::Connect);
    }
    Ok(version)
}

/// A version of HTTP that is not spoken, or no version at all.
fn version_fault(word: &[u8]) -> Fault {
    let number = word.strip_prefix(b"HTTP/").unwrap_or_default();
    let well_formed =
        matches!(number, [major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit());
    if well_formed || matches!(number, [major] if major.is_ascii_digit()) {
        Fault::Version
    } else {
        Fault::RequestLine
    }
}

/// The fields that say how a body is framed.
struct Fields<'a> {
    version: Version,
    length: Option<&'a [u8]>,
    coding: Option<&'a [u8]>,
    codings: u8,
    upgrade: bool,
}

impl<'a> Fields<'a> {
    fn of(version: Version) -> Self {
        Self { version, length: None, coding: None, codings: 0, upgrade: false }
    }

    fn read(&mut self, line: &'a [u8]) -> Result<(), Fault> {
        match line[0] {
            b'c' | b'C' => {
                if let Some(value) = value(line, b"content-length")
                    && self.length.replace(value).is_some()
                {
                    return Err(Fault::TwoLengths);
                }
            }
            b't' | b'T' => {
                if let Some(value) = value(line, b"transfer-encoding") {
                    self.coding = Some(value);
                    self.codings = self.codings.saturating_add(1);
                }
            }
            b'u' | b'U' => self.upgrade |= value(line, b"upgrade").is_some(),
            b' ' | b'\t' => return Err(Fault::Folded),
            _ => {}
        }
        Ok(())
    }

    fn conclude(&self, length: usize) -> Result<Head, Fault> {
        let body = match (self.length, self.coding) {
            (Some(_), Some(_)) => return Err(Fault::LengthAndCoding),
            (Some(value), None) => Body::Length(number(value)?),
            (None, Some(value)) => self.chunks(value)?,
            (None, None) => Body::None,
        };
        Ok(Head { length, body, upgrade: self.upgrade && self.version == Version::Present })
    }

    fn chunks(&self, coding: &[u8]) -> Result<Body, Fault> {
        if self.version == Version::Old {
            Err(Fault::CodingOld)
        } else if self.codings > 1 {
            Err(Fault::Coding)
        } else if coding.eq_ignore_ascii_case(b"chunked") {
            Ok(Body::Chunks)
        } else {
            Err(coding_fault(coding))
        }
    }
}

/// The value of a field, if the line is of that field. A space before the colon makes it no field at all, here and for the parser behind.
fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let is_it =
        line.len() > name.len() && line[name.len()] == b':' && line[..name.len()].eq_ignore_ascii_case(name);
    is_it.then(|| trim(&line[name.len() + 1..]))
}

/// Without SP and HTAB around it: other white space is not HTTP's.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn number(value: &[u8]) -> Result<u64, Fault> {
    let plain = value == b"0" || matches!(value, [b'1'..=b'9', rest @ ..] if rest.len() < 18);
    if !plain || !value.iter().all(u8::is_ascii_digit) {
        return Err(Fault::Length);
    }
    Ok(value.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// RFC 9112, 6.1 and 7: what ends in one `chunked` could be understood by others, anything else by nobody.
fn coding_fault(last: &[u8]) -> Fault {
    let mut codings = last.split(|byte| *byte == b',').map(trim);
    let known = |coding: &[u8]| {
        [&b"gzip"[..], b"x-gzip", b"compress", b"x-compress", b"deflate"]
            .iter()
            .any(|known| coding.eq_ignore_ascii_case(known))
    };
    let ends_chunked = codings.next_back().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    if ends_chunked && codings.all(known) { Fault::CodingUnknown } else { Fault::Coding }
}
