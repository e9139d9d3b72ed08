//! Cost of a packet: says which cases there are, then measures the one whose number it reads.
//!
//! Lines out: `single NAME|VALUE|UNIT`, `case NAME|BASELINE`, `ready`; then one number, in nanoseconds, for each number read.

use std::cell::RefCell;
use std::io::{BufRead as _, Write as _};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tidegate::config::types::Over;
use tidegate::decide::nic::{LimitRow, Limits};
use tidegate_common::names::{BARE, PROGRAM};
use tidegate_tests::packets::build::{ACK, Frame, VLAN};

use crate::filter::Filter;
use crate::load::load;
use crate::shuffle::Shuffle;

const DROP: u32 = 1;
const PASS: u32 = 2;

/// A case: what is measured against which floor.
struct Case {
    name: String,
    floor: String,
    measure: Box<dyn FnMut(u32) -> Result<f64>>,
}

/// Serves until standard input ends.
pub(crate) fn serve(quick: bool) -> Result<()> {
    let repeat = if quick { 100_000 } else { 1_000_000 };
    let scales: &[(usize, usize)] = if quick {
        &[(1_000, 200), (100_000, 20_000)]
    } else {
        &[(1_000, 200), (100_000, 20_000), (1_000_000, 200_000)]
    };
    let mut cases = Vec::new();
    for &(v4, v6) in scales {
        cases.extend(of_scale(v4, v6)?);
    }
    let &(v4, v6) = scales.last().context("scales")?;
    cases.extend(of_limits(v4, v6)?);
    cases.extend(of_filter()?);
    let mut out = std::io::stdout().lock();
    for case in &cases {
        writeln!(out, "case {}|{}", case.name, case.floor)?;
    }
    writeln!(out, "ready")?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        let case = cases.get_mut(line?.trim().parse::<usize>()?).context("no such case")?;
        writeln!(out, "{}", (case.measure)(repeat)?)?;
        out.flush()?;
    }
    Ok(())
}

/// Frames from a source that some prefix may match.
fn frames() -> [Vec<u8>; 2] {
    [
        Frame::new("198.51.100.9", "192.0.2.1").tcp(ACK).bytes(),
        Frame::new("2001:db8:100::9", "2001:db8::1").tcp(ACK).bytes(),
    ]
}

type Shared = Rc<RefCell<tidegate_tests::program::Program>>;

fn hot(program: &Shared, name: &str, floor: &str, entry: &'static str, frame: Vec<u8>, action: u32) -> Case {
    let program = Rc::clone(program);
    Case {
        name: name.to_owned(),
        floor: floor.to_owned(),
        measure: Box::new(move |repeat| {
            let (found, _, time) = program.borrow_mut().run(entry, &frame, repeat)?;
            ensure!(found == action, "action {found} instead of {action}");
            Ok(time.as_secs_f64() * 1e9)
        }),
    }
}

/// Pass, hot and random, with this many prefixes.
fn of_scale(v4: usize, v6: usize) -> Result<Vec<Case>> {
    let loaded = load(v4, v6)?;
    println!("single compile {v4} IPv4 and {v6} IPv6 prefixes|{}|ms", loaded.compile.as_secs_f64() * 1e3);
    println!("single load them into the kernel|{}|ms", loaded.load.as_secs_f64() * 1e3);
    let program: Shared = Rc::new(RefCell::new(loaded.program));
    let [frame4, frame6] = frames();
    let mut cases = vec![
        hot(&program, &format!("floor, {v4} prefixes"), "", BARE, frame4.clone(), PASS),
        hot(
            &program,
            &format!("IPv4 pass, hot, {v4} prefixes"),
            &format!("floor, {v4} prefixes"),
            PROGRAM,
            frame4.clone(),
            PASS,
        ),
        hot(
            &program,
            &format!("IPv6 pass, hot, {v6} prefixes"),
            &format!("floor, {v4} prefixes"),
            PROGRAM,
            frame6.clone(),
            PASS,
        ),
    ];
    for (family, entry, frame, prefixes) in [(4, "shuffle4", frame4, v4), (6, "shuffle6", frame6, v6)] {
        let floor = format!("floor with a random IPv{family} source, {prefixes} prefixes");
        cases.push(shuffled(&program, &floor, "", entry, BARE, frame.clone())?);
        let name = format!("IPv{family} pass, random sources, {prefixes} prefixes");
        cases.push(shuffled(&program, &name, &floor, entry, PROGRAM, frame)?);
    }
    Ok(cases)
}

/// A program that gives each run another source and then jumps to the measured one.
fn shuffled(
    program: &Shared,
    name: &str,
    floor: &str,
    entry: &'static str,
    target: &str,
    frame: Vec<u8>,
) -> Result<Case> {
    let shuffle = Shuffle::load(entry, &program.borrow(), target)?;
    // The jump table is emptied when the program that is jumped to is closed.
    let keep = Rc::clone(program);
    Ok(Case {
        name: name.to_owned(),
        floor: floor.to_owned(),
        measure: Box::new(move |repeat| {
            let _keep = &keep;
            let (found, time) = shuffle.run(&frame, repeat)?;
            ensure!(matches!(found, DROP | PASS), "action {found}");
            Ok(time)
        }),
    })
}

/// Deny, VLAN, below and above a ceiling.
fn of_limits(v4: usize, v6: usize) -> Result<Vec<Case>> {
    let program: Shared = Rc::new(RefCell::new(load(v4, v6)?.program));
    let floor = format!("floor, {v4} prefixes");
    let [frame4, frame6] = frames();
    let denied4 = Frame::new("203.0.113.9", "192.0.2.1").tcp(ACK).bytes();
    let denied6 = Frame::new("2001:db8:dead::9", "2001:db8::1").tcp(ACK).bytes();
    let tagged = Frame::new("198.51.100.9", "192.0.2.1").tcp(ACK).tags(&[VLAN]).bytes();
    let mut cases = vec![
        hot(&program, "IPv4 deny, hot", &floor, PROGRAM, denied4, DROP),
        hot(&program, "IPv6 deny, hot", &floor, PROGRAM, denied6, DROP),
        hot(&program, "IPv4 pass behind a VLAN tag, hot", &floor, PROGRAM, tagged, PASS),
    ];
    for (what, rate, action) in
        [("pass below a ceiling", u64::MAX / 4, PASS), ("shed above a ceiling", 1, DROP)]
    {
        let limited: Shared = Rc::new(RefCell::new(load(v4, v6)?.program));
        limited.borrow_mut().set_limits(&packets(rate))?;
        exhaust(&limited, &frame4, action)?;
        for (family, frame) in [(4, &frame4), (6, &frame6)] {
            let name = format!("IPv{family} {what}, hot");
            cases.push(hot(&limited, &name, &floor, PROGRAM, frame.clone(), action));
        }
    }
    Ok(cases)
}

/// A ceiling of packets for everyone.
fn packets(per_second: u64) -> Limits {
    let row = LimitRow {
        home: None,
        connections_per_second: None,
        packets_per_second: Some(per_second),
        bits_per_second: None,
        burst: Duration::from_millis(100),
        over: Over::Drop,
        observe: false,
    };
    Limits::new(&[row], 2, None)
}

/// Runs until the program does what is measured.
fn exhaust(program: &Shared, frame: &[u8], action: u32) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        if program.borrow_mut().run(PROGRAM, frame, 1_000)?.0 == action {
            return Ok(());
        }
    }
    bail!("the ceiling never came to {action}")
}

/// xdp-filter with one address, and with all its features.
fn of_filter() -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    let passed = frames()[0].clone();
    let dropped = Frame::new("203.0.113.9", "192.0.2.1").tcp(ACK).bytes();
    for (label, name) in [("addresses", "xdpfilt_alw_ip"), ("all features", "xdpfilt_alw_all")] {
        let Some(filter) = Filter::load(name)? else {
            eprintln!("xdp-filter is not installed: left out");
            return Ok(cases);
        };
        let filter = Rc::new(RefCell::new(filter));
        for (what, frame, action) in [("drop", &dropped, DROP), ("pass", &passed, PASS)] {
            let (filter, frame) = (Rc::clone(&filter), frame.clone());
            cases.push(Case {
                name: format!("xdp-filter, {label}: {what}"),
                floor: "floor, 1000 prefixes".to_owned(),
                measure: Box::new(move |repeat| {
                    let (found, time) = filter.borrow_mut().run(&frame, repeat)?;
                    ensure!(found == action, "action {found} instead of {action}");
                    Ok(time)
                }),
            });
        }
    }
    Ok(cases)
}
