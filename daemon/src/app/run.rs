//! The daemon's life: started, served, and ended by a stop or by a successor that takes the sockets over. Decides nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::core::Core;
use super::error::RunError;
use super::hand_over::{self, Named, Predecessor, Successor};
use super::reload::{NOT_CONFIRMED, Rollback};
use super::start::{self, Beginning, Running};
use super::unconfirmed::{self, Start};
use super::{logs, nic, notify};
use crate::config::{self, Config, Loaded};
use crate::decide::event::{Event, RelayWhat, What};
use crate::proxy::Proxy;

/// How often time is looked at.
const TICK: Duration = Duration::from_millis(200);
/// Longest wait for open requests at the end.
const DRAIN: Duration = Duration::from_secs(15);

/// Why serving ended.
enum Ended {
    /// A signal.
    Stop,
    /// Another daemon goes on.
    Succeeded(Successor),
}

/// Runs until told to stop, or until another daemon has taken over.
pub(super) async fn run(path: &Path, mut inherited: Named, replace: bool) -> Result<(), RunError> {
    let mut beginning = begin(path)?;
    let mut signals = Signals::new().map_err(RunError::Runtime)?;
    let mut before = if replace { take_over(&beginning.config, &mut inherited).await? } else { None };
    beginning.inherited = inherited;
    loop {
        let mut running = start::start(beginning).await?;
        if let Some(before) = before.take() {
            before.up()?;
        }
        match serve(&mut running, &mut signals).await {
            Ended::Stop => {
                finish(running, &mut signals).await;
                return Ok(());
            }
            Ended::Succeeded(successor) => match hand_over(running, successor, &mut signals).await? {
                Some(again) => beginning = again,
                None => return Ok(()),
            },
        }
    }
}

/// Reads the configuration: the files', or the one before where nobody confirmed what they say.
fn begin(path: &Path) -> Result<Beginning, RunError> {
    let loaded = config::load(path)?;
    logs::init(&loaded.config.log);
    let (mut rollback, mut odd) = (None, Vec::new());
    let loaded = match unconfirmed::at_start(&loaded, Timestamp::now())? {
        Start::Files => loaded,
        Start::Trying(before) => {
            let (deadline, before) = *before;
            rollback = Some(Rollback::at_start(deadline, before)?);
            loaded
        }
        Start::Before(before) => {
            odd.push(NOT_CONFIRMED.to_owned());
            *before
        }
    };
    let Loaded { config, warnings, sources } = loaded;
    odd.extend(warnings.iter().map(ToString::to_string));
    let (path, config, sources) = (path.to_owned(), Arc::new(config), Arc::new(sources));
    Ok(Beginning { path, config, sources, warnings: odd, inherited: Vec::new(), rollback })
}

/// Gets the running daemon's sockets, and waits until it has let go of everything else.
async fn take_over(config: &Config, inherited: &mut Named) -> Result<Option<Predecessor>, RunError> {
    let path = config.host.state_dir.join(&config.host.instance).join(hand_over::NAME);
    let asked = tokio::task::spawn_blocking(move || match hand_over::ask(&path)? {
        Some((before, sockets)) => before.take_over().map(|()| Some((before, sockets))),
        None => Ok(None),
    });
    let asked = asked.await.map_err(|error| RunError::Runtime(std::io::Error::other(error)))??;
    let Some((before, sockets)) = asked else {
        tracing::info!("no daemon of this instance runs: there is nothing to take over");
        return Ok(None);
    };
    tracing::info!(sockets = sockets.len(), "taking over from the running daemon");
    inherited.extend(sockets);
    Ok(Some(before))
}

/// What the daemon is told from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// One thing after the other, until told to end.
async fn serve(running: &mut Running, signals: &mut Signals) -> Ended {
    let Running { core, asks, successors, .. } = running;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Spoken by the task that does the work: one that hangs falls silent.
    let mut alive = tokio::time::interval(notify::watchdog_interval().unwrap_or(Duration::from_secs(3600)));
    let mut events = core.events.subscribe();
    let mut addresses = core.nic.watch();
    loop {
        // A reload may have opened the NIC.
        addresses = addresses.or_else(|| core.nic.watch());
        tokio::select! {
            _ = signals.terminate.recv() => return Ended::Stop,
            _ = signals.interrupt.recv() => return Ended::Stop,
            // SIGHUP's outcome is in the log and in `status`.
            _ = signals.hangup.recv() => drop(core.reload(None, None).await),
            Some(successor) = successors.recv() => return Ended::Succeeded(successor),
            Some(ask) = asks.recv() => core.answer(ask).await,
            _ = tick.tick() => core.tick().await,
            _ = second.tick() => core.sample().await,
            _ = alive.tick() => notify::alive(),
            () = nic::addresses_changed(&mut addresses) => core.addresses_changed().await,
            event = events.recv() => notice(core, event.ok().as_deref()),
        }
        core.publish_view();
    }
}

fn notice(core: &mut Core, event: Option<&Event>) {
    if let Some(What::Relay(relay)) = event.map(|event| &event.what)
        && relay.what == RelayWhat::Flushed
    {
        core.cache_flushed();
    }
}

/// Lets go of everything but the proxy, which goes on until the successor accepts. Where it breaks off, this daemon begins again with what
/// it had.
async fn hand_over(
    running: Running,
    successor: Successor,
    signals: &mut Signals,
) -> Result<Option<Beginning>, RunError> {
    tracing::info!(pid = successor.pid, "another daemon takes over");
    let Running { mut core, stop, doors, .. } = running;
    let proxy = Arc::clone(&core.proxy);
    let mut again = Beginning {
        path: core.path.clone(),
        config: Arc::clone(&core.config),
        sources: Arc::clone(&core.sources),
        warnings: std::mem::take(&mut core.warnings),
        inherited: Vec::new(),
        rollback: core.rollback.take(),
    };
    stop.cancel();
    for door in doors {
        _ = door.await;
    }
    // Blocks until the relay's spool is closed; nothing else is served by this task any more.
    drop(core);
    let up = tokio::task::spawn_blocking(move || successor.yours()).await;
    match up.map_err(std::io::Error::other).and_then(|up| up) {
        Ok(()) => {
            tracing::info!("the other daemon accepts: leaving");
            leave(&proxy, true, signals).await;
            Ok(None)
        }
        Err(error) => {
            tracing::error!(%error, "the other daemon did not get that far: going on");
            again.inherited = proxy.sockets().map_err(RunError::Runtime)?;
            proxy.drain(true);
            tokio::spawn(retire(proxy));
            Ok(Some(again))
        }
    }
}

/// The proxy of before, while its connections leave.
async fn retire(proxy: Arc<Proxy>) {
    let until = Instant::now() + DRAIN;
    while !proxy.is_drained() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    _ = tokio::task::spawn_blocking(move || drop(proxy)).await;
}

/// Lets open requests finish; the program stays on the interfaces.
async fn finish(running: Running, signals: &mut Signals) {
    notify::stopping();
    let nic = if running.core.config.xdp.interfaces.is_empty() {
        ""
    } else {
        ": the NIC program stays attached and enforces until its lease ends"
    };
    tracing::info!("stopping{nic}");
    let Running { core, stop, doors, .. } = running;
    leave(&core.proxy, false, signals).await;
    let socket = core.config.admin.socket.clone();
    stop.cancel();
    for door in doors {
        _ = door.await;
    }
    // The view tasks hold the proxy for moments only; whoever is last stops it.
    drop(core);
    _ = std::fs::remove_file(socket);
}

/// Waits until every connection has left; a second signal ends it at once.
async fn leave(proxy: &Proxy, succeeded: bool, signals: &mut Signals) {
    proxy.drain(succeeded);
    let until = Instant::now() + DRAIN;
    while !proxy.is_drained() && Instant::now() < until {
        tokio::select! {
            () = signals.end() => break,
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
}
