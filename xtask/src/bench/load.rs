//! Requests at a steady pace, whatever the answers: how many were answered how, when, and after how long.
//! Never waits for a slow answer to begin the next request of another connection; what is late is sent late, not left out.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

/// One answered request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    /// Since the load began, in microseconds.
    pub(super) at_us: u64,
    /// Status.
    pub(super) status: u16,
    /// Until the whole answer was there, in microseconds.
    pub(super) took_us: u64,
}

/// Sends `per_second` requests for `length` over `connections`, each at its own times.
pub(super) fn paced(
    to: SocketAddr,
    per_second: f64,
    length: Duration,
    connections: u32,
) -> Result<Vec<Answered>> {
    let began = Instant::now() + Duration::from_millis(50);
    let gap = Duration::from_secs_f64(f64::from(connections) / per_second);
    let one = |number: u32| {
        let offset = gap.mul_f64(f64::from(number) / f64::from(connections));
        thread::Builder::new()
            .stack_size(128 * 1024)
            .spawn(move || connection(to, began, offset, gap, length))
    };
    let threads = (0..connections).map(one).collect::<Result<Vec<_>, _>>()?;
    let mut all = Vec::new();
    for thread in threads {
        all.extend(thread.join().map_err(|_| anyhow!("a load thread panicked"))??);
    }
    all.sort_unstable_by_key(|answered| answered.at_us);
    ensure!(!all.is_empty(), "nothing was answered");
    Ok(all)
}

fn connection(
    to: SocketAddr,
    began: Instant,
    offset: Duration,
    gap: Duration,
    length: Duration,
) -> Result<Vec<Answered>> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut answers, mut next) = (Vec::new(), began + offset);
    while next < began + length {
        if let Some(early) = next.checked_duration_since(Instant::now()) {
            thread::sleep(early);
        }
        let sent = Instant::now();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n")?;
        let status = answer(&mut reader)?;
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let at_us = micros(began.elapsed());
        answers.push(Answered { at_us, status, took_us: micros(sent.elapsed()) });
        next += gap;
    }
    Ok(answers)
}

fn answer(reader: &mut BufReader<TcpStream>) -> Result<u16> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status =
        line.split(' ').nth(1).and_then(|status| status.parse().ok()).with_context(|| format!("{line:?}"))?;
    let (mut length, mut chunked) = (0_u64, false);
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let field = line.trim_end().to_ascii_lowercase();
        if field.is_empty() {
            break;
        }
        if let Some(value) = field.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        chunked |= field.starts_with("transfer-encoding:");
    }
    ensure!(!chunked, "a chunked answer: the load reads plain lengths only");
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    Ok(status)
}
