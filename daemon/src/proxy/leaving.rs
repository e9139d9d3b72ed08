//! How connections leave when their worker drains or their listener goes: each at a moment of its own, after it was told. Never cuts a request.
//!
//! HTTP/1.1 is told by `Connection: close` on its next response; a connection that stays silent is closed after a while, when its client is
//! least likely to be sending. HTTP/2 is told by GOAWAY. The moments are spread, so that clients don't come back all at once.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use super::clock::Dice;

/// Idle HTTP/1.1 connections are left alone for so long.
const SILENT: Duration = Duration::from_millis(1_500);
/// HTTP/2 connections are told after this.
const TOLD: Duration = Duration::from_millis(250);
/// Chance adds up to this.
const SPREAD_MS: usize = 1_500;

/// After this, every connection that was there when leaving began has been told, or closed where it was idle.
pub(crate) const ALL_TOLD: Duration = Duration::from_millis(3_500);
/// Who has connected and says nothing is not waited for any longer than this once nobody accepts any more.
pub(crate) const SAYS_NOTHING: Duration = Duration::from_secs(2);

/// One connection's moment.
#[derive(Debug, Default)]
pub(crate) struct Moment {
    timer: Option<Pin<Box<Sleep>>>,
    come: bool,
}

impl Moment {
    /// Whether the moment has come; the first call, when leaving begins, chooses it.
    pub(crate) fn has_come(&mut self, cx: &mut Context<'_>, multiplexed: bool, dice: &Dice) -> bool {
        if self.come {
            return true;
        }
        let choose = || {
            let least = if multiplexed { TOLD } else { SILENT };
            let chance = Duration::from_millis(dice.below(SPREAD_MS) as u64);
            Box::pin(tokio::time::sleep(least + chance))
        };
        self.come = self.timer.get_or_insert_with(choose).as_mut().poll(cx) == Poll::Ready(());
        self.come
    }
}
