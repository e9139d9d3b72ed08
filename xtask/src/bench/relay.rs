//! `cargo xtask bench relay`: what the front costs beside memcached itself and twemproxy, and how fast a region makes the other forget.

mod delivery;
mod floor;
mod load;
mod pair;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};

use self::floor::Log;
use self::load::{Load, Seen, Shape};
use self::pair::{Pair, Twemproxy};
use super::floor::{Act, Pipe};
use super::plot::Plot;
use super::report::{Report, Row};
use super::rounds::{self, Case};
use super::{Scale, machine};
use crate::build;
use crate::setup::{self, For};

const NOTES: &str = "\
One worker; two regions with a memcached each (one thread). The load is one thread that keeps every connection busy with batches of the
given depth and checks every answer; 10,000 keys (1,677 of 10 KB). Load, memcached and daemons share this machine's cores, so a front takes
from what memcached and the load could use: the CPU time per operation of the process that is asked (memcached, the front, twemproxy) says
what a front costs by itself. A baseline is memcached alone in the same rounds. *Captured* writes go to the other region all the while,
*not captured* ones come through `refill_listen`; twemproxy is Debian's and speaks text only. The *byte pipe* is one thread that copies
between each client's socket and one to memcached, two reads and two writes per request: what a hop costs that shares nothing. Readers have 16
connections, writers 64, where a row says nothing else. At depth 1 the front and twemproxy send what several clients ask over one
connection. *Made durable*: a small append, the least that a commit costs. *Forgotten*: distinct keys per second from the first write until the other region has applied the last, durable in between. *Answer to gone*: from the client's answer until a reader
in the other region sees a miss, polling; it contains the poll's own round trip. *Catch-up*: the other region is stopped while keys are
deleted, and started again; the time is from when its daemon answers. Disks are virtual: fsync is indicative.";

/// Someone who answers.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    to: SocketAddr,
    process: Meter,
}

/// Whose CPU time.
#[derive(Clone, Copy)]
enum Meter {
    Process(u32),
    /// A thread of this process.
    Thread(u32),
}

impl Meter {
    /// So far, in microseconds.
    fn us(self) -> Result<f64> {
        match self {
            Self::Process(id) => machine::cpu_us(id),
            Self::Thread(id) => machine::thread_cpu_us(id),
        }
    }
}

/// Runs the bench.
pub(super) fn run(scale: Scale) -> Result<Report> {
    setup::ensure(&[For::Traffic])?;
    let (group, os) = (Pair::start(binary()?, "")?, Pair::start(binary()?, "spool = { sync = \"os\" }")?);
    let mut rows = fronts(scale, &group, &os)?;
    let plot = |title: &str, unit: &str, rows: &[Row]| Plot::Bars {
        title: title.to_owned(),
        rows: rows.iter().filter(|row| row.unit == unit).cloned().collect(),
    };
    let plots = vec![
        ("bench-relay.svg", plot("Operations per second (tick: memcached alone)", "ops/s", &rows)),
        ("bench-relay-cpu.svg", plot("CPU time per operation, µs", "CPU µs/op", &rows)),
    ];
    drop(os);
    rows.extend(delivery::rows(scale, group)?);
    Ok(Report { bench: "relay", rows, notes: NOTES.to_owned(), plots })
}

/// The binary that is measured: `TIDEGATE_BIN`, else built from here.
fn binary() -> Result<PathBuf> {
    match std::env::var_os("TIDEGATE_BIN") {
        Some(path) => Ok(path.into()),
        None => build::host(true),
    }
}

/// Operations per second of each kind, directly and through the fronts.
fn fronts(scale: Scale, group: &Pair, os: &Pair) -> Result<Vec<Row>> {
    let time = Duration::from_millis(if scale.quick { 200 } else { 700 });
    let server = &group.eu.servers[0];
    let twemproxy = Twemproxy::start(server.address())?;
    let memcached = server.id().context("memcached ended")?;
    let direct = Way { name: "memcached", to: server.address(), process: Meter::Process(memcached) };
    let pipe = Pipe::start(Act::Carry(server.address()), None)?;
    let front = |name, to, pair: &Pair| {
        Ok::<_, anyhow::Error>(Way { name, to, process: Meter::Process(pair.process()?) })
    };
    let between = Way { name: "twemproxy", to: twemproxy.address, process: Meter::Process(twemproxy.id()) };
    let hop = Way { name: "byte pipe", to: pipe.address, process: Meter::Thread(pipe.thread) };
    let reads = [direct, front("front", group.eu.front(), group)?, hop, between];
    let writes = [
        direct,
        front("front, not captured", group.uncaptured, group)?,
        front("front, captured, os", os.eu.front(), os)?,
        front("front, captured, group", group.eu.front(), group)?,
        hop,
        between,
    ];
    let mut cases = Vec::new();
    for shape in shapes() {
        let ways: &[Way] = if shape.set { &writes } else { &reads };
        let small = shape.size == 100;
        let asks = |way: &Way| match way.name {
            "twemproxy" => !shape.binary,
            "byte pipe" => small && !shape.binary,
            _ => true,
        };
        for way in ways.iter().filter(|way| asks(way)) {
            cases.extend(asked(*way, shape, time));
        }
    }
    let mut log = Log::make()?;
    let name = format!("append of {} B, made durable", floor::APPEND);
    cases.push(Case::new(name, "µs", move || log.append()));
    rounds::interleave(if scale.quick { 1 } else { 4 }, cases)
}

/// Connections of readers and of writers, unless a row says otherwise.
const READERS: usize = 16;
const WRITERS: usize = 64;

fn shapes() -> Vec<Shape> {
    let mut shapes = Vec::new();
    for (set, connections) in [(false, READERS), (true, WRITERS)] {
        for binary in [false, true] {
            for (size, depth) in [(100, 1), (100, 32), (10_000, 1), (10_000, 32)] {
                shapes.push(Shape { set, binary, size, connections, depth });
            }
            if !set {
                shapes.push(Shape { set, binary, size: 100, connections: WRITERS, depth: 1 });
            }
        }
    }
    shapes
}

/// Operations per second, and for small values over text also CPU time and, at depth 1, latency; all from one measurement.
fn asked(way: Way, shape: Shape, time: Duration) -> Vec<Case<'static>> {
    let Shape { set, binary, size, depth, connections } = shape;
    let (kind, protocol) = (if set { "set" } else { "get" }, if binary { "binary" } else { "text" });
    let shown = if size >= 1_000 { format!("{} KB", size / 1_000) } else { format!("{size} B") };
    let usual = connections == if set { WRITERS } else { READERS };
    let crowd = if usual { String::new() } else { format!(", {connections} connections") };
    let what = format!("{kind}, {protocol}, {shown}, depth {depth}{crowd}");
    let seen: Rc<Cell<(Seen, f64)>> = Rc::default();
    let (load, writes) = (RefCell::new(None), Rc::clone(&seen));
    let rate = Case::new(format!("{what}, {}", way.name), "ops/s", move || {
        let mut kept = load.borrow_mut();
        let load: &mut Load = match &mut *kept {
            Some(load) => load,
            none => none.insert(Load::connect(way.to, shape)?),
        };
        let before = way.process.us()?;
        let seen = load.run(time)?;
        if shape.set {
            // Only readers keep their connections, since theirs begin with writing all keys: memcached takes no more than 1,024.
            *kept = None;
        }
        writes.set((seen, (way.process.us()? - before) / seen.count));
        Ok(seen.per_second)
    });
    let more = |label: &str, unit: &'static str, read: fn((Seen, f64)) -> f64| {
        let seen = Rc::clone(&seen);
        let case = Case::new(format!("{what}, {}, {label}", way.name), unit, move || Ok(read(seen.get())));
        if way.name == "memcached" { case } else { case.against(format!("{what}, memcached, {label}")) }
    };
    let mut cases =
        vec![if way.name == "memcached" { rate } else { rate.against(format!("{what}, memcached")) }];
    if size == 100 {
        cases.push(more("CPU", "CPU µs/op", |(_, cpu)| cpu));
    }
    if size == 100 && depth == 1 && !binary {
        cases.push(more("p50", "µs", |(seen, _)| seen.p50_us));
        cases.push(more("p99", "µs", |(seen, _)| seen.p99_us));
    }
    cases
}
