//! Which module may know which (docs/ARCHITECTURE.md): decisions know no deed, siblings don't know each other.
//! Never follows re-exports: a path is taken as it is written.

use super::Fault;
use super::source::Source;

/// What a room of the daemon may name of the others, and the outside crates that only some rooms may name.
struct Room {
    name: &'static str,
    knows: &'static [&'static str],
}

const ROOMS: [Room; 7] = [
    Room { name: "config", knows: &["config", "decide"] },
    Room { name: "decide", knows: &["decide"] },
    Room { name: "link", knows: &["link", "decide"] },
    Room { name: "kernel", knows: &["kernel", "decide"] },
    Room { name: "proxy", knows: &["proxy", "link", "decide"] },
    Room { name: "relay", knows: &["relay", "link", "decide"] },
    Room { name: "admin", knows: &["admin", "decide"] },
];

/// What all rooms may name: the typed configuration and how its units are written.
const SHARED: [&str; 3] = ["config::types", "config::Config", "config::units"];

/// Crates that do things; a decision that names one is no decision any more.
const DEEDS: [&str; 7] = ["aya", "tokio", "hyper", "hyper_util", "socket2", "rustix", "tracing"];

/// Adds this file's faults.
pub(super) fn check(source: &Source<'_>, faults: &mut Vec<Fault>) {
    let Some(inside) = source.path.strip_prefix("daemon/src/") else { return };
    let room = inside.split(['/', '.']).next().unwrap_or_default();
    for (number, line) in source.product() {
        outside(source, room, number, line, faults);
        let Some(rules) = ROOMS.iter().find(|known| known.name == room) else { continue };
        for path in named(line) {
            if !rules.knows.iter().chain(&SHARED).any(|known| begins(path, known)) {
                let what = format!(
                    "`{room}` must not know `{path}`; it may know {}, {}",
                    rules.knows.join(", "),
                    SHARED.join(", ")
                );
                faults.push(source.fault(number, what));
            }
        }
    }
}

fn outside(source: &Source<'_>, room: &str, number: usize, line: &str, faults: &mut Vec<Fault>) {
    let names = |name: &str| line.contains(&format!("{name}::")) && starts_word(line, name);
    if room != "kernel" && names("aya") {
        faults.push(source.fault(number, "only `kernel` may name aya"));
    }
    if room == "decide" {
        let deeds = DEEDS.iter().filter(|name| **name != "aya" && names(name));
        faults.extend(
            deeds.map(|name| source.fault(number, format!("`decide` is pure: it must not name {name}"))),
        );
    }
}

/// Whether the name appears as a path's first word.
fn starts_word(line: &str, name: &str) -> bool {
    let at = line.find(&format!("{name}::")).unwrap_or_default();
    let before = line[..at].chars().next_back();
    before.is_none_or(|before| !before.is_alphanumeric() && before != '_' && before != ':')
}

/// Each `crate::PATH` of a line, without `crate::`.
fn named(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len());
        rest[..end].trim_end_matches(':')
    })
}

fn begins(path: &str, known: &str) -> bool {
    path.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::{Fault, Source, check};

    fn faults(path: &str, contents: &str) -> Vec<String> {
        let mut found: Vec<Fault> = Vec::new();
        check(&Source::new(path, contents), &mut found);
        found.into_iter().map(|fault| fault.what).collect()
    }

    #[test]
    fn arrows_point_inwards() {
        assert!(
            faults("daemon/src/proxy/a.rs", "use crate::decide::route;\nuse crate::config::types::Config;\n")
                .is_empty()
        );
        assert!(faults("daemon/src/app/a.rs", "use crate::proxy;\nuse crate::kernel;\n").is_empty());
        assert_eq!(faults("daemon/src/proxy/a.rs", "use crate::kernel::Nic;\n").len(), 1);
        assert_eq!(
            faults("daemon/src/decide/a.rs", "fn a(x: crate::proxy::X, y: crate::decide::Y) {}\n").len(),
            1
        );
        assert_eq!(faults("daemon/src/relay/a.rs", "use crate::config::load;\n").len(), 1);
    }

    #[test]
    fn decisions_name_no_deed_and_only_kernel_names_aya() {
        assert_eq!(faults("daemon/src/decide/a.rs", "use tokio::time;\n").len(), 1);
        assert_eq!(faults("daemon/src/app/a.rs", "use aya::Ebpf;\n").len(), 1);
        assert!(faults("daemon/src/kernel/a.rs", "use aya::Ebpf;\n").is_empty());
        assert!(faults("daemon/src/decide/a.rs", "use my_tokio::time;\n").is_empty());
    }
}
