//! Looks whether the files and the group that a configuration names are on this host, and warns. Never reads what is in a file.

use std::fs::File;
use std::path::Path;

use nix::unistd::Group;

use super::fault::{Faults, Wrong};
use super::node::{Node, Table, Value, join, quote};

/// Keys that name files, by path; `*` stands for each table of an array.
const NAMED: [&[&str]; 8] = [
    &["geo", "database"],
    &["geo", "geofeeds"],
    &["session", "key_file"],
    &["listener", "*", "tls", "certificate"],
    &["listener", "*", "tls", "key"],
    &["identity", "certificate"],
    &["identity", "key"],
    &["identity", "authority"],
];

/// The default, which the package makes: a file that says it is warned of no more than one that leaves it out.
const DEFAULT_GROUP: &str = "tidegate-admin";

/// Warns of every named file that can't be opened, and of a group that is not there.
pub(super) fn warn(root: &Table, faults: &Faults) {
    for path in NAMED {
        walk(root, path, "", faults);
    }
    if let Some(Value::Table(admin)) = root.get("admin").map(|node| &node.value)
        && let Some(group) = admin.get("write_group")
    {
        look_for_group(group, faults);
    }
}

/// Who may change things is looked up at each request: a group that is made later counts from then on.
fn look_for_group(node: &Node, faults: &Faults) {
    let Value::String(name) = &node.value else { return };
    if name == DEFAULT_GROUP {
        return;
    }
    let problem = match Group::from_name(name) {
        Ok(Some(_)) => return,
        Ok(None) => format!("there is no group {} on this host", quote(name)),
        Err(error) => format!("group {} can't be looked up ({error})", quote(name)),
    };
    let problem = format!("{problem}: only root may change things until there is one");
    faults.warning(node.at, "admin.write_group", Wrong::only(problem));
}

fn walk(table: &Table, path: &[&str], so_far: &str, faults: &Faults) {
    let Some((first, rest)) = path.split_first() else { return };
    let Some(node) = table.get(first) else { return };
    let here = join(so_far, first);
    match (&node.value, rest) {
        (Value::Table(table), _) => walk(table, rest, &here, faults),
        (Value::Array(items), ["*", rest @ ..]) => {
            for item in items {
                if let Value::Table(table) = &item.value {
                    walk(table, rest, &format!("{here}[{}]", label(table)), faults);
                }
            }
        }
        (Value::Array(items), []) => items.iter().for_each(|item| look(item, &here, faults)),
        (_, []) => look(node, &here, faults),
        _ => {}
    }
}

fn label(table: &Table) -> &str {
    match table.get("name").map(|node| &node.value) {
        Some(Value::String(name)) => name,
        _ => "",
    }
}

fn look(node: &Node, key: &str, faults: &Faults) {
    let Value::String(text) = &node.value else { return };
    let path = Path::new(text);
    if !path.is_absolute() || text.contains('\0') {
        return;
    }
    let problem = match path.metadata() {
        Ok(meta) if meta.is_dir() => "is a folder".to_owned(),
        // Opening a named pipe would wait for its writer.
        Ok(meta) if !meta.is_file() => return,
        Ok(_) => match File::open(path) {
            Ok(_) => return,
            Err(error) => format!("cannot be opened: {error}"),
        },
        Err(error) => format!("cannot be opened: {error}"),
    };
    faults.warning(node.at, key, Wrong::only(format!("{} {problem}", path.display())));
}
