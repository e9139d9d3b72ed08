//! The process that measures the kernel program: builds it with its programs, starts it, speaks with it in lines.
//! Never loads or measures anything in this process.

use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use super::Scale;
use super::report::Row;
use super::rounds::{Case, interleave};
use crate::{build, paths, sh};

/// A running probe; it ends when its input does.
struct Probe {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// Builds what the probe needs, and starts it.
fn start(bench: &str, scale: Scale) -> Result<Probe> {
    ensure!(rustix::process::geteuid().is_root(), "loading a kernel program needs root");
    let object = build::kernel()?;
    build::shuffle()?;
    let mut cargo = sh::cargo();
    cargo.args(["build", "--release", "--quiet", "--package", "tidegate-tests", "--bin", "nic-probe"]);
    sh::run(&mut cargo).context("building nic-probe")?;
    let mut command = Command::new(paths::target().join("release/nic-probe"));
    command.arg(bench).args(scale.quick.then_some("--quick"));
    let mut child = command
        .env("TIDEGATE_KERNEL_OBJECT", object)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting nic-probe")?;
    let input = child.stdin.take();
    let output = BufReader::new(child.stdout.take().context("the probe has no output")?);
    Ok(Probe { child, input, output })
}

impl Probe {
    fn line(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        let bytes = self.output.read_line(&mut line)?;
        Ok((bytes > 0).then(|| line.trim_end().to_owned()))
    }

    /// Measures case `index` once.
    fn ask(&mut self, index: usize) -> Result<f64> {
        writeln!(self.input.as_mut().context("the probe takes no input")?, "{index}")?;
        let line = self.line()?.context("the probe ended")?;
        line.parse().with_context(|| format!("the probe said `{line}`"))
    }

    fn finish(mut self) -> Result<()> {
        drop(self.input.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "nic-probe: {status}");
        Ok(())
    }
}

/// A unit as rows keep it.
fn unit(text: &str) -> &'static str {
    match text {
        "ms" => "ms",
        "of ceiling" => "of ceiling",
        _ => "ns/packet",
    }
}

/// All cases of the probe in interleaved rounds, and the single values it gave at its start.
pub(super) fn interleaved(bench: &str, scale: Scale) -> Result<Vec<Row>> {
    let mut probe = start(bench, scale)?;
    let (mut singles, mut names) = (Vec::new(), Vec::new());
    loop {
        let line = probe.line()?.context("nic-probe ended early")?;
        match line.split_once(' ') {
            Some(("single", rest)) => singles.push(single(rest)?),
            Some(("case", rest)) => {
                let (name, floor) = rest.split_once('|').context("a case without floor")?;
                names.push((name.to_owned(), floor.to_owned()));
            }
            _ if line == "ready" => break,
            _ => bail!("nic-probe said `{line}`"),
        }
    }
    let shared = RefCell::new(probe);
    let cases = names.into_iter().enumerate().map(|(index, (name, floor))| {
        let shared = &shared;
        let case = Case::new(name, "ns/packet", move || shared.borrow_mut().ask(index));
        if floor.is_empty() { case } else { case.against(floor) }
    });
    let mut rows = interleave(scale.rounds(), cases.collect())?;
    shared.into_inner().finish()?;
    rows.extend(singles);
    Ok(rows)
}

fn single(rest: &str) -> Result<Row> {
    let [name, value, found] = fields(rest)?;
    Ok(Row::single(name, value.parse()?, unit(found), None))
}

/// The rows that the probe gives by itself.
pub(super) fn rows(bench: &str, scale: Scale) -> Result<Vec<Row>> {
    let mut probe = start(bench, scale)?;
    let mut rows = Vec::new();
    while let Some(line) = probe.line()? {
        let rest = line.strip_prefix("row ").with_context(|| format!("nic-probe said `{line}`"))?;
        let [name, value, found, baseline, runs] = fields(rest)?;
        let runs = runs.split(',').map(str::parse).collect::<Result<_, _>>()?;
        let row = Row {
            name: name.to_owned(),
            value: value.parse()?,
            unit: unit(found),
            baseline: Some(baseline.parse()?),
            runs,
        };
        rows.push(row);
    }
    probe.finish()?;
    Ok(rows)
}

fn fields<const N: usize>(text: &str) -> Result<[&str; N]> {
    let fields: Vec<_> = text.split('|').collect();
    fields.try_into().map_err(|_| anyhow::anyhow!("nic-probe said `{text}`"))
}
