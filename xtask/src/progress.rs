//! Shows how far a long step is: the last line on a terminal, a line now and then elsewhere.
//! Never hides a failure: the step's last lines are printed with it.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const KEPT_LINES: usize = 40;
/// Before the second and the third try.
const PAUSES: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];
const EVERY: Duration = Duration::from_secs(15);

/// Runs a long command under a heading.
///
/// # Errors
/// When it can't be started or does not exit with 0.
pub(crate) fn step(what: &str, command: &mut Command) -> Result<()> {
    eprintln!("  {what}");
    let line = crate::sh::shown(command);
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let (lines, received) = mpsc::sync_channel(64);
    forward(child.stdout.take(), lines.clone());
    forward(child.stderr.take(), lines);
    let last = follow(&received, started);
    let status = child.wait()?;
    if !status.success() {
        last.iter().for_each(|line| eprintln!("    {line}"));
        bail!("`{line}` failed ({status})");
    }
    eprintln!("    done in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// The same for what fetches something: a network that hiccups is asked up to three times.
///
/// # Errors
/// When it fails the third time.
pub(crate) fn insist(what: &str, command: &mut Command) -> Result<()> {
    for pause in PAUSES {
        let Err(error) = step(what, command) else { return Ok(()) };
        eprintln!("    {error:#}; once more in {} s", pause.as_secs());
        thread::sleep(pause);
    }
    step(what, command)
}

fn forward(stream: Option<impl Read + Send + 'static>, lines: mpsc::SyncSender<String>) {
    let Some(stream) = stream else { return };
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
}

fn follow(received: &mpsc::Receiver<String>, started: Instant) -> VecDeque<String> {
    let terminal = std::io::stderr().is_terminal();
    let (mut kept, mut seen, mut shown) = (VecDeque::with_capacity(KEPT_LINES), 0_u32, Instant::now());
    while let Ok(line) = received.recv() {
        seen += 1;
        if terminal {
            let short: String = line.trim().chars().take(90).collect();
            eprint!("\r\x1b[K    {:.0} s  {short}", started.elapsed().as_secs_f64());
        } else if shown.elapsed() >= EVERY {
            shown = Instant::now();
            eprintln!("    {:.0} s, {seen} lines, now: {}", started.elapsed().as_secs_f64(), line.trim());
        }
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(line);
    }
    if terminal {
        eprint!("\r\x1b[K");
        let _ = std::io::stderr().flush();
    }
    kept
}
