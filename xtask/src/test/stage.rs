//! Stages: announced, timed, counted.
//! Never stops at the first failure, so that one run shows all there is to mend.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

/// What a stage came to.
pub(crate) struct Outcome {
    /// Checks that passed and failed; a stage without tests of its own counts as one.
    pub(crate) passed: u64,
    /// See `passed`.
    pub(crate) failed: u64,
    /// Why it, or a part of it, did not run.
    pub(crate) skips: Vec<String>,
    /// Tests that passed on their second try only.
    pub(crate) unsteady: Vec<String>,
    /// What failed and why, for the closing lines; may name fewer than `failed`.
    pub(crate) faults: Vec<String>,
}

impl Outcome {
    /// Nothing ran yet.
    pub(crate) fn empty() -> Self {
        Self { passed: 0, failed: 0, skips: Vec::new(), unsteady: Vec::new(), faults: Vec::new() }
    }

    /// One check that passed.
    pub(crate) fn passed() -> Self {
        Self { passed: 1, ..Self::empty() }
    }

    /// One more check that failed.
    pub(crate) fn fail(&mut self, why: String) {
        self.failed += 1;
        self.faults.push(why);
    }

    /// Nothing ran.
    pub(crate) fn skipped(why: &str) -> Self {
        Self { skips: vec![why.to_owned()], ..Self::empty() }
    }
}

impl From<()> for Outcome {
    fn from((): ()) -> Self {
        Self::passed()
    }
}

impl From<PathBuf> for Outcome {
    fn from(_: PathBuf) -> Self {
        Self::passed()
    }
}

/// The stages of one run.
pub(crate) struct Stages {
    only: Vec<String>,
    strict: bool,
    started: Instant,
    lines: Vec<String>,
    passed: u64,
    failed: u64,
    skipped: u64,
    unsteady: Vec<String>,
    faults: Vec<String>,
}

impl Stages {
    /// `only` names the stages that run (empty: all); `strict` makes each skip a failure.
    pub(crate) fn new(only: &[String], strict: bool) -> Self {
        let started = Instant::now();
        let (lines, unsteady, faults) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            only: only.to_vec(),
            strict,
            started,
            lines,
            passed: 0,
            failed: 0,
            skipped: 0,
            unsteady,
            faults,
        }
    }

    /// Announces, runs and times one stage.
    pub(crate) fn run(&mut self, name: &str, work: impl FnOnce() -> Result<Outcome>) {
        if !self.only.is_empty() && !self.only.iter().any(|only| only == name) {
            return;
        }
        eprintln!("\n== {name}");
        let started = Instant::now();
        let done = work().unwrap_or_else(|error| {
            eprintln!("{error:#}");
            let mut outcome = Outcome::empty();
            outcome.fail(format!("{error:#}"));
            outcome
        });
        self.book(name, &done, started.elapsed());
    }

    fn book(&mut self, name: &str, done: &Outcome, took: Duration) {
        for why in &done.skips {
            eprintln!("  skipped: {why}{}", if self.strict { " (a failure here)" } else { "" });
        }
        self.unsteady.extend(done.unsteady.iter().cloned());
        self.faults.extend(done.faults.iter().map(|fault| format!("{name}: {fault}")));
        let skips = done.skips.len() as u64;
        let failed = done.failed + if self.strict { skips } else { 0 };
        self.passed += done.passed;
        self.failed += failed;
        self.skipped += if self.strict { 0 } else { skips };
        let word = if failed > 0 { "FAILED" } else { "passed" };
        eprintln!("== {name}: {word} in {:.1} s", took.as_secs_f64());
        self.lines.push(format!(
            "{name:<14} {word}  {:>6.1} s  {} passed, {failed} failed",
            took.as_secs_f64(),
            done.passed
        ));
    }

    /// Prints the table and the closing line; whether everything passed.
    pub(crate) fn close(self) -> bool {
        eprintln!();
        self.lines.iter().for_each(|line| eprintln!("{line}"));
        eprintln!("total          {:.0} s\n", self.started.elapsed().as_secs_f64());
        let skipped = if self.skipped > 0 { format!(", {} skipped", self.skipped) } else { String::new() };
        // Again, and last: of a long run's output often only the end is kept.
        for fault in &self.faults {
            println!("failed: {fault}");
        }
        for name in &self.unsteady {
            println!("unsteady: {name} failed at first and passed on its second try");
        }
        println!("{} passed, {} failed{skipped}", self.passed, self.failed);
        self.failed == 0
    }
}
