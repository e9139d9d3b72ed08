//! What the library below costs by itself: a proxy of hyper alone that forwards to one origin and decides nothing.
//! Never part of the product: `cargo xtask bench http` measures it beside the others.
//!
//! `bare_proxy LISTEN ORIGIN [h2]`

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// Connections to the origin that wait for a request.
struct Origin {
    address: SocketAddr,
    idle: RefCell<Vec<SendRequest<Incoming>>>,
}

impl Origin {
    async fn sender(&self) -> Result<SendRequest<Incoming>> {
        while let Some(sender) = self.idle.borrow_mut().pop() {
            if sender.is_ready() {
                return Ok(sender);
            }
        }
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let (mut sender, connection) = client::handshake(TokioIo::new(tcp)).await?;
        tokio::task::spawn_local(connection);
        sender.ready().await?;
        Ok(sender)
    }
}

async fn forward(origin: Rc<Origin>, mut request: Request<Incoming>) -> Result<Response<Incoming>> {
    if let Some(authority) = request.uri().authority() {
        let host = authority.as_str().parse()?;
        request.headers_mut().insert(http::header::HOST, host);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).parse()?;
    *request.uri_mut() = path;
    *request.version_mut() = http::Version::HTTP_11;
    let mut sender = origin.sender().await?;
    let response = sender.send_request(request).await?;
    origin.idle.borrow_mut().push(sender);
    Ok(response)
}

#[derive(Clone, Copy)]
struct OnThisThread;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for OnThisThread {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

async fn serve(origin: Rc<Origin>, tcp: TcpStream, multiplexed: bool) {
    let service = service_fn(move |request| forward(Rc::clone(&origin), request));
    let io = TokioIo::new(tcp);
    let ended = if multiplexed {
        http2::Builder::new(OnThisThread).serve_connection(io, service).await
    } else {
        http1::Builder::new().serve_connection(io, service).await
    };
    // A client that goes away is the usual end.
    drop(ended);
}

async fn run(listen: SocketAddr, address: SocketAddr, multiplexed: bool) -> Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let origin = Rc::new(Origin { address, idle: RefCell::default() });
    loop {
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        tokio::task::spawn_local(serve(Rc::clone(&origin), tcp, multiplexed));
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, origin, more @ ..] = &arguments[..] else { bail!("bare_proxy LISTEN ORIGIN [h2]") };
    let (listen, origin) = (listen.parse().context("LISTEN")?, origin.parse().context("ORIGIN")?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, run(listen, origin, more == ["h2"]))
}
