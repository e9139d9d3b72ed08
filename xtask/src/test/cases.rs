//! Runs `cargo test` over the workspace, shows what it says, and counts tests and skips. A few tests that failed beside others get a
//! second try alone, and are named as unsteady if they pass it. Never takes a run without tests for a pass.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use super::stage::Outcome;
use crate::{build, paths, sh};

/// Tests say `skipped: WHY` when they can't run here.
const SKIP: &str = "skipped: ";

/// More tests than these that fail are no accident of a loaded machine.
const SECOND_TRIES: usize = 3;

/// Runs all tests. Output of tests that pass is read for skips but not shown.
pub(crate) fn run(strict: bool) -> Result<Outcome> {
    let first = ask(strict, &[])?;
    let unsteady =
        if (1..=SECOND_TRIES).contains(&first.names.len()) && first.failed == first.names.len() as u64 {
            second_try(strict, &first.names)?
        } else {
            Vec::new()
        };
    let steadied = unsteady.len() as u64;
    let faults = first.names.into_iter().filter(|name| !unsteady.contains(name)).collect();
    Ok(Outcome {
        passed: first.passed + steadied,
        failed: first.failed - steadied,
        skips: first.skips,
        unsteady,
        faults,
    })
}

/// Which of these tests pass when they run alone, one after the other.
fn second_try(strict: bool, names: &[String]) -> Result<Vec<String>> {
    let mut passed = Vec::new();
    for name in names {
        println!("  second try: {name}");
        let again = ask(strict, &["--exact", name]);
        if again.is_ok_and(|again| again.failed == 0) {
            passed.push(name.clone());
        }
    }
    Ok(passed)
}

fn ask(strict: bool, more: &[&str]) -> Result<Reading> {
    let mut cargo = sh::cargo();
    cargo.args(["test", "--workspace", "--features", build::FEATURES]);
    cargo.args(["--no-fail-fast", "--", "--show-output"]).args(more);
    cargo.env("TIDEGATE_BIN", paths::tidegate(false));
    if strict {
        cargo.env("TIDEGATE_STRICT", "1");
    }
    let mut child =
        cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting cargo test")?;
    let mut reading = Reading::default();
    let stdout = child.stdout.take().context("cargo test has no output")?;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if reading.line(&line) {
            println!("  {line}");
        }
    }
    let status = child.wait()?;
    ensure!(reading.passed + reading.failed > 0, "cargo test ran no test ({status})");
    // A crate that does not build has no line of results, only its exit status.
    if !status.success() && reading.failed == 0 {
        reading.failed = 1;
    }
    Ok(reading)
}

#[derive(Default)]
struct Reading {
    passed: u64,
    failed: u64,
    skips: Vec<String>,
    /// Of the tests that failed.
    names: Vec<String>,
    in_successes: bool,
}

impl Reading {
    /// Takes a line in; whether a reader wants to see it.
    fn line(&mut self, line: &str) -> bool {
        if let Some(why) = line.trim_start().strip_prefix(SKIP) {
            self.skip(why);
        }
        match line {
            "successes:" => self.in_successes = true,
            "failures:" => self.in_successes = false,
            _ if line.starts_with("test result:") => self.in_successes = false,
            _ => {}
        }
        if let Some(name) = failed(line) {
            self.names.push(name.to_owned());
        }
        if let Some((passed, failed)) = result(line) {
            self.passed += passed;
            self.failed += failed;
        }
        let dull =
            self.in_successes || line.is_empty() || line.ends_with("... ok") || line.starts_with("running ");
        !dull && !line.starts_with("test result: ok. 0 passed")
    }

    fn skip(&mut self, why: &str) {
        if !self.skips.iter().any(|known| known == why) {
            self.skips.push(why.to_owned());
        }
    }
}

fn failed(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

fn result(line: &str) -> Option<(u64, u64)> {
    let rest = line.strip_prefix("test result: ")?;
    let count = |word: &str| {
        let before = rest.split(word).next()?.trim_end();
        before.rsplit([' ', '.']).next()?.parse().ok()
    };
    Some((count(" passed")?, count(" failed")?))
}

#[cfg(test)]
mod tests {
    use super::{Reading, result};

    #[test]
    fn reads_cargos_closing_lines() {
        let ok =
            "test result: ok. 7 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.07s";
        assert_eq!(result(ok), Some((7, 0)));
        assert_eq!(result("test result: FAILED. 6 passed; 12 failed; 0 ignored"), Some((6, 12)));
        assert_eq!(result("test a ... ok"), None);
    }

    #[test]
    fn knows_which_tests_failed() {
        let mut reading = Reading::default();
        for line in
            ["test a::b ... FAILED", "test c ... ok", "test result: FAILED. 1 passed; 1 failed; 0 ignored"]
        {
            reading.line(line);
        }
        assert_eq!((reading.failed, reading.names), (1, vec!["a::b".to_owned()]));
    }

    #[test]
    fn counts_each_reason_of_a_skip_once() {
        let mut reading = Reading::default();
        for line in ["skipped: needs root", "x", "skipped: needs root", "skipped: no bpffs"] {
            reading.line(line);
        }
        assert_eq!(reading.skips, ["needs root", "no bpffs"]);
    }
}
