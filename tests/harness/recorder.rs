//! An HTTP/1.1 origin that keeps every request as it saw it, to the byte. Never interprets more than it needs to find a request's end.
//!
//! What it answers is asked for by the path: `/status/404`, `/sleep/250` (milliseconds before the answer), `/chunked`, `/hints` (`103`, then an answer), `/reset` (no answer),
//! `/big/1000000` (that many bytes), `/echo` (the request's body), `/upgrade` (101, then an echo of bytes); anything else is `200` with the origin's name.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::serving::Serving;

/// One request as the origin saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Request line and header lines, without line ends.
    pub head: Vec<String>,
    /// The body, without chunk framing.
    pub body: Vec<u8>,
}

impl Seen {
    /// Method and target.
    #[must_use]
    pub fn line(&self) -> &str {
        self.head.first().map_or("", |line| line.as_str())
    }

    /// The values of a header, in order.
    #[must_use]
    pub fn header(&self, name: &str) -> Vec<&str> {
        let fields = self.head.iter().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }
}

/// A running origin; when dropped it stops and its connections end.
#[derive(Debug)]
pub struct Origin {
    serving: Serving,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Origin {
    /// Listens on `address` (port 0: any) and answers until dropped.
    ///
    /// # Errors
    /// When the address can't be listened on.
    pub fn start(name: &str, address: &str) -> io::Result<Self> {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (own, kept) = (name.to_owned(), Arc::clone(&seen));
        let serving =
            Serving::start(&format!("origin {name}"), address, move |stream| converse(stream, &own, &kept))?;
        Ok(Self { serving, seen })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.serving.address()
    }

    /// Every request so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every request so far, and forgets them.
    #[must_use]
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.serving.accepted()
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.serving.open()
    }
}

/// Answers requests until the other side ends, or a path asks for the end.
fn converse(stream: &TcpStream, name: &str, kept: &Mutex<Vec<Seen>>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream.try_clone()?;
    while let Some(head) = read_head(&mut reader)? {
        let mut seen = Seen { head, body: Vec::new() };
        seen.body = read_body(&mut reader, &seen)?;
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(seen.clone());
        if !answer(&mut reader, &mut writer, &seen, name)? {
            return Ok(());
        }
    }
    Ok(())
}

fn read_head(reader: &mut impl BufRead) -> io::Result<Option<Vec<String>>> {
    let mut head = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
        match (text.is_empty(), head.is_empty()) {
            (true, true) => {}
            (true, false) => return Ok(Some(head)),
            (false, _) => head.push(text),
        }
    }
}

fn read_body(reader: &mut impl BufRead, seen: &Seen) -> io::Result<Vec<u8>> {
    if seen.header("transfer-encoding").iter().any(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return read_chunks(reader);
    }
    let length = seen.header("content-length").first().and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}

fn read_chunks(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim().split(';').next().unwrap_or("0"), 16);
        let size = size.map_err(|error| io::Error::other(format!("chunk size {line:?}: {error}")))?;
        if size == 0 {
            while !read_line(reader)?.is_empty() {}
            return Ok(body);
        }
        let start = body.len();
        body.resize(start + size, 0);
        reader.read_exact(&mut body[start..])?;
        read_line(reader)?;
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// `false` ends the connection.
fn answer(reader: &mut impl Read, writer: &mut impl Write, seen: &Seen, name: &str) -> io::Result<bool> {
    let target = seen.line().split(' ').nth(1).unwrap_or("/");
    let path = target.split('?').next().unwrap_or("/");
    let mut parts = path.trim_start_matches('/').split('/');
    let (kind, number) =
        (parts.next().unwrap_or(""), parts.next().and_then(|number| number.parse::<u64>().ok()));
    let head_only = seen.line().starts_with("HEAD ");
    let text = format!("origin {name}\n");
    match (kind, number) {
        ("reset", _) => return Ok(false),
        ("status", Some(status)) => {
            write!(writer, "HTTP/1.1 {status} Asked For\r\nContent-Length: 0\r\nX-Origin: {name}\r\n\r\n")?;
        }
        ("chunked", _) => {
            write!(writer, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Origin: {name}\r\n\r\n")?;
            write!(writer, "{:x}\r\n{text}\r\n0\r\n\r\n", text.len())?;
        }
        ("big", Some(size)) => {
            write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")?;
            io::copy(&mut io::repeat(b'x').take(size), writer)?;
        }
        ("echo", _) => {
            write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.body.len())?;
            writer.write_all(&seen.body)?;
        }
        ("upgrade", _) => {
            write!(
                writer,
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
            )?;
            writer.flush()?;
            echo(reader, writer)?;
            return Ok(false);
        }
        _ => {
            if kind == "hints" {
                write!(writer, "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")?;
            }
            if let ("sleep", Some(millis)) = (kind, number) {
                // tidy: sleep because the case asks for a slow origin.
                std::thread::sleep(Duration::from_millis(millis));
            }
            write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nX-Origin: {name}\r\n\r\n", text.len())?;
            if !head_only {
                writer.write_all(text.as_bytes())?;
            }
        }
    }
    writer.flush()?;
    Ok(true)
}

fn echo(reader: &mut impl Read, writer: &mut impl Write) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        writer.write_all(&buffer[..count])?;
        writer.flush()?;
    }
}
