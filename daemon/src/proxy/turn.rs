//! Whose turn it is on one HTTP/2 stream, and for how long: a client that opens no window for its answer would otherwise keep the stream,
//! its places under the ceilings and its upstream for as long as other frames come. Never looks at a frame.
//!
//! The library runs each stream in a task of its own: service, head, then the body, whose next piece it asks for only when there is window
//! for it. So a stream whose task waits, though its body was not asked, waits for its client.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

thread_local! {
    /// What was seen last of the stream that runs on this thread now.
    static SEEN: Cell<Seen> = const { Cell::new(Seen::Nothing) };
}

/// What a stream's task has done since it was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Nothing that says whose turn it is.
    Nothing,
    /// The answer, or a piece of its body, was handed over: the client is to take it.
    Given,
    /// The body was asked, and has nothing yet.
    Asked,
}

/// The answer, or a piece of it, was handed over.
pub(crate) fn given() {
    SEEN.set(Seen::Given);
}

/// The body has nothing to hand over yet.
pub(crate) fn asked() {
    SEEN.set(Seen::Asked);
}

/// Runs an HTTP/2 server's streams on the worker's own thread, each no longer than its client takes something of its answer now and then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams {
    /// `body_idle_timeout`
    pub(crate) longest_pause: Duration,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + 'static,
{
    fn execute(&self, stream: F) {
        let stream = Some(Box::pin(stream));
        let longest_pause = self.longest_pause;
        tokio::task::spawn_local(Watched { stream, longest_pause, turn: Turn::default(), timer: None });
    }
}

/// Until when the client is to take something, if it is its turn.
#[derive(Debug, Default)]
struct Turn(Option<Instant>);

impl Turn {
    fn after(&mut self, seen: Seen, now: Instant, longest_pause: Duration) {
        match seen {
            Seen::Nothing => {}
            Seen::Asked => self.0 = None,
            Seen::Given => self.0 = Some(now + longest_pause),
        }
    }

    fn is_late(&self, now: Instant) -> bool {
        self.0.is_some_and(|until| now >= until)
    }
}

/// A stream's task.
struct Watched<F> {
    stream: Option<Pin<Box<F>>>,
    longest_pause: Duration,
    turn: Turn,
    /// Made when a client first lets us wait.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else { return Poll::Ready(()) };
        SEEN.set(Seen::Nothing);
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let now = Instant::now();
        this.turn.after(SEEN.get(), now, this.longest_pause);
        let Some(until) = this.turn.0 else { return Poll::Pending };
        if !this.turn.is_late(now) {
            let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
            if timer.deadline() != until {
                timer.as_mut().reset(until);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        tracing::debug!(pause = ?this.longest_pause, "a stream's client takes nothing of its answer: reset");
        // Given up, it is reset, and gives back what its request held.
        this.stream = None;
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(30);

    /// The second in which a stream is late that does in each second what `seen` says, of a hundred.
    fn late(seen: impl Fn(u64) -> Seen) -> Option<u64> {
        let (began, mut turn) = (Instant::now(), Turn::default());
        (1..=100).find(|second| {
            let now = began + Duration::from_secs(*second);
            turn.after(seen(*second), now, PAUSE);
            turn.is_late(now)
        })
    }

    #[test]
    fn only_a_client_that_takes_nothing_is_late() {
        assert_eq!(late(|_| Seen::Asked), None, "an upstream may be slow");
        assert_eq!(late(|_| Seen::Nothing), None, "nothing was answered yet");
        assert_eq!(late(|_| Seen::Given), None, "each piece is a new beginning");
        assert_eq!(late(|second| if second == 10 { Seen::Given } else { Seen::Nothing }), Some(40));
        let goes_on = |second| match second {
            10 => Seen::Given,
            39 => Seen::Asked,
            _ => Seen::Nothing,
        };
        assert_eq!(late(goes_on), None);
    }
}
