//! What `cargo xtask bench nic` and `bench ceiling` and the check on other kernels ask: loads the kernel program on no interface,
//! and measures or tries it by test runs.
//! Speaks lines on standard input and output; never touches an interface.

mod ceiling;
mod filter;
mod load;
mod nic;
mod shuffle;
mod verify;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    // What else runs on this machine is not what is measured; without the right to it, it is measured as well.
    let _ = rustix::process::setpriority_process(None, -20);
    match arguments.first().map(String::as_str) {
        Some("nic") => nic::serve(quick),
        Some("ceiling") => ceiling::run(quick),
        Some("verify") => verify::run(),
        _ => bail!("nic-probe nic|ceiling [--quick] | verify"),
    }
}
