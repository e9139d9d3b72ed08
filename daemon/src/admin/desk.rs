//! The admin socket's end of the channel to `app`: verbs go in, answers come back. Never answers by itself.

use tokio::sync::{mpsc, oneshot};

use crate::decide::overrides::Caller;
use crate::decide::verb::{Answer, Refusal, RefusalKind, Verb};
use crate::decide::view::View;

/// Questions that may wait for `app`.
const QUEUE: usize = 64;

/// A question to `app`.
#[derive(Debug)]
pub enum Ask {
    /// Do something.
    Do {
        /// What.
        verb: Box<Verb>,
        /// Who asks.
        caller: Caller,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<Answer, Refusal>>,
    },
    /// Show everything.
    View(oneshot::Sender<Box<View>>),
}

/// Asks `app`.
#[derive(Clone, Debug)]
pub struct Desk(mpsc::Sender<Ask>);

impl Desk {
    /// A desk, and the questions that are put to it.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Has something done.
    ///
    /// # Errors
    /// It was refused, or the daemon is ending.
    pub async fn ask(&self, verb: Verb, caller: Caller) -> Result<Answer, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Ask::Do { verb: Box::new(verb), caller, answer }).await.map_err(|_| ending())?;
        answered.await.map_err(|_| ending())?
    }

    /// Everything at this instant.
    ///
    /// # Errors
    /// The daemon is ending.
    pub async fn view(&self) -> Result<Box<View>, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Ask::View(answer)).await.map_err(|_| ending())?;
        answered.await.map_err(|_| ending())
    }
}

fn ending() -> Refusal {
    Refusal::new(RefusalKind::Unavailable, "the daemon is ending")
}
