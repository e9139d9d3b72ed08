//! The admin socket, the wire types, the state file and the command line's client. Never changes anything by itself: it asks `app`.

mod desk;
mod rights;
mod store;

pub use desk::{Ask, Desk};
pub use rights::{Peer, may_change};
pub use store::{Found, Store, StoreError};
