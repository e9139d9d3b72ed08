//! `cargo xtask fuzz [TARGET...]`: any bytes into the targets of `fuzz/`, guided by coverage (libFuzzer), with the toolchain that builds
//! everything else. Never changes `fuzz/corpus/` unless it is told to keep what it found.

mod program;
mod said;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::{paths, sh};
use program::Target;
use said::Said;

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which targets; all of them without one.
    targets: Vec<String>,
    /// How long each of them runs.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Put what covers more than `fuzz/corpus/` does there, to be committed.
    #[arg(long)]
    keep: bool,
    /// Only name the targets.
    #[arg(long)]
    list: bool,
}

/// Runs `cargo xtask fuzz`.
///
/// # Errors
/// When the fuzzer can't be built, a target does not exist, or an input breaks one; the error names the input's file.
pub(crate) fn run(options: &Options) -> Result<()> {
    let program = program::build()?;
    let all = program::targets(&program, &folder())?;
    if options.list {
        all.iter().for_each(|target| println!("{}", target.name));
        return Ok(());
    }
    let mut broken = Vec::new();
    for target in chosen(&all, &options.targets)? {
        let said = fuzz(&program, target, options.seconds)?;
        println!("{}", said.line(&target.name));
        broken.extend(said.broken.map(|how| format!("{}: {how}", target.name)));
        if options.keep {
            keep(&program, target)?;
        }
    }
    if broken.is_empty() { Ok(()) } else { bail!("{}", broken.join("\n")) }
}

fn chosen<'a>(all: &'a [Target], names: &[String]) -> Result<Vec<&'a Target>> {
    let known = || all.iter().map(|target| target.name.as_str()).collect::<Vec<_>>().join(", ");
    let find = |name: &String| {
        let found = all.iter().find(|target| target.name == *name);
        found.with_context(|| format!("no target `{name}`; there are: {}", known()))
    };
    if names.is_empty() { Ok(all.iter().collect()) } else { names.iter().map(find).collect() }
}

/// Where it all happens: seeds, dictionaries, what was found.
fn folder() -> PathBuf {
    paths::target().join("fuzz")
}

/// Inputs that are committed.
fn kept(target: &Target) -> PathBuf {
    paths::root().join("fuzz/corpus").join(&target.name)
}

/// A target's inputs of this and earlier runs.
fn found(target: &Target) -> PathBuf {
    target.folder.join("found")
}

fn command(program: &Path, target: &Target) -> Command {
    let mut command = Command::new(program);
    command.env("TIDEGATE_FUZZ", &target.name).stdin(Stdio::null());
    command.arg(format!("-max_len={}", target.most_bytes));
    command
}

/// Runs one target; shows a line of libFuzzer's now and then, and keeps all of them in a file.
fn fuzz(program: &Path, target: &Target, seconds: u64) -> Result<Said> {
    let broken = target.folder.join("broken");
    for folder in [found(target), kept(target), broken.clone()] {
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let mut command = command(program, target);
    let words = target.folder.join("words.dict");
    if fs::metadata(&words)?.len() > 0 {
        command.arg(format!("-dict={}", words.display()));
    }
    command
        .args([found(target), kept(target), target.folder.join("seeds")])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", broken.display()))
        .args(["-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1"]);
    eprintln!("== {}: {seconds} s", target.name);
    let mut child = command.stderr(Stdio::piped()).spawn().with_context(|| sh::shown(&command))?;
    let mut log = File::create(target.folder.join("log"))?;
    let mut said = Said::default();
    let stderr = child.stderr.take().context("libFuzzer has no output")?;
    for line in BufReader::new(stderr).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        writeln!(log, "{line}")?;
        if said.take(&line) {
            eprintln!("  {line}");
        }
    }
    let status = child.wait()?;
    ensure!(
        status.success() || said.broken.is_some(),
        "{}: {status}; see {}",
        target.name,
        target.folder.display()
    );
    Ok(said)
}

/// Adds what covers more to what is committed, the smallest inputs first.
fn keep(program: &Path, target: &Target) -> Result<()> {
    let mut command = command(program, target);
    // By places that are reached, not how often: a set that stays small.
    command.args(["-set_cover_merge=1", "-use_counters=0"]).args([
        kept(target),
        found(target),
        target.folder.join("seeds"),
    ]);
    let merged = command.output().with_context(|| sh::shown(&command))?;
    ensure!(merged.status.success(), "{}", String::from_utf8_lossy(&merged.stderr));
    eprintln!("  {} inputs are kept in {}", kept(target).read_dir()?.count(), kept(target).display());
    Ok(())
}
