//! The command line: arguments, the socket's client, text and JSON output, exit codes. Never changes anything but by asking the daemon.

pub mod args;
mod ask;
mod client;
mod exit;
mod import;
mod output;
mod render;
mod render_relay;
mod table;
mod top;
mod watch;
mod whose;

pub use args::{CONFIG, Cli, Command};
pub use ask::run;
pub use exit::Exit;
pub use whose::{attached, instance};
