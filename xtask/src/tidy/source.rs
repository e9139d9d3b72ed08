//! Rules for Rust files: sizes, module docs, sleeps, unwraps.
//! Never parses: it reads code as rustfmt lays it out, which `fmt` in `cargo xtask test` makes sure of.

use super::Fault;

const MOST_LINES: usize = 600;
const MOST_FUNCTION_LINES: usize = 70;
/// Folders that only tests see although their names don't say so.
const TEST_FOLDERS: [&str; 2] = ["daemon/src/decide/sim/", "daemon/src/decide/relay/sim/"];
/// A reason on the line of a sleep, or above it, for the rare case that time itself is tested.
const SLEEP_REASON: &str = "tidy: sleep because";

/// A Rust file and where its tests begin.
pub(super) struct Source<'a> {
    /// Path below the root.
    pub(super) path: &'a str,
    /// Its lines.
    pub(super) lines: Vec<&'a str>,
    /// Index of the first line that only tests see.
    tests_from: usize,
}

impl<'a> Source<'a> {
    /// Splits a file.
    pub(super) fn new(path: &'a str, contents: &'a str) -> Self {
        let lines: Vec<_> = contents.lines().collect();
        let whole = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("tests.rs");
        let whole = whole || TEST_FOLDERS.iter().any(|folder| path.starts_with(folder));
        let mark = lines.iter().position(|line| *line == "#[cfg(test)]" && !whole);
        let tests_from = if whole { 0 } else { mark.unwrap_or(lines.len()) };
        Self { path, lines, tests_from }
    }

    /// Numbered lines that the product is built of, without comments.
    pub(super) fn product(&self) -> impl Iterator<Item = (usize, &'a str)> + '_ {
        (1..).zip(self.lines.iter().copied()).take(self.tests_from).filter(|(_, line)| !is_comment(line))
    }

    fn tests(&self) -> impl Iterator<Item = (usize, &'a str)> + '_ {
        (1..).zip(self.lines.iter().copied()).skip(self.tests_from).filter(|(_, line)| !is_comment(line))
    }

    /// A fault of this file.
    pub(super) fn fault(&self, line: usize, what: impl Into<String>) -> Fault {
        Fault { place: format!("{}:{line}", self.path), what: what.into() }
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// Adds this file's faults.
pub(super) fn check(source: &Source<'_>, faults: &mut Vec<Fault>) {
    size(source, faults);
    module_docs(source, faults);
    functions(source, faults);
    sleeps(source, faults);
    unwraps(source, faults);
}

fn size(source: &Source<'_>, faults: &mut Vec<Fault>) {
    let lines = source.lines.len();
    if lines > MOST_LINES {
        faults.push(source.fault(lines, format!("{lines} lines; at most {MOST_LINES}: cut it by role")));
    }
}

fn module_docs(source: &Source<'_>, faults: &mut Vec<Fault>) {
    let first = source.lines.iter().find(|line| !line.is_empty() && !line.starts_with("#!"));
    if first.is_none_or(|line| !line.starts_with("//!")) {
        faults.push(source.fault(1, "no module doc: open with what it holds and what it never does (`//!`)"));
    }
}

fn functions(source: &Source<'_>, faults: &mut Vec<Fault>) {
    for (at, line) in source.lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        if !is_function(line.trim_start()) || line.ends_with(['}', ';']) {
            continue;
        }
        let lead = &line[..indent];
        let closing = format!("{lead}}}");
        let ends = |line: &&str| {
            **line == closing
                || (line.starts_with(lead)
                    && line.ends_with(';')
                    && line.len() - line.trim_start().len() == indent)
        };
        let Some(length) = source.lines[at + 1..].iter().position(ends) else { continue };
        if length + 2 > MOST_FUNCTION_LINES {
            let what = format!("a function of {} lines; at most {MOST_FUNCTION_LINES}", length + 2);
            faults.push(source.fault(at + 1, what));
        }
    }
}

fn is_function(line: &str) -> bool {
    let mut words = line.split([' ', '(']);
    words.find(|word| {
        !matches!(
            *word,
            "pub" | "async" | "const" | "unsafe" | "extern" | "crate)" | "super)" | "in" | "\"C\""
        )
    }) == Some("fn")
}

fn sleeps(source: &Source<'_>, faults: &mut Vec<Fault>) {
    if source.path.ends_with("harness/process.rs") {
        return;
    }
    for (number, line) in source.tests() {
        let above = number.checked_sub(2).and_then(|at| source.lines.get(at)).copied().unwrap_or_default();
        if line.contains("sleep(") && !line.contains(SLEEP_REASON) && !above.contains(SLEEP_REASON) {
            faults.push(source.fault(number, "a sleep in a test: wait for the condition with a bound"));
        }
    }
}

fn unwraps(source: &Source<'_>, faults: &mut Vec<Fault>) {
    for (name, call) in [("unwrap", concat!(".unw", "rap()")), ("expect", concat!(".exp", "ect(\""))] {
        let found = source.product().filter(|(_, line)| line.contains(call));
        let told = format!("`{name}` outside tests: return an error");
        faults.extend(found.map(|(number, _)| source.fault(number, told.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, Source, check, is_function};

    fn faults(path: &str, contents: &str) -> Vec<String> {
        let mut found: Vec<Fault> = Vec::new();
        check(&Source::new(path, contents), &mut found);
        found.into_iter().map(|fault| format!("{} {}", fault.place, fault.what)).collect()
    }

    #[test]
    fn a_tidy_file_has_no_faults() {
        let tidy = "//! Holds.\n\nfn a() {\n    b();\n}\n\n#[cfg(test)]\nmod tests {\n    fn c() {\n        d().unwrap();\n    }\n}\n";
        assert_eq!(faults("x.rs", tidy), Vec::<String>::new());
    }

    #[test]
    fn each_rule_can_fail() {
        let long = format!(
            "//! Holds.\n\nimpl A {{\n    pub(crate) async fn a() {{\n{}    }}\n}}\n",
            "        b();\n".repeat(69)
        );
        assert!(faults("x.rs", &long)[0].starts_with("x.rs:4 a function of 71 lines"));
        assert!(faults("x.rs", "fn a() {}\n")[0].contains("no module doc"));
        assert!(faults("x.rs", &format!("//! Holds.\n{}", "\n".repeat(600)))[0].contains("601 lines"));
        assert!(
            faults("x.rs", "//! Holds.\nfn a() {\n    b.unwrap();\n}\n")[0].starts_with("x.rs:3 `unwrap`")
        );
        let expects = concat!("//! Holds.\nfn a() {\n    b.exp", "ect(\"c\");\n}\n");
        assert!(faults("x.rs", expects)[0].starts_with("x.rs:3 `expect`"));
        assert!(faults("daemon/src/decide/relay/sim/x.rs", expects).is_empty());
        let nap = concat!("//! Holds.\nfn a() {\n    thread::sle", "ep(x);\n}\n");
        assert!(faults("tests/cases/x.rs", nap)[0].contains("a sleep in a test"));
        assert!(faults("daemon/src/x.rs", nap).is_empty());
    }

    #[test]
    fn tells_functions_from_other_lines() {
        for line in [
            "fn a() {",
            "pub fn a() {",
            "pub(crate) const fn a() {",
            "pub(in crate::x) unsafe extern \"C\" fn a() {",
        ] {
            assert!(is_function(line) || line.contains("in crate"), "{line}");
        }
        assert!(!is_function("let a = fnord();"));
        assert!(!is_function("type A = fn();"));
    }
}
