//! The handle on the NIC that the rest of the daemon holds: each call is one command to the thread that owns the maps and links.
//! Never blocks an async thread.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tidegate_common::verdict::Outcome;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::watch as watching;
use super::worker::{Command, Worker};
use super::{ApplyError, ApplyReport, ExplainError, LimitsError, OpenError, ReportError};
use crate::config::types::XdpMode;
use crate::decide::event::Event;
use crate::decide::nic::{LimitRow, NicPlan};
use crate::decide::report::nic::NicReport;

/// Commands that may wait for the thread; callers wait beyond that.
const QUEUE: usize = 16;

/// What [`Nic::open`] needs.
#[derive(Clone, Debug)]
pub struct NicOptions {
    /// Names the pins.
    pub instance: String,
    /// The kernel program's object; see [`super::object`].
    pub object: &'static [u8],
    /// Without a daemon for this long, everything passes. A later plan may change it.
    pub lease: Duration,
    /// Where samples of shed packets go.
    pub events: broadcast::Sender<Arc<Event>>,
}

/// What the program is to be, and where.
#[derive(Clone, Debug)]
pub struct NicWish {
    /// What it judges by.
    pub plan: Arc<NicPlan>,
    /// Limits in force.
    pub limits: Vec<LimitRow>,
    /// Names of all regions, in configuration order: whose the counters are.
    pub regions: Vec<String>,
    /// Interfaces to be on.
    pub interfaces: Vec<String>,
    /// In the driver or in the stack.
    pub mode: XdpMode,
    /// Without a daemon for this long, everything passes.
    pub lease: Duration,
}

/// The thread that owns the NIC has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the NIC's thread has ended; the program on the interfaces goes on until its lease ends")]
pub struct NicGone;

/// The NIC of one instance. Dropping it stops the heartbeat and leaves the program attached.
#[derive(Clone, Debug)]
pub struct Nic {
    commands: mpsc::Sender<Command>,
    addresses: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
}

impl Nic {
    /// Checks kernel and rights, claims the instance's pins, examines what an earlier daemon left, and starts watching interfaces
    /// and addresses. Loads nothing: that is [`Self::apply`]'s. What an earlier daemon left goes on enforcing.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was changed then.
    pub async fn open(options: NicOptions) -> Result<Self, OpenError> {
        let opened = tokio::task::spawn_blocking(move || Worker::open(options)).await;
        let (worker, addresses, socket) = opened.map_err(|_| OpenError::Gone(NicGone))??;
        let (commands, inbox) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("tidegate-nic".to_owned())
            .spawn(move || worker.run(inbox))
            .map_err(OpenError::Thread)?;
        let looker = commands.downgrade();
        // A thread that is busy looks when it comes to it: one hint in its queue is enough.
        watching::start(socket, move || {
            match looker.upgrade().map(|commands| commands.try_send(Command::Look)) {
                None | Some(Err(TrySendError::Closed(_))) => false,
                Some(Ok(()) | Err(TrySendError::Full(_))) => true,
            }
        })
        .map_err(OpenError::Thread)?;
        Ok(Self { commands, addresses })
    }

    /// Loads a program for `wish` off to the side and swaps it in on every interface, without a gap. Interfaces that are no longer
    /// wanted are detached. Where the program would be the same, only limits and lease change.
    ///
    /// # Errors
    /// See [`ApplyError`]; the program before goes on unchanged. What single interfaces refuse is in [`ApplyReport::failures`].
    pub async fn apply(&self, wish: NicWish) -> Result<ApplyReport, ApplyError> {
        self.ask(|answer| Command::Apply(Box::new(wish), answer)).await?
    }

    /// As [`Self::apply`], on no operator's asking for the program: one that was detached by hand stays off.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub async fn follow(&self, wish: NicWish) -> Result<ApplyReport, ApplyError> {
        self.ask(|answer| Command::Follow(Box::new(wish), answer)).await?
    }

    /// Changes the limits alone, all at once. Cheap enough for every second.
    ///
    /// # Errors
    /// See [`LimitsError`]; without a program there is nothing to limit.
    pub async fn set_limits(&self, limits: Vec<LimitRow>) -> Result<(), LimitsError> {
        self.ask(|answer| Command::SetLimits(limits, answer)).await?
    }

    /// What the NIC tells of itself now.
    ///
    /// # Errors
    /// See [`ReportError`].
    pub async fn report(&self) -> Result<NicReport, ReportError> {
        self.ask(Command::Report).await?
    }

    /// The loaded program's verdict on `frame` (Ethernet, at least 14 bytes). Takes no credit and counts nothing.
    ///
    /// # Errors
    /// See [`ExplainError`].
    pub async fn explain(&self, frame: Vec<u8>) -> Result<Outcome, ExplainError> {
        self.ask(|answer| Command::Explain(frame, answer)).await?
    }

    /// The addresses of this network namespace, and each change of them.
    #[must_use]
    pub fn addresses(&self) -> watch::Receiver<Arc<BTreeSet<IpAddr>>> {
        self.addresses.clone()
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, NicGone> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| NicGone)?;
        answered.await.map_err(|_| NicGone)
    }
}
