//! HTTP/2 end to end: gRPC-like streams both ways with trailers over two edges, and a WebSocket by extended CONNECT.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Version};
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidegate_tests::edges::Edge;
use tidegate_tests::recorder::Origin;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(60);

type Frames = StreamBody<Receiver>;

/// Frames as they are sent into a channel.
struct Receiver(mpsc::Receiver<Frame<Bytes>>);

impl futures_core::Stream for Receiver {
    type Item = Result<Frame<Bytes>, std::convert::Infallible>;
    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

/// Sends each message back as it comes, then trailers: what a bidirectional gRPC call does.
async fn echo(request: Request<Incoming>) -> Result<Response<Frames>, std::convert::Infallible> {
    let (sender, frames) = mpsc::channel(1);
    let te = request.headers().get("te").cloned();
    tokio::spawn(async move {
        let mut body = request.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data() {
                drop(sender.send(Frame::data(data)).await);
            }
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("value"));
        trailers.extend(te.map(|te| (http::HeaderName::from_static("x-te"), te)));
        drop(sender.send(Frame::trailers(trailers)).await);
    });
    let response = Response::builder().header("content-type", "application/grpc");
    Ok(response.body(StreamBody::new(Receiver(frames))).expect("response"))
}

/// A gRPC-like origin: HTTP/2 with prior knowledge only.
async fn origin() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), hyper::service::service_fn(echo)));
        }
    });
    Ok(address)
}

fn edge(upstream: SocketAddr) -> Result<Edge> {
    Edge::start(&format!(
        "[host]\nregion = \"eu\"\nworkers = 1\n[[region]]\nname = \"eu\"\n[geo]\ndefault_region = \"eu\"\n[xdp]\ninterfaces = []\n\
         [[upstream]]\nname = \"origin\"\nendpoints = [\"http://{upstream}\"]\n\
         [[listener]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\nupstream = \"origin\"\n"
    ))
}

async fn connect<B>(to: SocketAddr) -> Result<http2::SendRequest<B>>
where
    B: hyper::body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let stream = TcpStream::connect(to).await?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

#[tokio::test]
async fn a_call_streams_both_ways_and_ends_with_trailers() -> Result<()> {
    let near = edge(origin().await?)?;
    let far = edge(near.address("public")?)?;
    let call = async {
        let mut sender = connect::<Frames>(far.address("public")?).await?;
        let (messages, frames) = mpsc::channel(1);
        let request = Request::post("http://grpc.example.com/echo.Echo/Both").version(Version::HTTP_2);
        let request = request.header("content-type", "application/grpc").header("te", "trailers");
        let response = sender.send_request(request.body(StreamBody::new(Receiver(frames)))?);
        messages.send(Frame::data(Bytes::from_static(b"message 0"))).await?;
        let mut response = response.await?;
        for number in 0..20 {
            let echoed = response.frame().await.context("a message")??.into_data();
            assert_eq!(echoed.ok().as_deref(), Some(format!("message {number}").as_bytes()));
            let next = Bytes::from(format!("message {}", number + 1));
            messages.send(Frame::data(next)).await?;
        }
        drop(messages);
        let last = response.frame().await.context("the last message")??;
        assert!(last.is_data());
        let trailers =
            response.frame().await.context("trailers")??.into_trailers().ok().context("trailers")?;
        assert_eq!((&trailers["grpc-status"], &trailers["x-te"]), (&"0".parse()?, &"trailers".parse()?));
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, call).await?
}

#[tokio::test]
async fn a_websocket_over_http2_becomes_an_upgrade() -> Result<()> {
    let origin = Origin::start("eu", "127.0.0.1:0")?;
    let edge = edge(origin.address())?;
    let tunnel = async {
        let stream = TcpStream::connect(edge.address("public")?).await?;
        let (mut sender, connection) =
            http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        // The server's SETTINGS tell that it knows extended CONNECT; any answer comes behind them.
        let hello = Request::get("http://h/").version(Version::HTTP_2).body(Empty::<Bytes>::new())?;
        assert_eq!(sender.send_request(hello).await?.status(), 200);
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::CONNECT;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = "http://h/upgrade".parse()?;
        request.extensions_mut().insert(Protocol::from_static("echo"));
        let response = sender.send_request(request).await?;
        assert_eq!(response.status(), 200);
        let mut tunnel = TokioIo::new(hyper::upgrade::on(response).await?);
        tunnel.write_all(b"through").await?;
        let mut back = [0; 7];
        tunnel.read_exact(&mut back).await?;
        assert_eq!(&back, b"through");
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, tunnel).await??;
    let seen = origin.take().pop().context("seen")?;
    assert_eq!((seen.line(), seen.header("upgrade")), ("GET /upgrade HTTP/1.1", vec!["echo"]));
    assert_eq!(seen.header("sec-websocket-key").len(), 1);
    Ok(())
}
