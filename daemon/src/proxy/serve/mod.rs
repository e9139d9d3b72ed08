//! A client's HTTP/1 connection, served by its own task: head, request, answer, and the next. Never decides about a request, and holds no
//! buffer while it waits for one.

mod answer;
mod body;
mod line;
mod refusal;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use http::{Method, Response, StatusCode};
use tokio::sync::oneshot;

use super::body::{RequestBody, ResponseBody};
use super::conn::Client;
use super::http1::Tunnel;
use super::service::{self, Asked};
use super::tunnel::Switch;
use crate::decide::framing::Fault;
use crate::decide::wire::{Ask, Says};
pub(crate) use body::ClientBody;
use line::Came;
pub(crate) use line::{Interim, Line};

/// A connection that its task and the body of the request at hand share.
pub(crate) type Shared = Rc<RefCell<Line>>;

/// Serves requests until the connection is to end, and ends it.
///
/// # Errors
/// When the client goes away, or an answer can't be completed.
pub(crate) async fn http1(client: &Rc<Client>, line: &Shared) -> io::Result<()> {
    loop {
        match poll_fn(|cx| line.borrow_mut().poll_head(cx)).await? {
            Came::Nothing => break,
            Came::Fault(fault) => {
                line.borrow_mut().refuse(client.pace.refuse(fault));
                poll_fn(|cx| line.borrow_mut().poll_out(cx)).await?;
                break;
            }
            Came::Head(ask) => match request(client, line, ask).await? {
                After::Next => {}
                After::Tunnel => return Ok(()),
                After::Close => break,
            },
        }
    }
    poll_fn(|cx| line.borrow_mut().poll_close(cx)).await
}

/// Tells a client that its head did not come in time, if it takes that at once, and ends the connection.
pub(crate) async fn too_late(line: &Shared) {
    line.borrow_mut().refuse(Fault::HeadLate);
    let told = poll_fn(|cx| Poll::Ready(matches!(line.borrow_mut().poll_out(cx), Poll::Ready(Ok(())))));
    if told.await {
        _ = poll_fn(|cx| line.borrow_mut().poll_close(cx)).await;
    }
}

/// What becomes of a connection after an answer.
enum After {
    /// It carries the next request.
    Next,
    /// It is closed.
    Close,
    /// It is somebody else's.
    Tunnel,
}

/// One request, from its head to the end of its answer.
async fn request(client: &Rc<Client>, line: &Shared, ask: Ask) -> io::Result<After> {
    let mut says = Says { old: ask.is_old(), to_head: ask.head.method == Method::HEAD, keeps: ask.keeps };
    let (asked, switch) = asked(client, line, ask);
    let response = handle(client, line, asked).await?;
    let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    answer::send(line, &mut says, response).await?;
    if switches {
        return Ok(hand_over(line, switch));
    }
    let goes_on = says.keeps && poll_fn(|cx| line.borrow_mut().poll_rest(cx)).await;
    Ok(if goes_on { After::Next } else { After::Close })
}

/// A head as the service takes it, and where its stream goes if it becomes a tunnel.
fn asked(client: &Client, line: &Shared, ask: Ask) -> (Asked, Option<oneshot::Sender<Tunnel>>) {
    let longest_pause = client.listener.spec.limits.body_idle_timeout;
    let body = if ask.size() == Some(0) {
        RequestBody::Empty
    } else {
        RequestBody::from_client(ClientBody::new(line, ask.expects), longest_pause)
    };
    let (sender, receiver) = ask.upgrade.then(oneshot::channel).unzip();
    let interim = (!ask.is_old()).then(|| Interim::new(line));
    let upgrade = receiver.map(Switch::Http1);
    (Asked { head: ask.head, body, upgrade, extended: false, interim }, sender)
}

/// Has a request handled; given up when the client goes away.
async fn handle(client: &Rc<Client>, line: &Shared, asked: Asked) -> io::Result<Response<ResponseBody>> {
    // In a box: a connection that waits for its next request has none.
    let mut service = Box::pin(service::handle(Rc::clone(client), asked));
    poll_fn(|cx| {
        if let Poll::Ready(response) = service.as_mut().poll(cx) {
            return Poll::Ready(Ok(response));
        }
        line.borrow_mut().poll_meanwhile(cx)
    })
    .await
}

/// Gives the stream to whoever switched it; closed where the client had more of its request to send.
fn hand_over(line: &Shared, switch: Option<oneshot::Sender<Tunnel>>) -> After {
    let tunnel = line.borrow_mut().take_tunnel();
    if let (Some(switch), Some(tunnel)) = (switch, tunnel) {
        _ = switch.send(tunnel);
    }
    After::Tunnel
}
