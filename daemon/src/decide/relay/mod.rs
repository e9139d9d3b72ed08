//! The relay's bookkeeping and protocol observers as pure state machines. Never opens a socket, reads a clock or touches a disk.

pub mod asynclog;
pub mod books;
pub mod delay;
pub mod effect;
pub mod fence;
pub mod flight;
pub mod frame;
pub mod io;
pub mod item;
pub mod ketama;
mod keys;
pub mod lane;
mod line;
pub mod repeat;
pub mod session;
pub mod shares;
#[cfg(test)]
mod sim;
pub mod single;
pub mod subject;
pub mod window;
