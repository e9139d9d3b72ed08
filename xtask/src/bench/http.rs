//! `cargo xtask bench http`: what a request costs, beside haproxy, nginx and Envoy in the same rounds.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::contender::{Contender, Kind, PROXY_CORE, Served, Setting, Site, h2load, wrk};
use super::floor::{Act, Pipe};
use super::plot::Plot;
use super::report::{Report, Row};
use super::rounds::{Case, interleave};
use super::{Scale, load, machine};

/// Connections that are left idle.
const IDLE: usize = 2_000;
/// Requests per second at which latency is measured.
const PACE: f64 = 2_000.0;
/// Large answers that are fetched beside small ones, and these per second.
const DOWNLOADS: usize = 32;
const BESIDE_PACE: f64 = 200.0;
/// What is asked of every proxy under load.
const SERVED: [(&str, Setting); 5] = [
    ("plain", Setting::Plain),
    ("TLS", Setting::Tls),
    ("h2", Setting::Http2),
    ("all ceilings on", Setting::Watched),
    ("shed", Setting::Ceiling(1)),
];

const NOTES: &str = "\
A small answer from an nginx origin over HTTP/1.1 with keep-alive. Each proxy has one thread on the first core; load and origin share the
second one, so requests per second are bounded by them as much as by the proxy: CPU time per request (user and system, from /proc) is what
tells proxies apart. *plain*: HTTP/1.1, 64 connections from wrk. *TLS*: the same over TLS 1.3. *h2*: in cleartext, 16 connections of 4
streams from h2load. *All ceilings on*: rates and concurrency for everyone and for the home region, none reached (haproxy: a stick table;
nginx: `limit_req`; Envoy: its local rate limit). *Shed*: all but one request per second refused. *Isthmus*: the near edge hands over to a
far one by HTTP/2 and mutual TLS, CPU time of either; haproxy does the same work between two of its own (nginx speaks no HTTP/2 to servers).
*Added*: latency at a steady 2,000 requests per second over 32 connections, less that of the origin alone in the same rounds.
*Beside 32 downloads*: latency at a steady 200 requests per second over 16 connections, while 32 others fetch 8 MiB again and again as fast as
they get it, and what these get. *Idle connection*: growth of resident memory by 2,000 connections that were used once. A baseline is the better of haproxy and nginx; of a
shed, tidegate's (or that proxy's own) plain request; of memory, what was promised. *bare hyper* decides nothing and adds no field: what a
proxy of that library alone costs, which tidegate has its HTTP/2 from (`daemon/examples/bare_proxy.rs`). *Byte pipe* and *canned answer* are
what system calls alone cost: one thread that reads a request and writes it to the origin, reads the answer and writes it back, looking at
nothing, and one that reads and writes the same 503 each time. The ratio of the second to the first is the least that a shed can cost of a
serve where each request is answered with a read and a write of its own.";

/// What the canned answer is: a refusal, as long as tidegate's.
const CANNED: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\nretry-after: 1\r\n\
    cache-control: no-store\r\ntidegate-reason: requests_per_second\r\ncontent-length: 20\r\n\
    date: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nService Unavailable\n";

/// Runs the bench.
pub(super) fn run(scale: Scale) -> Result<Report> {
    let site = Site::prepare()?;
    let (rounds, seconds) = if scale.quick { (1, 1) } else { (4, 2) };
    let memory = memory(&site)?;
    let started = SERVED.iter().map(|(what, setting)| Ok((*what, *setting, contenders(&site, *setting)?)));
    let groups = started.collect::<Result<Vec<_>>>()?;
    let near = [site.start(Kind::Tidegate, Setting::Isthmus)?, site.start(Kind::Haproxy, Setting::Isthmus)?];
    let carries = Pipe::start(Act::Carry(site.origin), Some(PROXY_CORE))?;
    let refuses = Pipe::start(Act::Answer(CANNED), Some(PROXY_CORE))?;
    let mut cases = Vec::from(floor_cases("plain, byte pipe", &carries, seconds));
    let [cpu, rate] = floor_cases("shed, canned answer", &refuses, seconds);
    cases.extend([cpu.against("plain, byte pipe"), rate]);
    for (what, setting, contenders) in &groups {
        for one in contenders {
            cases.extend(load_cases(one, what, *setting, seconds));
        }
    }
    for one in &near {
        cases.extend(isthmus_cases(one, seconds));
    }
    cases.extend(latency_cases(&site, &groups[0].2, seconds));
    for one in &groups[0].2 {
        cases.extend(beside_cases(one, seconds));
    }
    let mut rows = interleave(rounds, cases)?;
    let of = |unit: &str| rows.iter().filter(|row| row.unit == unit).cloned().collect();
    let plots = vec![
        (
            "bench-http.svg",
            Plot::Bars { title: "CPU time per request, µs".to_owned(), rows: of("CPU µs/req") },
        ),
        (
            "bench-http-latency.svg",
            Plot::Bars { title: "Latency added at 2,000 requests/s, µs".to_owned(), rows: of("µs") },
        ),
    ];
    rows.extend(memory);
    let mut notes = NOTES.to_owned();
    if site.no_envoy.is_some() {
        notes += " Envoy could not be installed where this was measured.";
    }
    Ok(Report { bench: "http", rows, notes, plots })
}

/// All proxies, and hyper alone where it can do the same.
fn contenders(site: &Site, setting: Setting) -> Result<Vec<Contender>> {
    let mut all = site.all(setting)?;
    if matches!(setting, Setting::Plain | Setting::Http2) {
        all.push(site.start(Kind::Bare, setting)?);
    }
    Ok(all)
}

/// Resident memory of each when it has just started, and what an idle connection adds.
fn memory(site: &Site) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for kind in site.kinds() {
        eprintln!("  {}: {IDLE} idle connections", kind.name());
        let one = site.start(kind, Setting::Plain)?;
        let ours = kind == Kind::Tidegate;
        let before = one.resident_kib()?;
        let open =
            load::idle(one.address, IDLE).with_context(|| format!("{}: idle connections", one.name()))?;
        let each = (one.resident_kib()? - before) / IDLE as f64;
        drop(open);
        let name = |what: &str| format!("{what}, {}", one.name());
        rows.push(Row::single(name("resident, idle"), before / 1024.0, "MiB", ours.then_some(32.0)));
        rows.push(Row::single(name("idle connection"), each, "KiB", ours.then_some(12.0)));
    }
    Ok(rows)
}

/// CPU time and rate of one proxy under one load; both come from one measurement.
fn load_cases<'a>(one: &'a Contender, what: &str, setting: Setting, seconds: u32) -> [Case<'a>; 2] {
    let rate = Rc::new(Cell::new(0.0));
    let seen = Rc::clone(&rate);
    let cpu = Case::new(format!("{what}, {}", one.name()), "CPU µs/req", move || {
        let before = one.cpu_us()?;
        let served = loaded(one, setting, seconds)?;
        rate.set(served.per_second);
        Ok((one.cpu_us()? - before) / served.requests)
    });
    let rate = Case::new(format!("{what}, {}, rate", one.name()), "req/s", move || Ok(seen.get()));
    let best = |case: Case<'a>| match one.kind {
        Kind::Haproxy | Kind::Nginx => case,
        Kind::Tidegate | Kind::Envoy | Kind::Bare => {
            case.against(format!("{what}, haproxy")).against(format!("{what}, nginx"))
        }
    };
    match setting {
        Setting::Ceiling(_) => [cpu.against(format!("plain, {}", one.name())), rate],
        _ => [best(cpu), rate],
    }
}

/// CPU time and rate of a floor.
fn floor_cases<'a>(name: &str, pipe: &'a Pipe, seconds: u32) -> [Case<'a>; 2] {
    let rate = Rc::new(Cell::new(0.0));
    let seen = Rc::clone(&rate);
    let cpu = Case::new(name, "CPU µs/req", move || {
        let before = machine::thread_cpu_us(pipe.thread)?;
        let served = wrk("http", pipe.address, 64, seconds)?;
        rate.set(served.per_second);
        Ok((machine::thread_cpu_us(pipe.thread)? - before) / served.requests)
    });
    [cpu, Case::new(format!("{name}, rate"), "req/s", move || Ok(seen.get()))]
}

fn loaded(one: &Contender, setting: Setting, seconds: u32) -> Result<Served> {
    let served = match setting {
        Setting::Http2 => h2load(one.address, seconds)?,
        Setting::Tls => wrk("https", one.address, 64, seconds)?,
        _ => wrk("http", one.address, 64, seconds)?,
    };
    let good = served.good / served.requests;
    match setting {
        Setting::Ceiling(_) => ensure!(good < 0.01, "{good:.3} of the requests were served, not refused"),
        _ => ensure!(good > 0.999, "only {good:.3} of the requests were served"),
    }
    Ok(served)
}

/// CPU time at the near and the far end.
fn isthmus_cases(one: &Contender, seconds: u32) -> Vec<Case<'_>> {
    let Some(far) = one.far.as_deref() else { return Vec::new() };
    let far_cpu = Rc::new(Cell::new(0.0));
    let seen = Rc::clone(&far_cpu);
    let near = Case::new(format!("isthmus, {}", one.name()), "CPU µs/req", move || {
        let (before, far_before) = (one.cpu_us()?, far.cpu_us()?);
        let served = loaded(one, Setting::Isthmus, seconds)?;
        far_cpu.set((far.cpu_us()? - far_before) / served.requests);
        Ok((one.cpu_us()? - before) / served.requests)
    });
    let far = Case::new(format!("isthmus, far end, {}", one.name()), "CPU µs/req", move || Ok(seen.get()));
    match one.kind {
        Kind::Haproxy => vec![near, far],
        _ => vec![near.against("isthmus, haproxy"), far.against("isthmus, far end, haproxy")],
    }
}

/// What each proxy adds to the origin's own latency.
fn latency_cases<'a>(site: &'a Site, plain: &'a [Contender], seconds: u32) -> Vec<Case<'a>> {
    let direct: Rc<Cell<[f64; 2]>> = Rc::default();
    let length = Duration::from_secs(u64::from(seconds) + 1);
    let own = Rc::clone(&direct);
    let mut cases: Vec<Case<'a>> = pair("origin alone", move || {
        own.set(percentiles(site.origin, length)?);
        Ok(own.get())
    })
    .into();
    for one in plain {
        let direct = Rc::clone(&direct);
        let name = format!("added, {}", one.name());
        let [p50, p99] = pair(&name, move || {
            let ([p50, p99], [own50, own99]) = (percentiles(one.address, length)?, direct.get());
            Ok([p50 - own50, p99 - own99])
        });
        let against = |case: Case<'a>, what: &str| match one.kind {
            Kind::Haproxy | Kind::Nginx => case,
            _ => case.against(format!("added, haproxy, {what}")).against(format!("added, nginx, {what}")),
        };
        cases.extend([against(p50, "p50"), against(p99, "p99")]);
    }
    cases
}

/// Two cases, p50 and p99, from one measurement.
fn pair<'a>(name: &str, mut measure: impl FnMut() -> Result<[f64; 2]> + 'a) -> [Case<'a>; 2] {
    let high = Rc::new(Cell::new(0.0));
    let seen = Rc::clone(&high);
    let p50 = Case::new(format!("{name}, p50"), "µs", move || {
        let [p50, p99] = measure()?;
        high.set(p99);
        Ok(p50)
    });
    [p50, Case::new(format!("{name}, p99"), "µs", move || Ok(seen.get()))]
}

/// Small answers beside large ones: milliseconds, and the bytes that the large ones get meanwhile.
fn beside_cases(one: &Contender, seconds: u32) -> Vec<Case<'_>> {
    let (high, bytes) = <(Rc<Cell<f64>>, Rc<Cell<f64>>)>::default();
    let (seen_high, seen_bytes) = (Rc::clone(&high), Rc::clone(&bytes));
    let length = Duration::from_secs(u64::from(seconds) + 1);
    let name = |what: &str, who: &str| format!("beside {DOWNLOADS} downloads, {who}, {what}");
    let p50 = Case::new(name("p50", one.name()), "ms", move || {
        let large = load::Downloads::start(one.address, "/large", DOWNLOADS)?;
        let (before, began) = (large.bytes(), Instant::now());
        let answers = load::paced(one.address, "/", BESIDE_PACE, length, 16)?;
        bytes.set((large.bytes() - before) as f64 / 1e6 / began.elapsed().as_secs_f64());
        large.end()?;
        let [p50, p99] = middle_and_high(&answers)?.map(|micros| micros / 1e3);
        high.set(p99);
        Ok(p50)
    });
    let p99 = Case::new(name("p99", one.name()), "ms", move || Ok(seen_high.get()));
    let rate = Case::new(name("downloads", one.name()), "MB/s", move || Ok(seen_bytes.get()));
    match one.kind {
        Kind::Haproxy | Kind::Nginx => vec![p50, p99, rate],
        _ => vec![
            p50.against(name("p50", "haproxy")).against(name("p50", "nginx")),
            p99.against(name("p99", "haproxy")).against(name("p99", "nginx")),
            rate,
        ],
    }
}

/// p50 and p99 in microseconds at the steady pace.
fn percentiles(to: SocketAddr, length: Duration) -> Result<[f64; 2]> {
    middle_and_high(&load::paced(to, "/", PACE, length, 32)?)
}

/// p50 and p99 in microseconds.
fn middle_and_high(answers: &[load::Answered]) -> Result<[f64; 2]> {
    ensure!(answers.iter().all(|answer| answer.status == 200), "not all were answered with 200");
    let mut took: Vec<u64> = answers.iter().map(|answer| answer.took_us).collect();
    took.sort_unstable();
    Ok([50, 99].map(|share| took[(took.len() - 1) * share / 100] as f64))
}
