//! Reads one table key by key and collects what is wrong with it. Holds no rule of a particular key.

use super::fault::{At, Faults, Wrong};
use super::key::{Key, Presence};
use super::node::{Node, Table, Value, describe, join, parse_value, quote};
use super::record::Record;
use crate::decide::nearest::nearest;

/// A table being read.
pub(super) struct Cursor<'a> {
    pub(super) faults: &'a Faults,
    record: &'a Record,
    /// Where the table is in the record.
    pointer: String,
    /// Path of the table, for messages.
    pub(super) path: String,
    /// Where the table begins.
    pub(super) at: At,
    table: &'a Table,
    keys: &'static [Key],
}

impl<'a> Cursor<'a> {
    /// Begins to read a table; keys that it does not know become faults at once.
    pub(super) fn top(
        faults: &'a Faults,
        record: &'a Record,
        table: &'a Table,
        keys: &'static [Key],
    ) -> Self {
        let at = At { file: 0, offset: 0 };
        Self { faults, record, pointer: String::new(), path: String::new(), at, table, keys }.begun()
    }

    /// A table below this one, in the place `below` of the record.
    fn below(&self, below: &str, path: String, at: At, table: &'a Table, keys: &'static [Key]) -> Self {
        let pointer = format!("{}/{below}", self.pointer);
        Self { faults: self.faults, record: self.record, pointer, path, at, table, keys }.begun()
    }

    fn begun(self) -> Self {
        self.record.note(&self.pointer, self.table, self.keys);
        self.unknown_keys();
        self
    }

    fn unknown_keys(&self) {
        for entry in &self.table.0 {
            if self.keys.iter().any(|key| key.name == entry.key) {
                continue;
            }
            let names = self.keys.iter().map(|key| key.name);
            let problem = match nearest(&entry.key, names.clone()) {
                Some(name) => format!("unknown key; did you mean \"{name}\"?"),
                None => "unknown key".to_owned(),
            };
            let allowed = names.collect::<Vec<_>>().join(", ");
            self.faults.error(
                entry.at,
                &join(&self.path, &quote_key(&entry.key)),
                Wrong::new(problem, allowed),
            );
        }
    }

    fn key(&self, name: &str) -> Key {
        let known = self.keys.iter().find(|key| key.name == name).copied();
        debug_assert!(known.is_some(), "{name} has no description in {}", self.path);
        known.unwrap_or(super::key::optional("", "", ""))
    }

    /// The raw value of a key, without defaults.
    pub(super) fn raw(&self, name: &str) -> Option<&'a Node> {
        self.table.get(name)
    }

    /// Whether the file gives this key.
    pub(super) fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// Reads a key; a missing one by its [`Presence`]. `None` where it is absent or faulty.
    pub(super) fn get<T>(&self, name: &str, read: impl Fn(&Node) -> Result<T, Wrong>) -> Option<T> {
        let key = self.key(name);
        match self.raw(name) {
            Some(node) => self.checked(name, key.allowed, node, read),
            None => self.absent(key).and_then(|node| self.checked(name, key.allowed, &node, read)),
        }
    }

    /// Reads a key that holds a list, item by item.
    pub(super) fn list<T>(&self, name: &str, read: impl Fn(&Node) -> Result<T, Wrong>) -> Option<Vec<T>> {
        let key = self.key(name);
        let owned;
        let node = match self.raw(name) {
            Some(node) => node,
            None => {
                owned = self.absent(key)?;
                &owned
            }
        };
        let Value::Array(items) = &node.value else {
            self.wrong(name, node.at, Wrong::new(format!("{} is not an array", describe(node)), key.allowed));
            return None;
        };
        let read_item = |(index, item): (usize, &Node)| {
            self.checked(&format!("{name}[{}]", index + 1), key.allowed, item, &read)
        };
        let read: Vec<Option<T>> = items.iter().enumerate().map(read_item).collect();
        read.into_iter().collect()
    }

    /// A sub-table; `None` where it is absent or no table.
    pub(super) fn table(&self, name: &str, keys: &'static [Key]) -> Option<Cursor<'a>> {
        let node = self.raw(name)?;
        match &node.value {
            Value::Table(table) => Some(self.below(name, join(&self.path, name), node.at, table, keys)),
            _ => {
                self.wrong(name, node.at, no_table(node, keys));
                None
            }
        }
    }

    /// A sub-table with nothing but defaults where it is absent.
    pub(super) fn table_or_default(&self, name: &str, keys: &'static [Key]) -> Option<Cursor<'a>> {
        static EMPTY: Table = Table(Vec::new());
        if self.has(name) {
            return self.table(name, keys);
        }
        Some(self.below(name, join(&self.path, name), self.at, &EMPTY, keys))
    }

    /// An array of tables; empty where it is absent. Each is called by its `name`, else by its number.
    pub(super) fn tables(&self, name: &str, keys: &'static [Key]) -> Vec<Cursor<'a>> {
        let Some(node) = self.raw(name) else { return Vec::new() };
        let Value::Array(items) = &node.value else {
            self.wrong(
                name,
                node.at,
                Wrong::new(
                    format!("{} is not an array of tables", describe(node)),
                    format!("[[{}]]", join(&self.path, name)),
                ),
            );
            return Vec::new();
        };
        let one = |(index, item): (usize, &'a Node)| self.one_of_tables(name, index, item, keys);
        items.iter().enumerate().filter_map(one).collect()
    }

    fn one_of_tables(
        &self,
        name: &str,
        index: usize,
        item: &'a Node,
        keys: &'static [Key],
    ) -> Option<Cursor<'a>> {
        let Value::Table(table) = &item.value else {
            let key = format!("{name}[{}]", index + 1);
            self.wrong(&key, item.at, no_table(item, keys));
            return None;
        };
        let label = match table.get("name").map(|node| &node.value) {
            Some(Value::String(text)) => text.chars().flat_map(char::escape_debug).take(64).collect(),
            _ => (index + 1).to_string(),
        };
        let path = join(&self.path, &format!("{name}[{label}]"));
        Some(self.below(&format!("{name}/{index}"), path, item.at, table, keys))
    }

    /// Notes a fault of a key at its place.
    pub(super) fn error(&self, name: &str, wrong: Wrong) {
        self.wrong(name, self.place(name), wrong);
    }

    /// Notes something odd about a key.
    pub(super) fn warning(&self, name: &str, wrong: Wrong) {
        self.faults.warning(self.place(name), &join(&self.path, name), wrong);
    }

    /// Notes that a key is missing where others ask for it.
    pub(super) fn missing(&self, name: &str, why: &str) {
        let allowed = self.key(name).allowed;
        self.faults.derived(self.at, &join(&self.path, name), Wrong::new(format!("missing{why}"), allowed));
    }

    /// Where a key was written, else where its table begins.
    pub(super) fn place(&self, name: &str) -> At {
        self.raw(name).map_or(self.at, |node| node.at)
    }

    fn wrong(&self, name: &str, at: At, wrong: Wrong) {
        self.faults.error(at, &join(&self.path, name), wrong);
    }

    fn absent(&self, key: Key) -> Option<Node> {
        match key.presence {
            Presence::Required => {
                self.missing(key.name, "");
                None
            }
            Presence::Optional => None,
            Presence::Default(text) => {
                let node = parse_value(text, self.at);
                debug_assert!(node.is_some(), "default of {} is no TOML: {text}", key.name);
                node
            }
        }
    }

    fn checked<T>(
        &self,
        name: &str,
        allowed: &str,
        node: &Node,
        read: impl Fn(&Node) -> Result<T, Wrong>,
    ) -> Option<T> {
        match read(node) {
            Ok(value) => Some(value),
            Err(mut wrong) => {
                if wrong.allowed.is_none() && !allowed.is_empty() {
                    wrong.allowed = Some(allowed.to_owned());
                }
                self.wrong(name, node.at, wrong);
                None
            }
        }
    }
}

/// The fault of a value that should be a table with these keys.
fn no_table(node: &Node, keys: &[Key]) -> Wrong {
    let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
    Wrong::new(format!("{} is not a table", describe(node)), format!("a table of {}", names.join(", ")))
}

fn quote_key(key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if plain { key.to_owned() } else { quote(key) }
}
