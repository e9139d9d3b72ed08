//! An HTTP/1.1 origin that believes nothing: it takes a connection's bytes apart by the strictest reading of RFC 9112.
//! Never tolerates what another reader could read otherwise: that is a violation, and kept.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use crate::serving::Serving;

/// A request as any reader must see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Method and target.
    pub line: String,
    /// Names in lower case, and values.
    pub fields: Vec<(String, String)>,
    /// Without framing.
    pub body: Vec<u8>,
}

impl Request {
    /// The values of a field, in order.
    #[must_use]
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// What an origin answers: bytes as they are, and whether it closes behind them.
pub type Reply = (Vec<u8>, bool);

/// A running origin; when dropped it stops and its connections end.
#[derive(Debug)]
pub struct Strict {
    serving: Serving,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Mutex<Vec<Request>>,
    violations: Mutex<Vec<String>>,
}

impl Strict {
    /// Answers every request with 200 and `ok`.
    ///
    /// # Errors
    /// When nothing can be listened on.
    pub fn ok() -> io::Result<Self> {
        Self::start(|request| {
            let body = if request.line.starts_with("HEAD ") { "" } else { "ok\n" };
            (format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{body}").into_bytes(), false)
        })
    }

    /// Answers as it is told.
    ///
    /// # Errors
    /// When nothing can be listened on.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> io::Result<Self> {
        let seen = Arc::<Seen>::default();
        let kept = Arc::clone(&seen);
        let serving =
            Serving::start("strict origin", "127.0.0.1:0", move |stream| converse(stream, &answer, &kept))?;
        Ok(Self { serving, seen })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.serving.address()
    }

    /// Every request since the last call.
    #[must_use]
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut *self.seen.requests.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What could have been read in two ways since the last call.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.violations.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn converse(mut stream: &TcpStream, answer: &impl Fn(&Request) -> Reply, kept: &Seen) -> io::Result<()> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 8192]);
    loop {
        match read(&bytes) {
            Ok(Some((request, length))) => {
                bytes.drain(..length);
                let (bytes, close) = answer(&request);
                kept.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                stream.write_all(&bytes)?;
                if close {
                    return Ok(());
                }
                continue;
            }
            Ok(None) => {}
            Err(violation) => {
                let text = format!("{violation}: {:?}", String::from_utf8_lossy(&bytes));
                kept.violations.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                return Ok(());
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

type Parsed<T> = Result<Option<(T, usize)>, String>;

/// The request at the beginning of `bytes` and its length.
fn read(bytes: &[u8]) -> Parsed<Request> {
    let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else {
        let hopeless = bytes.len() > 200_000 || bare(bytes) || bytes.windows(2).any(|end| end == b"\n\n");
        return if hopeless { Err("no end of a head".to_owned()) } else { Ok(None) };
    };
    let head = &bytes[..end];
    if bare(head) || !head.iter().all(|byte| matches!(byte, b'\r' | b'\n' | b'\t' | b' '..=b'~' | 0x80..)) {
        return Err("bytes that are no head's".to_owned());
    }
    let head = String::from_utf8_lossy(head).into_owned();
    let mut lines = head.split("\r\n");
    let line = request_line(lines.next().unwrap_or_default())?;
    let fields = lines.map(field).collect::<Result<Vec<_>, _>>()?;
    let request = Request { line, fields, body: Vec::new() };
    let body = body(&request, &bytes[end + 4..])?;
    Ok(body.map(|(body, length)| (Request { body, ..request }, end + 4 + length)))
}

/// A CR without LF or an LF without CR, the last byte aside.
fn bare(bytes: &[u8]) -> bool {
    let pairs = bytes.windows(2).any(|pair| (pair[0] == b'\r') != (pair[1] == b'\n'));
    pairs || bytes.first() == Some(&b'\n')
}

fn token(text: &str) -> bool {
    let is_tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_tchar)
}

fn request_line(line: &str) -> Result<String, String> {
    let words: Vec<_> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else { return Err(format!("request line {line:?}")) };
    let target_fits = target.starts_with('/') || (method == "OPTIONS" && target == "*");
    if !token(method)
        || !target_fits
        || !target.bytes().all(|byte| matches!(byte, b'!'..=b'~'))
        || target.contains('#')
    {
        return Err(format!("request line {line:?}"));
    }
    Ok(format!("{method} {target}"))
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("no field: {line:?}"))?;
    let name = name.to_ascii_lowercase();
    let disguised = name.contains('_')
        && ["content-length", "transfer-encoding"].contains(&name.replace('_', "-").as_str());
    if !token(&name) || disguised {
        return Err(format!("name {name:?}"));
    }
    Ok((name, value.trim_matches([' ', '\t']).to_owned()))
}

fn body(request: &Request, bytes: &[u8]) -> Parsed<Vec<u8>> {
    if request.values("host").len() != 1 {
        return Err("not one Host".to_owned());
    }
    match (&request.values("content-length")[..], &request.values("transfer-encoding")[..]) {
        ([], []) => Ok(Some((Vec::new(), 0))),
        ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            let length: usize = length.parse().map_err(|_| "a length beyond belief".to_owned())?;
            Ok(bytes.get(..length).map(|body| (body.to_vec(), length)))
        }
        ([], ["chunked"]) => chunks(bytes),
        other => Err(format!("framing {other:?}")),
    }
}

fn chunks(bytes: &[u8]) -> Parsed<Vec<u8>> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = line(&bytes[at..]) else { return Ok(None) };
        at += line.len() + 2;
        let hexadecimal = !line.is_empty() && line.len() < 16 && line.iter().all(u8::is_ascii_hexdigit);
        let size = std::str::from_utf8(line).ok().and_then(|line| usize::from_str_radix(line, 16).ok());
        let (true, Some(size)) = (hexadecimal, size) else { return Err(format!("chunk size {line:?}")) };
        if size == 0 {
            return Ok(trailers(&bytes[at..])?.map(|length| (body, at + length)));
        }
        let Some(data) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if !data.ends_with(b"\r\n") {
            return Err("a chunk without end".to_owned());
        }
        body.extend_from_slice(&data[..size]);
        at += size + 2;
    }
}

/// How many bytes trailers have, with the empty line behind them.
fn trailers(bytes: &[u8]) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let Some(line) = line(&bytes[at..]) else { return Ok(None) };
        at += line.len() + 2;
        if line.is_empty() {
            return Ok(Some(at));
        }
        let (name, _) = field(&String::from_utf8_lossy(line))?;
        let forbidden =
            ["content-length", "transfer-encoding", "host", "authorization", "cookie", "x-forwarded-for"];
        if forbidden.contains(&name.as_str()) {
            return Err(format!("{name} in a trailer"));
        }
    }
}

fn line(bytes: &[u8]) -> Option<&[u8]> {
    bytes.windows(2).position(|end| end == b"\r\n").map(|end| &bytes[..end])
}
