//! The configuration as it was read: every key of every table, defaults filled in. Never decides what a key means.

use std::cell::RefCell;

use serde_json::{Map, Number, Value as Json};

use super::fault::At;
use super::key::{Key, Presence};
use super::node::{Node, Table, Value, parse_value};

/// Grows while tables are read. A table's place is its JSON pointer (RFC 6901), which its parent made before.
#[derive(Debug, Default)]
pub(super) struct Record(RefCell<Json>);

impl Record {
    /// Notes a table: each of its keys with the value in force, `null` where it is off.
    pub(super) fn note(&self, pointer: &str, table: &Table, keys: &[Key]) {
        let noted = keys.iter().map(|key| (key.name.to_owned(), value(table, *key)));
        if let Some(place) = self.0.borrow_mut().pointer_mut(pointer) {
            *place = Json::Object(noted.collect());
        }
    }

    /// All that was noted.
    pub(super) fn finish(self) -> Json {
        self.0.into_inner()
    }
}

fn value(table: &Table, key: Key) -> Json {
    match (table.get(key.name), key.presence) {
        (Some(node), _) => json(node),
        (None, Presence::Default(text)) => {
            parse_value(text, At { file: 0, offset: 0 }).as_ref().map_or(Json::Null, json)
        }
        (None, _) => Json::Null,
    }
}

fn json(node: &Node) -> Json {
    match &node.value {
        Value::String(text) | Value::Datetime(text) => Json::String(without_credentials(text)),
        Value::Integer(integer) => integer.map_or(Json::Null, |integer| Json::Number(integer.into())),
        Value::Float(float) => Number::from_f64(*float).map_or(Json::Null, Json::Number),
        Value::Boolean(boolean) => Json::Bool(*boolean),
        Value::Array(items) => items.iter().map(json).collect(),
        Value::Table(table) => Json::Object(
            table.0.iter().map(|entry| (entry.key.clone(), json(&entry.node))).collect::<Map<_, _>>(),
        ),
    }
}

/// Every local user may see this; a URL's user and password are nobody's business.
fn without_credentials(text: &str) -> String {
    let hidden = text.split_once("://").and_then(|(scheme, rest)| {
        let authority = rest.split(['/', '?', '#']).next()?;
        let (credentials, _) = authority.rsplit_once('@')?;
        Some(format!("{scheme}://…{}", &rest[credentials.len()..]))
    });
    hidden.unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::Value as Json;

    use super::without_credentials;

    fn document(text: &str) -> Json {
        super::super::from_text(Path::new("t.toml"), text).expect("no faults").config.document
    }

    #[test]
    fn has_what_the_file_says_and_the_defaults_of_the_rest() {
        let document = document(
            "[[region]]\nname = \"eu\"\n[[listener]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\nupstream = \"o\"\n\
             limits = { headers = 50 }\n[[upstream]]\nname = \"o\"\nendpoints = [\"http://127.0.0.1:1\"]\n",
        );
        let at = |pointer: &str| document.pointer(pointer).cloned().unwrap_or_else(|| panic!("no {pointer}"));
        assert_eq!(at("/region/0/name"), "eu");
        assert_eq!(at("/listener/0/limits/headers"), 50);
        for (given, default) in [("/region/0/health/rise", 5), ("/host/workers", 0)] {
            assert_eq!(at(given), default, "{given}");
        }
        assert_eq!(at("/log/level"), "info");
        assert_eq!(at("/session"), Json::Null);
        assert_eq!(at("/upstream/0/health"), Json::Null);
    }

    #[test]
    fn credentials_in_urls_are_left_out() {
        assert_eq!(without_credentials("nats://user:pass@192.0.2.1:4222/a@b"), "nats://…@192.0.2.1:4222/a@b");
        for plain in ["http://192.0.2.1/a@b", "someone@example.invalid", "", "://"] {
            assert_eq!(without_credentials(plain), plain);
        }
    }
}
