//! One request's head, judged line by line: whether it can be framed in one way only, and what body follows. Never keeps a field: whoever
//! asks gets each as it goes by.

use memchr::{memchr, memchr_iter, memrchr};

use super::fault::Fault;

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    None,
    Length(u64),
    Chunks,
}

/// A head that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    /// Its bytes, with what stood before its first line.
    pub(crate) length: usize,
    pub(crate) line: Line<'a>,
    pub(crate) body: Body,
    /// It asks for another protocol: what follows may not be HTTP.
    pub(crate) upgrade: bool,
    /// Another request may follow on this connection (RFC 9112, 9.3).
    pub(crate) keeps: bool,
    /// `Expect: 100-continue` (RFC 9110, 10.1.1), in HTTP/1.1 and before a body alone.
    pub(crate) expects: bool,
}

/// A request line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) target: &'a [u8],
    /// HTTP/1.0.
    pub(crate) old: bool,
}

/// Empty lines before a request line that are passed over (RFC 9112, 2.2: at least one).
const MOST_EMPTY_LINES: u8 = 4;

/// Judges a head from its first byte on, and hands each field to `each`; `None` while its end is not there.
pub(crate) fn judge<'a>(
    bytes: &'a [u8],
    mut each: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), Fault>,
) -> Result<Option<Head<'a>>, Fault> {
    let (mut start, mut empty) = (0, 0);
    let mut fields: Option<Fields<'a>> = None;
    for end in memchr_iter(b'\n', bytes) {
        let Some((b'\r', line)) = bytes[start..end].split_last() else { return Err(Fault::BareLf) };
        start = end + 1;
        match (&mut fields, line.is_empty()) {
            (None, true) if empty < MOST_EMPTY_LINES => empty += 1,
            (None, true) => return Err(Fault::RequestLine),
            (None, false) => fields = Some(Fields::of(request_line(line)?)),
            (Some(fields), false) => {
                let (name, value) = field(line)?;
                fields.note(name, value)?;
                each(name, value)?;
            }
            (Some(fields), true) => return fields.conclude(start).map(Some),
        }
    }
    Ok(None)
}

/// Name and value of a field's line.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    if matches!(line[0], b' ' | b'\t') {
        return Err(Fault::Folded);
    }
    let colon = memchr(b':', line).ok_or(Fault::HeaderLine)?;
    Ok((&line[..colon], trim(&line[colon + 1..])))
}

/// Whether a field may be called and say this (RFC 9110, 5.1 and 5.5).
pub(crate) fn is_field(name: &[u8], value: &[u8]) -> bool {
    is_token(name) && value.iter().all(|byte| !is_control(*byte))
}

/// A byte that no line of a head has within it.
fn is_control(byte: u8) -> bool {
    byte < b' ' && byte != b'\t' || byte == 0x7f
}

/// How many bytes the head at the beginning of `bytes` has, if its end is there; nothing ends before `from`. `Err` where a line ends without
/// CR: no end behind that counts.
pub(crate) fn end(bytes: &[u8], from: usize) -> Result<Option<usize>, Fault> {
    let begun = begins(bytes);
    let from = from.saturating_sub(3).max(begun);
    for at in memchr_iter(b'\n', &bytes[from..]).map(|at| from + at) {
        if at == 0 || bytes[at - 1] != b'\r' {
            return Err(Fault::BareLf);
        }
        match &bytes[at + 1..] {
            [b'\n', ..] => return Err(Fault::BareLf),
            [b'\r', b'\n', ..] => return Ok(Some(at + 3)),
            _ => {}
        }
    }
    Ok(None)
}

/// Where the first line begins, behind line ends.
fn begins(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(bytes.len())
}

/// What is wrong already with a head whose end is not there; nothing is before `from`, but perhaps in its first line.
pub(crate) fn fault_so_far(bytes: &[u8], from: usize) -> Option<Fault> {
    if is_first_line(bytes) {
        let line = &bytes[begins(bytes)..];
        return (!can_begin(line)).then(|| first_line_fault(bytes).unwrap_or(Fault::RequestLine));
    }
    let wrong = |byte: &u8| is_control(*byte) && !b"\r\n".contains(byte);
    bytes[from..].iter().any(wrong).then_some(Fault::HeaderLine)
}

/// Whether a request line can begin so.
fn can_begin(line: &[u8]) -> bool {
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let (method, target, version) = (words.next().unwrap_or_default(), words.next(), words.next());
    let is_target = |target: &[u8]| target.iter().all(|byte| is_of_target(*byte));
    (line.is_empty() || is_token(method))
        && target.is_none_or(is_target)
        && version.is_none_or(|version| {
            target.is_some_and(|target| !target.is_empty())
                && [&b"HTTP/1.1\r"[..], b"HTTP/1.0\r"].iter().any(|spoken| spoken.starts_with(version))
        })
}

/// Whether a head with this many bytes so far has not even ended its first line.
pub(crate) fn is_first_line(bytes: &[u8]) -> bool {
    memchr(b'\n', &bytes[begins(bytes)..]).is_none()
}

/// What a parser gave up on in a request line of which only this much is there.
fn first_line_fault(bytes: &[u8]) -> Option<Fault> {
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

fn request_line(line: &[u8]) -> Result<Line<'_>, Fault> {
    let last = memrchr(b' ', line).ok_or(Fault::RequestLine)?;
    let old = match &line[last + 1..] {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        other => return Err(version_fault(other)),
    };
    let first = memchr(b' ', line).unwrap_or(last);
    if first == 0 || first >= last {
        return Err(Fault::RequestLine);
    }
    let (method, target) = (&line[..first], &line[first + 1..last]);
    if target.is_empty() || target.contains(&b' ') {
        return Err(Fault::RequestLine);
    }
    if target.iter().any(|byte| !is_of_target(*byte)) {
        return Err(Fault::Target);
    }
    if method == b"CONNECT" {
        return Err(Fault::Connect);
    }
    Ok(Line { method, target, old })
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

/// What the fields say of the body and the connection.
struct Fields<'a> {
    line: Line<'a>,
    length: Option<&'a [u8]>,
    coding: Option<&'a [u8]>,
    codings: u8,
    upgrade: bool,
    close: bool,
    keep_alive: bool,
    expects: bool,
}

impl<'a> Fields<'a> {
    fn of(line: Line<'a>) -> Self {
        let (length, coding, codings) = (None, None, 0);
        Self {
            line,
            length,
            coding,
            codings,
            upgrade: false,
            close: false,
            keep_alive: false,
            expects: false,
        }
    }

    fn note(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Fault> {
        match name.len() {
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.expects |= value.eq_ignore_ascii_case(b"100-continue");
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            10 if name.eq_ignore_ascii_case(b"connection") => self.connection(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let before = self.length.replace(value);
                return before.map_or(Ok(()), |_| Err(Fault::TwoLengths));
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.coding = Some(value);
                self.codings = self.codings.saturating_add(1);
            }
            _ => {}
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        for word in value.split(|byte| *byte == b',').map(trim) {
            self.close |= word.eq_ignore_ascii_case(b"close");
            self.keep_alive |= word.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn conclude(&self, length: usize) -> Result<Head<'a>, Fault> {
        let body = match (self.length, self.coding) {
            (Some(_), Some(_)) => return Err(Fault::LengthAndCoding),
            (Some(value), None) => Body::Length(number(value)?),
            (None, Some(value)) => self.chunks(value)?,
            (None, None) => Body::None,
        };
        let Line { old, .. } = self.line;
        let has_body = !matches!(body, Body::None | Body::Length(0));
        Ok(Head {
            length,
            line: self.line,
            body,
            upgrade: self.upgrade && !old,
            keeps: !self.close && (!old || self.keep_alive),
            expects: self.expects && !old && has_body,
        })
    }

    fn chunks(&self, coding: &[u8]) -> Result<Body, Fault> {
        if self.line.old {
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
