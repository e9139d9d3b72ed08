//! What may be given only once (names, addresses, a measure of one home), and who gave it first. Knows no key by name.

use std::cell::RefCell;
use std::collections::HashMap;

use super::cursor::Cursor;
use super::fault::{At, Wrong, line_column};
use super::node::join;

/// Path and place of the key that took it.
type First = (String, At);

/// First takers by kind and value.
pub(super) struct Claims<'a> {
    sources: &'a [super::fault::Source],
    taken: RefCell<HashMap<(&'static str, String), First>>,
}

impl<'a> Claims<'a> {
    /// Nothing taken yet; `sources` tell lines for the messages.
    pub(super) fn new(sources: &'a [super::fault::Source]) -> Self {
        Self { sources, taken: RefCell::default() }
    }

    /// Takes `value` for a key; a fault at that key if it was taken.
    pub(super) fn take(&self, kind: &'static str, value: &str, cursor: &Cursor<'_>, key: &str) {
        let at = cursor.place(key);
        let mut taken = self.taken.borrow_mut();
        let Some((path, first)) = taken.get(&(kind, value.to_owned())) else {
            taken.insert((kind, value.to_owned()), (join(&cursor.path, key), at));
            return;
        };
        let place = self.sources.get(first.file).map_or(String::new(), |source| {
            let (line, _) = line_column(&source.text, first.offset);
            format!(" ({}:{line})", source.path.display())
        });
        let shown: String = value.chars().flat_map(char::escape_debug).take(80).collect();
        let problem = format!("{kind} {shown} was already given by {path}{place}");
        cursor.error(key, Wrong::new(problem, "each may be given once"));
    }
}
