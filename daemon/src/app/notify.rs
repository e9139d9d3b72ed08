//! Tells systemd how it stands (sd_notify(3)); does nothing where nobody listens. Never waits.

use std::future::Future;
use std::time::Duration;

use sd_notify::NotifyState;

/// Ready, with a line for `systemctl status`.
pub(super) fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload began.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(_) => send(&[NotifyState::Reloading]),
    }
}

/// The daemon is ending.
pub(super) fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("finishing open requests")]);
}

/// Still alive.
pub(super) fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// Longest work that is still no hang.
const LONGEST_WORK: Duration = Duration::from_secs(120);

/// Waits for work that may take longer than the watchdog's patience (reading and compiling large geo files), and says meanwhile that
/// this is no hang; after [`LONGEST_WORK`] it no longer does.
pub(super) async fn patiently<T>(work: impl Future<Output = T>) -> T {
    let Some(interval) = watchdog_interval() else { return work.await };
    let mut work = std::pin::pin!(work);
    let until = tokio::time::Instant::now() + LONGEST_WORK;
    loop {
        match tokio::time::timeout(interval, work.as_mut()).await {
            Ok(done) => return done,
            Err(_) if tokio::time::Instant::now() < until => alive(),
            Err(_) => return work.await,
        }
    }
}

/// How often systemd wants to hear [`alive`]: half of its patience.
pub(super) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|patience| patience / 2)
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}
