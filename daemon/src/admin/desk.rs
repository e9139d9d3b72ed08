//! The admin socket's end of the channel to `app`: verbs go in, answers come back. Never answers by itself.

use tokio::sync::{mpsc, oneshot};

use crate::decide::overrides::Caller;
use crate::decide::verb::{Answer, Refusal, RefusalKind, Verb};
use crate::decide::view::View;

/// Questions that may wait for `app`.
const QUEUE: usize = 64;

/// Something to do for `app`.
#[derive(Debug)]
pub struct Ask {
    /// What.
    pub verb: Box<Verb>,
    /// Who asks.
    pub caller: Caller,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Answer, Refusal>>,
}

/// What is put to the desk. Whoever only wants to see does not wait in line behind changes.
#[derive(Debug)]
pub struct Questions {
    /// What to do, one after the other.
    pub asks: mpsc::Receiver<Ask>,
    /// Who wants to see everything.
    pub views: mpsc::Receiver<oneshot::Sender<Box<View>>>,
}

/// Asks `app`.
#[derive(Clone, Debug)]
pub struct Desk {
    asks: mpsc::Sender<Ask>,
    views: mpsc::Sender<oneshot::Sender<Box<View>>>,
}

impl Desk {
    /// A desk, and the questions that are put to it.
    #[must_use]
    pub fn new() -> (Self, Questions) {
        let ((asks, asked), (views, wished)) = (mpsc::channel(QUEUE), mpsc::channel(QUEUE));
        (Self { asks, views }, Questions { asks: asked, views: wished })
    }

    /// Has something done.
    ///
    /// # Errors
    /// It was refused, or the daemon is ending.
    pub async fn ask(&self, verb: Verb, caller: Caller) -> Result<Answer, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask { verb: Box::new(verb), caller, answer }).await.map_err(|_| ending())?;
        answered.await.map_err(|_| ending())?
    }

    /// Everything at this instant.
    ///
    /// # Errors
    /// The daemon is ending.
    pub async fn view(&self) -> Result<Box<View>, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.views.send(answer).await.map_err(|_| ending())?;
        answered.await.map_err(|_| ending())
    }
}

fn ending() -> Refusal {
    Refusal::new(RefusalKind::Unavailable, "the daemon is ending")
}
