//! What an observed connection asks of its surroundings. Never answers by itself.

use super::effect::Effect;

/// What the front knows about a store at the moment when it is handed to memcached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Storing {
    /// It follows a miss that this front answered.
    pub refill: bool,
    /// That miss is older than an invalidation of the key.
    pub stale: bool,
    /// The invalidation count at that miss; `None` without one.
    pub since: Option<u64>,
    /// The number of this set, if its value was read after every set of its key before it, see
    /// [`Fences::is_newest`](super::fence::Fences::is_newest).
    pub reread: Option<u64>,
}

/// The surroundings: two byte streams, the spool, the fences.
pub trait Io {
    /// Request bytes for a server.
    fn forward(&mut self, lane: usize, bytes: &[u8]);
    /// Answer bytes for the client.
    fn deliver(&mut self, bytes: &[u8]);
    /// A key may have changed: the invalidation goes into the spool before later answers go out.
    fn captured(&mut self, key: &[u8], effect: Effect);
    /// As [`Self::captured`] with [`Effect::Refill`], of what may be a reread, see [`Storing::reread`].
    fn reread(&mut self, key: &[u8], hash: u128, set: u64);
    /// The pool was flushed by a client, after this many seconds.
    fn flushed(&mut self, delay_s: u32);
    /// The client was told that there is no such key; not `sure` where the protocol leaves it open.
    fn missed(&mut self, key: &[u8], sure: bool);
    /// A whole value is about to reach memcached.
    fn storing(&mut self, key: &[u8], hash: Option<u128>) -> Storing;
    /// Whether the key was invalidated after `since` (with another hash).
    fn overtaken(&mut self, key: &[u8], hash: Option<u128>, since: u64) -> bool;
    /// A stale set was found and its key is deleted behind it.
    fn stale_set(&mut self);
    /// The server (by lane) took a delete of ours and refused it, or the dialogue can no longer be followed.
    fn went_blind(&mut self);
}
