//! Builds each part and joins them by channels and snapshots: configuration, state, geo tables, proxy, NIC, relay, admin.
//! Decides nothing: what holds, what is refused and what a packet or request gets is `decide`'s.

mod apply;
mod change;
mod core;
mod desk;
mod error;
mod explain;
mod frame;
mod geo;
mod hand_over;
mod inherit;
mod logs;
mod nic;
mod notify;
mod ramp_file;
mod relay;
mod reload;
mod run;
mod simulate;
mod start;
mod tick;
mod unconfirmed;

use std::path::Path;

pub use error::RunError;
pub use logs::init as init_logs;

/// Runs the daemon until it is told to stop; with `replace` it takes over from the one that runs as the same instance.
///
/// # Errors
/// It could not start; what was started is stopped again. The program on the interfaces, if one is there, goes on.
pub fn run(path: &Path, replace: bool) -> Result<(), RunError> {
    let inherited = inherit::from_manager();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    let result = runtime.block_on(run::run(path, inherited, replace));
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    result
}
