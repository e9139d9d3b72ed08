//! The files as one tree of values that remember their place; merging happens here. Knows no key by name.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{At, Faults, Wrong};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) value: Value,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    String(String),
    /// `None`: written as an integer, though it does not fit.
    Integer(Option<i64>),
    Float(f64),
    Boolean(bool),
    /// The text of a date or time, which no key takes.
    Datetime(String),
    Array(Vec<Node>),
    Table(Table),
}

/// Keys with their places and values, in file order.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(pub(super) Vec<Entry>);

/// One key of a table.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: At,
    pub(super) node: Node,
}

impl Table {
    /// The value under `key`.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.0.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// Lays `other` into this table: tables merge, arrays of tables append, anything else given twice is a fault.
    pub(super) fn merge(&mut self, other: Self, path: &str, faults: &Faults) {
        for entry in other.0 {
            let key = join(path, &entry.key);
            match self.0.iter_mut().find(|mine| mine.key == entry.key) {
                Some(mine) => merge_node(&mut mine.node, entry, &key, faults),
                None => self.0.push(entry),
            }
        }
    }
}

fn merge_node(mine: &mut Node, entry: Entry, key: &str, faults: &Faults) {
    match (&mut mine.value, entry.node.value) {
        (Value::Table(mine), Value::Table(other)) => mine.merge(other, key, faults),
        (Value::Array(mine), Value::Array(other)) if of_tables(mine) && of_tables(&other) => {
            mine.extend(other);
        }
        _ => faults.error(
            entry.at,
            key,
            Wrong::only("was already given in a file read before; each key may be given once over all files"),
        ),
    }
}

fn of_tables(array: &[Node]) -> bool {
    !array.is_empty() && array.iter().all(|node| matches!(node.value, Value::Table(_)))
}

/// `path.key`
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Parses one file; faults of syntax are collected, what could be read is returned.
pub(super) fn parse(text: &str, file: usize, faults: &Faults) -> Table {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or_default();
        let mut message = one_line(error.message());
        if let ("duplicate key", Some(key)) = (message.as_str(), text.get(span.clone())) {
            message = format!("duplicate key {}", quote(key));
        }
        faults.syntax(At { file, offset: span.start }, &message);
    }
    table(document.get_ref(), file)
}

/// The default of a key, written as TOML.
pub(super) fn parse_value(text: &str, at: At) -> Option<Node> {
    let value = DeValue::parse(text).ok()?;
    let mut node = node(&value, at.file);
    relocate(&mut node, at);
    Some(node)
}

fn relocate(node: &mut Node, at: At) {
    node.at = at;
    match &mut node.value {
        Value::Array(items) => items.iter_mut().for_each(|item| relocate(item, at)),
        Value::Table(table) => table.0.iter_mut().for_each(|entry| {
            entry.at = at;
            relocate(&mut entry.node, at);
        }),
        _ => {}
    }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn table(table: &DeTable<'_>, file: usize) -> Table {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().clone().into_owned(),
            at: At { file, offset: key.span().start },
            node: node(value, file),
        })
        .collect();
    entries.sort_by_key(|entry| entry.at);
    Table(entries)
}

fn node(value: &Spanned<DeValue<'_>>, file: usize) -> Node {
    Node { at: At { file, offset: value.span().start }, value: convert(value.get_ref(), file) }
}

fn convert(value: &DeValue<'_>, file: usize) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Integer(integer) => {
            Value::Integer(i64::from_str_radix(integer.as_str(), integer.radix()).ok())
        }
        DeValue::Float(float) => Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(datetime) => Value::Datetime(datetime.to_string()),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| node(item, file)).collect()),
        DeValue::Table(inner) => Value::Table(table(inner, file)),
    }
}

/// A value in words, short enough for an error.
pub(super) fn describe(node: &Node) -> String {
    match &node.value {
        Value::String(text) => quote(text),
        Value::Integer(Some(integer)) => integer.to_string(),
        Value::Integer(None) => "an integer beyond 64 bits".to_owned(),
        // With its point: 1.0 is no whole number, and the text should show why.
        Value::Float(float) => format!("{float:?}"),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Datetime(text) => format!("the date or time {text}"),
        Value::Array(_) => "an array".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}

/// Text in quotes, control characters escaped, cut after 60 characters.
pub(super) fn quote(text: &str) -> String {
    let mut short: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        short.push('…');
    }
    format!("\"{short}\"")
}
