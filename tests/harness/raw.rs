//! A plain HTTP/1.1 client that sends exactly the bytes it is given, from the source address it is given. Never adds a header by itself.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header lines.
    pub head: Vec<String>,
    /// Body without framing.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.iter().filter_map(|line| line.split_once(':'));
        fields.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
}

/// The source from which loopback's addresses are reached.
fn is_default(source: IpAddr) -> bool {
    source == Ipv4Addr::LOCALHOST || source == Ipv6Addr::LOCALHOST
}

impl Connection {
    /// Connects from `source` to `to`.
    ///
    /// # Errors
    /// When it can't be connected.
    pub fn open(source: &str, to: SocketAddr) -> io::Result<Self> {
        let source: IpAddr = source.parse().map_err(io::Error::other)?;
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
        // Where the kernel takes the same source anyway, it is not asked to: it would look for a port that nobody has, to whomever, and
        // among tens of thousands that is milliseconds.
        if !is_default(source) || !to.ip().is_loopback() {
            rustix::net::bind(&socket, &SocketAddr::new(source, 0))?;
        }
        rustix::net::connect(&socket, &to)?;
        let writer = TcpStream::from(socket);
        writer.set_nodelay(true)?;
        writer.set_read_timeout(Some(PATIENCE))?;
        writer.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::new(writer.try_clone()?), writer })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.writer.write_all(bytes.as_ref())
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn finish(&self) -> io::Result<()> {
        self.writer.shutdown(std::net::Shutdown::Write)
    }

    /// Reads one response; `head_only` where it answers HEAD.
    ///
    /// # Errors
    /// When the connection ends before the response does.
    pub fn receive(&mut self, head_only: bool) -> io::Result<Answer> {
        let mut head = self.read_head()?;
        let line = head.remove(0);
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status in {line:?}")))?;
        let mut answer = Answer { status, head, body: Vec::new() };
        if !head_only && status >= 200 && status != 204 && status != 304 {
            answer.body = self.read_body(&answer)?;
        }
        Ok(answer)
    }

    /// Bytes until the other side closes.
    ///
    /// # Errors
    /// When nothing comes for too long.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// Whether nothing comes for that long.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn is_silent(&mut self, time: Duration) -> io::Result<bool> {
        self.writer.set_read_timeout(Some(time))?;
        let came = self.writer.peek(&mut [0]);
        self.writer.set_read_timeout(Some(PATIENCE))?;
        match came {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(true),
            came => came.map(|_| false),
        }
    }

    /// Exactly `count` bytes.
    ///
    /// # Errors
    /// When the connection ends first.
    pub fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn read_head(&mut self) -> io::Result<Vec<String>> {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            match line.trim_end() {
                "" => return Ok(head),
                line => head.push(line.to_owned()),
            }
        }
    }

    fn read_body(&mut self, answer: &Answer) -> io::Result<Vec<u8>> {
        if answer.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return self.read_chunks();
        }
        match answer.header("content-length").and_then(|length| length.parse().ok()) {
            Some(length) => self.exactly(length),
            None => self.rest(),
        }
    }

    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            body.extend(self.exactly(size)?);
            self.read_head().or_else(|error| if size == 0 { Err(error) } else { Ok(Vec::new()) })?;
            if size == 0 {
                return Ok(body);
            }
        }
    }
}

/// One `GET` over a connection of its own; `headers` are whole lines, `Host` is there.
///
/// # Errors
/// When there is no whole response.
pub fn get(source: &str, to: SocketAddr, target: &str, headers: &[&str]) -> io::Result<Answer> {
    let mut connection = Connection::open(source, to)?;
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    connection.send(format!("GET {target} HTTP/1.1\r\nHost: www.example.com\r\n{lines}\r\n"))?;
    connection.receive(false)
}
