//! Tells systemd how it stands (sd_notify(3)); does nothing where nobody listens. Never waits.

use std::future::Future;
use std::os::fd::BorrowedFd;
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

/// Whether a service manager listens at all.
pub(super) fn is_managed() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Has descriptors kept under a name over a restart.
pub(super) fn store(name: &str, handles: &[BorrowedFd<'_>]) {
    let state = [NotifyState::FdStore, NotifyState::FdName(name)];
    if let Err(error) = sd_notify::notify_with_fds(&state, handles) {
        tracing::warn!(%error, name, "listening sockets are not kept over a restart");
    }
}

/// No longer keeps what was stored under a name.
pub(super) fn forget(name: &str) {
    send(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
}

/// Longest work that is still no hang.
const LONGEST_WORK: Duration = Duration::from_secs(120);
/// How often [`patiently`] speaks where there is no watchdog.
const SPEAK: Duration = Duration::from_secs(5);

/// Waits for work that may take longer than the service manager's patience (reading and compiling large geo files, loading the NIC program
/// on a slow machine), and says meanwhile that this is no hang; after [`LONGEST_WORK`] it no longer does.
pub(super) async fn patiently<T>(work: impl Future<Output = T>) -> T {
    if !is_managed() {
        return work.await;
    }
    let interval = watchdog_interval().unwrap_or(SPEAK);
    let longer = u32::try_from((interval * 3).as_micros()).unwrap_or(u32::MAX);
    let mut work = std::pin::pin!(work);
    let until = tokio::time::Instant::now() + LONGEST_WORK;
    loop {
        match tokio::time::timeout(interval, work.as_mut()).await {
            Ok(done) => return done,
            Err(_) if tokio::time::Instant::now() < until => {
                send(&[NotifyState::Watchdog, NotifyState::ExtendTimeoutUsec(longer)]);
            }
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
