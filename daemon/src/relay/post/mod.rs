//! Transports through a broker: letters go there, and the other region's words come back as letters. Never takes the broker's word for
//! the region's: a row leaves the spool when the *region* said that it was applied.
//!
//! [`sender`] keeps what travels to one region; [`receiver`] has letters of other regions applied and makes the words. A transport brings a
//! [`Carrier`] and moves words in both directions; what gets lost is sent again, what comes twice is applied twice.

pub(crate) mod receiver;
pub(crate) mod sender;

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher};

use crate::decide::relay::flight::Manner;

/// What a broker is given.
#[derive(Clone, Debug)]
pub(crate) struct Letter<'a> {
    pub(crate) number: u64,
    pub(crate) pool: &'a str,
    /// See [`crate::decide::relay::item`].
    pub(crate) items: Cow<'a, [u8]>,
}

/// Hands letters to a broker.
pub(crate) trait Carrier: Send {
    /// How letters are made.
    const MANNER: Manner;

    /// Hands over letters, or fails; those of a failed call may be on their way.
    fn post(&mut self, letters: &[Letter<'_>]) -> impl Future<Output = Result<(), String>> + Send;
}

/// What a sender hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The other region applied this letter: its read-backs that were equal, absent, stale, and whether it rests.
    Ack(u64, [u32; 3], bool),
    /// It applied a letter that rested once more.
    Repeated(u64),
    /// It will not as things stand.
    Refused(u64, String),
    /// The broker of this name can be reached (again): words may have been missed.
    Up(String),
    /// It cannot.
    Down(String),
}

/// Tells this life of the daemon from others: words for another one's letters mean nothing to it.
pub(crate) fn life() -> String {
    let random = || std::hash::RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}
