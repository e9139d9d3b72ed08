//! Removes what an earlier run left behind when it was killed: namespaces, their processes, pins and folders.
//! Never touches what a living process owns, or what this harness did not name.

use std::fs;
use std::path::Path;
use std::sync::Once;

use rustix::process::{Pid, Signal, kill_process};

use crate::netns::{NAMESPACES, ip};
use crate::scratch::is_orphan;

/// Where daemons pin, one folder per instance.
const PINS: &str = "/sys/fs/bpf/tidegate";

/// Removes left-overs of processes that are gone, once per process.
pub fn orphans() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        names(Path::new(NAMESPACES)).iter().for_each(|name| namespace(name));
        names(Path::new(PINS)).iter().for_each(|name| pins(name));
        let scratch = std::env::temp_dir();
        names(&scratch).iter().for_each(|name| {
            let _ = fs::remove_dir_all(scratch.join(name));
        });
    });
}

/// Removes the pins of one instance that this process made; the program leaves the interface with them.
pub fn pins(instance: &str) {
    let _ = fs::remove_dir_all(Path::new(PINS).join(instance));
}

/// Names in a folder that a gone process made.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_orphan(name)).collect()
}

fn namespace(name: &str) {
    let inside = ip(&["netns", "pids", name]).unwrap_or_default();
    for pid in inside.lines().filter_map(|line| Pid::from_raw(line.trim().parse().ok()?)) {
        let _ = kill_process(pid, Signal::KILL);
    }
    let _ = ip(&["netns", "delete", name]);
}
