//! The admin socket, the wire types, the state file and the command line's client. Never changes anything by itself: it asks `app`.

mod answer;
pub mod cli;
mod crowd;
mod desk;
mod metrics;
mod openapi;
mod page;
mod rights;
mod routes;
mod server;
pub mod show;
mod show_config;
mod show_relay;
mod store;
mod stream;
pub mod top;
pub mod wire;

pub use desk::{Ask, Desk, Questions};
pub use rights::{Peer, may_change};
pub use server::{Admin, BindError, bind_metrics, bind_socket, serve_metrics, serve_socket};
pub use store::{Found, Store, StoreError};
