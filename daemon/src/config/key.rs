//! Descriptions of keys: one source for reading, for the unknown-key hint and for docs/CONFIGURATION.md. Reads nothing itself.

/// One key of a table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Whether it must be there.
    pub presence: Presence,
    /// What is allowed, in words; also ends error messages.
    pub allowed: &'static str,
    /// What it does.
    pub about: &'static str,
}

/// Whether a key must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It must.
    Required,
    /// It need not, and then the feature is off (or as `about` says).
    Optional,
    /// It need not: this TOML text is read in its place.
    Default(&'static str),
}

/// A table of the file.
#[derive(Clone, Copy, Debug)]
pub struct TableDoc {
    /// Its header as written, e.g. `[[region]]`.
    pub header: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// Its keys, in the order in which documents show them.
    pub keys: &'static [Key],
}

/// A key that must be there.
pub(super) const fn required(name: &'static str, allowed: &'static str, about: &'static str) -> Key {
    Key { name, presence: Presence::Required, allowed, about }
}

/// A key that may be left out.
pub(super) const fn optional(name: &'static str, allowed: &'static str, about: &'static str) -> Key {
    Key { name, presence: Presence::Optional, allowed, about }
}

/// A key with a default, written as TOML.
pub(super) const fn default(
    name: &'static str,
    default: &'static str,
    allowed: &'static str,
    about: &'static str,
) -> Key {
    Key { name, presence: Presence::Default(default), allowed, about }
}
