//! A small HTTP/1.1 client over any stream, for asking daemons and origins; and the reading of messages for the recording origin.
//! Never reuses a connection and never follows a redirect: cases see what was sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// Longest wait for a connection, a write or a read.
pub const PATIENCE: Duration = Duration::from_secs(60);
const MOST_HEAD: u64 = 1 << 20;
const MOST_BODY: u64 = 1 << 28;

/// Header fields in the order they came, names in lower case.
pub type Fields = Vec<(String, String)>;

/// What a server said.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub fields: Fields,
    /// The whole body, transfer coding removed.
    pub body: Vec<u8>,
}

impl Response {
    /// The first field of that name (in lower case).
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        field(&self.fields, name)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The first field of that name (in lower case).
#[must_use]
pub fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// One request over TCP from the thread's own namespace; `fields` are whole lines such as `Accept: */*`.
///
/// # Errors
/// When there is no connection or no complete answer in time.
pub fn tcp(to: SocketAddr, method: &str, target: &str, fields: &[&str], body: &[u8]) -> Result<Response> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE).with_context(|| format!("connecting to {to}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    exchange(stream, &request(method, target, &to.to_string(), fields, body))
}

/// One request over a unix socket.
///
/// # Errors
/// When there is no connection or no complete answer in time.
pub fn unix(to: &Path, method: &str, target: &str, body: &[u8]) -> Result<Response> {
    let stream = UnixStream::connect(to).with_context(|| format!("connecting to {}", to.display()))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let fields: &[&str] = if body.is_empty() { &[] } else { &["Content-Type: application/json"] };
    exchange(stream, &request(method, target, "localhost", fields, body))
}

/// The bytes of a request that closes its connection; `Host` is added unless `fields` has one.
#[must_use]
pub fn request(method: &str, target: &str, host: &str, fields: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    if !fields.iter().any(|line| line.to_ascii_lowercase().starts_with("host:")) {
        head += &format!("Host: {host}\r\n");
    }
    fields.iter().for_each(|line| head += &format!("{line}\r\n"));
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head += "Connection: close\r\n\r\n";
    [head.as_bytes(), body].concat()
}

/// Writes a request and reads one final response; 1xx responses are passed over.
///
/// # Errors
/// When the stream fails or the answer is no HTTP.
pub fn exchange(mut stream: impl Read + Write, request: &[u8]) -> Result<Response> {
    stream.write_all(request).context("sending the request")?;
    let mut reader = BufReader::new(stream);
    let bodiless = request.starts_with(b"HEAD ");
    loop {
        let (line, fields) = head(&mut reader)?.context("the connection closed before an answer")?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status: u16 = status.with_context(|| format!("no status line: {line:?}"))?;
        if (100..200).contains(&status) && status != 101 {
            continue;
        }
        let empty = bodiless || status == 204 || status == 304 || status == 101;
        let body = if empty { Vec::new() } else { body(&mut reader, &fields, true)? };
        return Ok(Response { status, fields, body });
    }
}

/// Reads a message's first line and fields; `None` when the stream ended before it.
///
/// # Errors
/// When the stream fails or a field has no colon.
pub fn head(reader: &mut impl BufRead) -> Result<Option<(String, Fields)>> {
    let mut lines = reader.take(MOST_HEAD);
    let mut next = || -> Result<Option<String>> {
        let mut line = String::new();
        let read = lines.read_line(&mut line)?;
        Ok((read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
    };
    let Some(first) = next()? else { return Ok(None) };
    let mut fields = Fields::new();
    while let Some(line) = next()? {
        if line.is_empty() {
            return Ok(Some((first, fields)));
        }
        let (name, value) = line.split_once(':').with_context(|| format!("no field: {line:?}"))?;
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    bail!("the head ended early after {first:?}")
}

/// Reads a body as its head describes it; `to_end` takes all there is when the head says nothing (responses).
///
/// # Errors
/// When it ends early or its framing is wrong.
pub fn body(reader: &mut impl BufRead, fields: &Fields, to_end: bool) -> Result<Vec<u8>> {
    if field(fields, "transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return chunks(reader);
    }
    let mut body = Vec::new();
    match field(fields, "content-length") {
        Some(length) => {
            let length: u64 = length.parse().context("Content-Length is no number")?;
            ensure!(length <= MOST_BODY, "a body of {length} bytes");
            reader.take(length).read_to_end(&mut body)?;
            ensure!(body.len() as u64 == length, "{} of {length} bytes came", body.len());
        }
        None if to_end => drop(reader.take(MOST_BODY).read_to_end(&mut body)?),
        None => {}
    }
    Ok(body)
}

fn chunks(reader: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.take(MOST_HEAD).read_line(&mut line)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let length = u64::from_str_radix(digits, 16).with_context(|| format!("no chunk size: {line:?}"))?;
        if length == 0 {
            // Trailers read as fields up to the empty line.
            while {
                line.clear();
                reader.take(MOST_HEAD).read_line(&mut line)? > 2
            } {}
            return Ok(body);
        }
        ensure!(body.len() as u64 + length <= MOST_BODY, "a body of more than {MOST_BODY} bytes");
        let had = body.len() as u64;
        reader.take(length).read_to_end(&mut body)?;
        ensure!(body.len() as u64 == had + length, "a chunk ended early");
        let mut end = [0; 2];
        reader.read_exact(&mut end).context("a chunk without end")?;
    }
}

#[cfg(test)]
mod tests {
    use super::{Fields, body, head};

    #[test]
    fn reads_heads_and_both_kinds_of_body() {
        let mut wire = &b"HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\nT: u\r\n\r\nrest"[..];
        let (line, fields) = head(&mut wire).unwrap().unwrap();
        assert_eq!((line.as_str(), fields[0].0.as_str()), ("HTTP/1.1 200 OK", "a"));
        assert_eq!(body(&mut wire, &fields, true).unwrap(), b"abcde");
        assert_eq!(wire, b"rest");
        let length: Fields = vec![("content-length".into(), "2".into())];
        assert_eq!(body(&mut &b"xyz"[..], &length, true).unwrap(), b"xy");
        assert!(body(&mut &b"x"[..], &length, true).is_err());
    }

    #[test]
    fn an_early_end_is_told_from_no_message() {
        assert!(head(&mut &b""[..]).unwrap().is_none());
        assert!(head(&mut &b"GET / HTTP/1.1\r\nHost: x\r\n"[..]).is_err());
    }
}
