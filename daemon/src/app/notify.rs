//! Tells systemd how it stands (sd_notify(3)); does nothing where nobody listens. Never waits.

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

/// How often systemd wants to hear [`alive`]: half of its patience.
pub(super) fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|patience| patience / 2)
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}
