//! The relay's bookkeeping and protocol observers as pure state machines. Never opens a socket, reads a clock or touches a disk.

pub mod books;
