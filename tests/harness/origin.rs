//! An HTTP/1.1 origin that remembers each request and answers as the case says.
//! Never answers before the whole request was read, unless the case's answer closes early by itself.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::http::{self, Fields};
use crate::netns::Netns;

const TURN: Duration = Duration::from_millis(50);

/// A request as it reached the origin.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Method.
    pub method: String,
    /// Request target, as sent.
    pub target: String,
    /// Header fields in order, names in lower case.
    pub fields: Fields,
    /// The whole body, transfer coding removed.
    pub body: Vec<u8>,
    /// Who was connected.
    pub from: SocketAddr,
}

impl Recorded {
    /// The first field of that name (in lower case).
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        http::field(&self.fields, name)
    }
}

/// What the origin says.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Whole lines such as `Content-Type: text/plain`.
    pub fields: Vec<String>,
    /// Sent with its length.
    pub body: Vec<u8>,
}

impl Answer {
    /// 200 with a text.
    #[must_use]
    pub fn text(body: &str) -> Self {
        Self { status: 200, fields: vec!["Content-Type: text/plain".into()], body: body.into() }
    }

    fn bytes(&self, head_only: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Said\r\nContent-Length: {}\r\n", self.status, self.body.len());
        self.fields.iter().for_each(|line| head += &format!("{line}\r\n"));
        head += "\r\n";
        let body = if head_only { &[][..] } else { &self.body };
        [head.as_bytes(), body].concat()
    }
}

type Say = dyn Fn(&Recorded) -> Answer + Send + Sync;

struct Shared {
    seen: Mutex<Vec<Recorded>>,
    stop: AtomicBool,
    say: Box<Say>,
}

/// A running origin; stops on drop.
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Origin({})", self.address)
    }
}

impl Origin {
    /// Listens on a free port of 127.0.0.1 and answers each request with `label`.
    ///
    /// # Errors
    /// When it can't listen.
    pub fn local(label: &str) -> Result<Self> {
        let text = label.to_owned();
        Self::start(TcpListener::bind("127.0.0.1:0")?, move |_| Answer::text(&text))
    }

    /// The same at an address inside a namespace.
    ///
    /// # Errors
    /// When it can't listen there.
    pub fn inside(namespace: &Netns, address: &str, label: &str) -> Result<Self> {
        let text = label.to_owned();
        let listener = namespace.run(|| TcpListener::bind(address))?.context("listening")?;
        Self::start(listener, move |_| Answer::text(&text))
    }

    /// Serves a listener with what `say` answers.
    ///
    /// # Errors
    /// When the listener can't be used.
    pub fn start(
        listener: TcpListener,
        say: impl Fn(&Recorded) -> Answer + Send + Sync + 'static,
    ) -> Result<Self> {
        let address = listener.local_addr()?;
        // Bounds accept(2), so that the thread sees `stop`.
        set_socket_timeout(&listener, Timeout::Recv, Some(TURN))?;
        let stop = AtomicBool::new(false);
        let shared = Arc::new(Shared { seen: Mutex::default(), stop, say: Box::new(say) });
        let own = Arc::clone(&shared);
        let acceptor = thread::spawn(move || {
            while !own.stop.load(Ordering::Relaxed) {
                if let Ok((stream, from)) = listener.accept() {
                    let own = Arc::clone(&own);
                    thread::spawn(move || drop(connection(&own, &stream, from)));
                }
            }
        });
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS`, as an endpoint in the configuration.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Recorded> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes all requests so far away.
    #[must_use]
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn connection(shared: &Shared, stream: &TcpStream, from: SocketAddr) -> Result<()> {
    stream.set_read_timeout(Some(http::PATIENCE * 6))?;
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    while !shared.stop.load(Ordering::Relaxed) {
        let Some((line, fields)) = http::head(&mut reader)? else { break };
        if http::field(&fields, "expect").is_some_and(|expect| expect.eq_ignore_ascii_case("100-continue")) {
            writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = http::body(&mut reader, &fields, false)?;
        let mut words = line.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let close =
            http::field(&fields, "connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let recorded = Recorded { method, target, fields, body, from };
        let answer = (shared.say)(&recorded).bytes(recorded.method == "HEAD");
        shared.seen.lock().unwrap_or_else(PoisonError::into_inner).push(recorded);
        writer.write_all(&answer)?;
        if close {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Answer, Origin, Recorded};
    use crate::http;
    use std::net::TcpListener;

    #[test]
    fn remembers_requests_and_answers() {
        let origin = Origin::local("eu").unwrap();
        let answer = http::tcp(origin.address(), "POST", "/a?b", &["X-One: 1"], b"body").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "eu"));
        let seen = origin.take();
        assert_eq!((seen[0].method.as_str(), seen[0].target.as_str()), ("POST", "/a?b"));
        assert_eq!((seen[0].field("x-one"), seen[0].body.as_slice()), (Some("1"), &b"body"[..]));
        assert!(origin.seen().is_empty());
    }

    #[test]
    fn says_what_the_case_wants() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let say = |request: &Recorded| Answer {
            status: 418,
            fields: vec![format!("X-Target: {}", request.target)],
            body: Vec::new(),
        };
        let origin = Origin::start(listener, say).unwrap();
        let answer = http::tcp(origin.address(), "GET", "/tea", &[], b"").unwrap();
        assert_eq!((answer.status, answer.field("x-target")), (418, Some("/tea")));
    }
}
