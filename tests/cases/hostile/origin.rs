//! An origin for thousands of connections on one thread: it reads what comes and answers with little, or with much (`/big`). Keeps nothing.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Bytes of a large response.
const BIG: usize = 1 << 20;
/// What the kernel holds of it for a reader that does not come: thousands of whole ones are more memory than it gives to TCP, and then
/// every connection of the machine is slow.
const UNSENT: u32 = 65_536;

/// A running origin; stops when dropped.
pub(crate) struct Crowded {
    pub(crate) address: SocketAddr,
    _stop: DropGuard,
}

impl Crowded {
    /// Starts one on a thread of its own.
    pub(crate) fn start() -> Result<Self> {
        let (stop, (to, from)) = (CancellationToken::new(), std::sync::mpsc::channel());
        let ended = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = ended.cancelled() => {}
                    result = serve(to) => drop(result),
                }
            });
        });
        Ok(Self { address: from.recv().context("an origin")?, _stop: stop.drop_guard() })
    }
}

async fn serve(told: std::sync::mpsc::Sender<SocketAddr>) -> Result<()> {
    let listener = tokio::net::TcpSocket::new_v4()?;
    listener.bind("127.0.0.1:0".parse()?)?;
    listener.set_send_buffer_size(UNSENT)?;
    let listener = listener.listen(4096)?;
    told.send(listener.local_addr()?)?;
    let big = Bytes::from(vec![b'x'; BIG]);
    loop {
        let (stream, _) = listener.accept().await?;
        let big = big.clone();
        let service = hyper::service::service_fn(move |request| answer(request, big.clone()));
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
        );
    }
}

async fn answer(request: Request<Incoming>, big: Bytes) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    request.into_body().collect().await?;
    Ok(Response::new(Full::new(if path == "/big" { big } else { Bytes::from_static(b"ok\n") })))
}
