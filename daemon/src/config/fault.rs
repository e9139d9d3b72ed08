//! Faults of a configuration: where, which key, what was found, what is allowed. Never decides what is a fault.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// A byte offset in one of the files that make up a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    /// Index of the file, in the order of reading.
    pub(super) file: usize,
    /// Offset in bytes.
    pub(super) offset: usize,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration can't be used.
    Error,
    /// It can be used, though probably not as meant, or not on this host.
    Warning,
}

/// One fault, for people and for `check --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Error or warning.
    pub severity: Severity,
    /// The file.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Path of the key, e.g. `listener[public].limits.headers`; empty for faults of syntax.
    pub key: String,
    /// What was found, in words.
    pub problem: String,
    /// What is allowed, where that can be said.
    pub allowed: Option<String>,
}

impl Fault {
    /// A file that can't be read at all.
    #[must_use]
    pub fn unreadable(file: PathBuf, why: &std::io::Error) -> Self {
        let problem = format!("cannot be read: {why}");
        Self {
            severity: Severity::Error,
            file,
            line: 1,
            column: 1,
            key: String::new(),
            problem,
            allowed: None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file.display(), self.line, self.column)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)?;
        match &self.allowed {
            Some(allowed) => write!(f, "; allowed: {allowed}"),
            None => Ok(()),
        }
    }
}

/// What is wrong with one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// What was found, in words.
    pub(super) problem: String,
    /// What is allowed.
    pub(super) allowed: Option<String>,
}

impl Wrong {
    /// A problem and what is allowed instead.
    pub(super) fn new(problem: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { problem: problem.into(), allowed: Some(allowed.into()) }
    }

    /// A problem that says all there is to say.
    pub(super) fn only(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), allowed: None }
    }
}

/// One file that was read.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Its path, as the operator gave it.
    pub(super) path: PathBuf,
    /// Its text.
    pub(super) text: String,
}

/// A fault before its place was turned into lines and columns.
struct Raw {
    severity: Severity,
    at: At,
    key: String,
    wrong: Wrong,
    /// May only follow from a fault of syntax elsewhere.
    derived: bool,
}

/// Collects the faults of one configuration.
#[derive(Default)]
pub(super) struct Faults {
    raw: RefCell<Vec<Raw>>,
    syntax: Cell<bool>,
}

impl Faults {
    /// A fault of syntax.
    pub(super) fn syntax(&self, at: At, message: &str) {
        self.syntax.set(true);
        self.push(Severity::Error, at, "", Wrong::only(message), false);
    }

    /// A value that is not allowed.
    pub(super) fn error(&self, at: At, key: &str, wrong: Wrong) {
        self.push(Severity::Error, at, key, wrong, false);
    }

    /// Something missing or unresolved, which may only follow from a fault of syntax.
    pub(super) fn derived(&self, at: At, key: &str, wrong: Wrong) {
        self.push(Severity::Error, at, key, wrong, true);
    }

    /// Something odd.
    pub(super) fn warning(&self, at: At, key: &str, wrong: Wrong) {
        self.push(Severity::Warning, at, key, wrong, false);
    }

    fn push(&self, severity: Severity, at: At, key: &str, wrong: Wrong, derived: bool) {
        self.raw.borrow_mut().push(Raw { severity, at, key: key.to_owned(), wrong, derived });
    }

    /// All faults by place; what may only follow from broken syntax is left out.
    pub(super) fn finish(self, sources: &[Source]) -> Vec<Fault> {
        let mut raw = self.raw.into_inner();
        if self.syntax.get() {
            raw.retain(|fault| !fault.derived);
        }
        raw.sort_by_key(|fault| fault.at);
        let mut faults: Vec<Fault> = raw.into_iter().map(|raw| place(raw, sources)).collect();
        faults.dedup();
        faults
    }
}

fn place(raw: Raw, sources: &[Source]) -> Fault {
    let source = sources.get(raw.at.file);
    let (line, column) = source.map_or((1, 1), |source| line_column(&source.text, raw.at.offset));
    Fault {
        severity: raw.severity,
        file: source.map(|source| source.path.clone()).unwrap_or_default(),
        line,
        column,
        key: raw.key,
        problem: raw.wrong.problem,
        allowed: raw.wrong.allowed,
    }
}

/// Line and column (both from 1, columns in characters) of a byte offset.
pub(super) fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    (line, column)
}
