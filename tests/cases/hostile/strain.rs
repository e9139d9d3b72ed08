//! What threads took of the machine while something happened, and how long they waited for it: the kernel's account, read now and then. Never
//! judges.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// Between two readings.
const EVERY: Duration = Duration::from_millis(100);

/// On a CPU, and ready but not on one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Strain {
    pub(crate) ran: Duration,
    pub(crate) waited: Duration,
}

/// A watch over threads; ends when asked for what it saw.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    sees: JoinHandle<Vec<(Instant, Strain)>>,
}

impl Watch {
    /// Watches the threads of a process, and of those that it has started, whose names begin so.
    pub(crate) fn start(process: u32, name: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let sees = std::thread::spawn(move || {
            let (mut seen, all) = (Vec::new(), family(process));
            while !ended.load(Relaxed) {
                seen.push((Instant::now(), read(&all, name)));
                // tidy: sleep because it reads now and then.
                std::thread::sleep(EVERY);
            }
            seen.push((Instant::now(), read(&all, name)));
            seen
        });
        Self { stop, sees }
    }

    /// Ends it.
    pub(crate) fn end(self) -> Result<Seen> {
        self.stop.store(true, Relaxed);
        Ok(Seen(self.sees.join().map_err(|_| anyhow!("the watch panicked"))?))
    }
}

/// Readings, the oldest first.
pub(crate) struct Seen(Vec<(Instant, Strain)>);

impl Seen {
    /// The strain within a time, as near as the readings lie.
    pub(crate) fn within(&self, span: &Range<Instant>) -> Strain {
        let at = |when: Instant| {
            let after = self.0.iter().find(|(seen, _)| *seen >= when).or(self.0.last());
            after.map(|(_, strain)| *strain).unwrap_or_default()
        };
        let (from, to) = (at(span.start), at(span.end));
        Strain { ran: to.ran.saturating_sub(from.ran), waited: to.waited.saturating_sub(from.waited) }
    }
}

/// A process and those that it has started.
pub(crate) fn family(process: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(process).chain(children).collect()
}

/// The account of all these threads together; those that have ended are not in it.
fn read(processes: &[u32], name: &str) -> Strain {
    let tasks = |process| fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let paths = processes.iter().flat_map(tasks).map(|thread| thread.path());
    paths.filter(|path| is_called(path, name)).filter_map(|path| account(&path)).fold(
        Strain::default(),
        |sum, strain| Strain { ran: sum.ran + strain.ran, waited: sum.waited + strain.waited },
    )
}

fn is_called(thread: &Path, name: &str) -> bool {
    fs::read_to_string(thread.join("comm")).is_ok_and(|found| found.starts_with(name))
}

/// `Documentation/scheduler/sched-stats.rst`: nanoseconds on a CPU, and in its queue.
fn account(thread: &Path) -> Option<Strain> {
    let text = fs::read_to_string(thread.join("schedstat")).ok()?;
    let mut numbers = text.split_whitespace().map(|number| number.parse().ok().map(Duration::from_nanos));
    Some(Strain { ran: numbers.next()??, waited: numbers.next()?? })
}
