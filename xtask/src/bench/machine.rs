//! Says what machine measured, and what a process used of it.
//! Never its name or address.

use std::fs;

use anyhow::{Context, Result};

/// Processor, cores and kernel in one line.
pub(crate) fn describe() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown processor");
    let model = model.trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

/// CPU time of a process so far, in microseconds, of all its threads, user and system.
///
/// # Errors
/// When it has ended.
pub(crate) fn cpu_us(process: u32) -> Result<f64> {
    ticks(&fs::read_to_string(format!("/proc/{process}/stat")).context("the process has ended")?)
}

/// The same of one thread of this process.
///
/// # Errors
/// When it has ended.
pub(crate) fn thread_cpu_us(thread: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat"));
    ticks(&stat.context("the thread has ended")?)
}

fn ticks(stat: &str) -> Result<f64> {
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // Fields 14 and 15 (proc(5)), counted from the state, in ticks of 10 ms.
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    let (user, system) = (ticks(11).context("utime")?, ticks(12).context("stime")?);
    Ok((user + system) * 10_000.0)
}

/// Resident memory of a process in KiB.
///
/// # Errors
/// When it has ended.
pub(crate) fn resident_kib(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).context("the process has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    line.trim().split(' ').next().and_then(|kib| kib.parse::<f64>().ok()).context("VmRSS")
}
