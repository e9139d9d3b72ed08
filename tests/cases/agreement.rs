//! One judgement, two homes: the host's library and the loaded kernel program must say and do the same of the same frames.

use std::collections::{BTreeMap, HashSet};

use anyhow::{Context as _, Result, ensure};
use tidegate_common::abi::Counter;
use tidegate_common::names::PROGRAM;
use tidegate_common::verdict::{Outcome, Reason};
use tidegate_tests::packets::cases::{self, Case, Setup};
use tidegate_tests::packets::model::{Action, Model};
use tidegate_tests::packets::noise::Noise;
use tidegate_tests::program::{Program, object};

/// Frames compared; `TIDEGATE_FRAMES` asks for another number.
const FRAMES: usize = 1_000_000;

#[test]
fn the_host_judges_every_case_as_expected() -> Result<()> {
    let plan = cases::plan()?;
    let all = cases::all();
    ensure!(all.len() >= 150, "{} cases", all.len());
    let names: HashSet<_> = all.iter().map(|case| &case.name).collect();
    ensure!(names.len() == all.len(), "names are not unique");
    let wrong: Vec<_> = all
        .iter()
        .map(|case| (case, Model::new(&plan, case.setup.limits()).judge(&case.frame)))
        .filter(|(case, found)| *found != case.outcome)
        .map(|(case, found)| format!("{}: {found:?} instead of {:?}", case.name, case.outcome))
        .collect();
    ensure!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), all.len(), wrong.join("\n"));
    println!("{} cases", all.len());
    Ok(())
}

#[test]
fn an_ended_lease_lets_everything_pass() -> Result<()> {
    let plan = cases::plan()?;
    for case in cases::all() {
        let mut model = Model::new(&plan, case.setup.limits());
        model.deadline_ns = model.now_ns;
        let found = model.judge(&case.frame).reason;
        let unconcerned = case.outcome.home == 0;
        let expected = if unconcerned { case.outcome.reason } else { Reason::LeaseExpired };
        ensure!(found == expected, "{}: {found:?}", case.name);
    }
    Ok(())
}

/// The loaded program, or why it can't be had.
fn program() -> Result<Option<Program>> {
    let Some(object) = object() else {
        println!("SKIP: no kernel program was built (cargo xtask build)");
        return Ok(None);
    };
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: loading a kernel program needs root");
        return Ok(None);
    }
    let object = std::fs::read(&object).with_context(|| format!("reading {}", object.display()))?;
    Ok(Some(Program::load(&object, &cases::plan()?)?))
}

#[test]
fn the_loaded_program_judges_every_case_as_expected() -> Result<()> {
    let Some(mut program) = program()? else { return Ok(()) };
    let mut wrong = Vec::new();
    for setup in Setup::ALL {
        program.set_limits(&setup.limits())?;
        for case in cases::all().iter().filter(|case| case.setup == setup) {
            wrong.extend(difference(&mut program, &case.frame, case.outcome)?.map(|text| named(case, &text)));
        }
    }
    ensure!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}

fn named(case: &Case, text: &str) -> String {
    format!("{}: {text}", case.name)
}

/// What the program says or does otherwise than expected.
fn difference(program: &mut Program, frame: &[u8], expected: Outcome) -> Result<Option<String>> {
    let told = program.explain(frame)?;
    if told != expected {
        return Ok(Some(format!("explained as {told:?} instead of {expected:?}")));
    }
    let action = Action::of(expected, frame);
    let (number, out, _) = program.run(PROGRAM, frame, 1)?;
    if number != action.number() {
        return Ok(Some(format!("action {number} instead of {}", action.number())));
    }
    let written = match &action {
        Action::Answer(answer) => answer,
        _ => frame,
    };
    Ok((out != *written).then(|| format!("frame {out:02x?} instead of {written:02x?}")))
}

#[test]
fn a_million_random_frames_are_judged_alike() -> Result<()> {
    let Some(mut program) = program()? else { return Ok(()) };
    let number =
        |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let seed = number("TIDEGATE_SEED", u64::from(std::process::id()) << 20);
    let frames = usize::try_from(number("TIDEGATE_FRAMES", FRAMES as u64))?;
    println!("TIDEGATE_SEED={seed} TIDEGATE_FRAMES={frames}");
    let plan = cases::plan()?;
    let base: Vec<Vec<u8>> = cases::all().into_iter().map(|case| case.frame).collect();
    let mut noise = Noise::new(seed);
    let mut tally = BTreeMap::new();
    for setup in Setup::ALL {
        program.set_limits(&setup.limits())?;
        let model = Model::new(&plan, setup.limits());
        for _ in 0..frames / Setup::ALL.len() {
            let frame = noise.frame(&base);
            let expected = model.judge(&frame);
            let counter: &mut Counter = tally.entry((expected.reason, expected.home)).or_default();
            counter.packets += 1;
            counter.bytes += frame.len() as u64;
            if let Some(text) = difference(&mut program, &frame, expected)? {
                anyhow::bail!("TIDEGATE_SEED={seed}, {setup:?}: {text}\nframe {frame:02x?}");
            }
        }
    }
    counted(&mut program, &tally)
}

/// Counters by reason and home are what the host counted.
fn counted(program: &mut Program, tally: &BTreeMap<(Reason, u8), Counter>) -> Result<()> {
    for &reason in Reason::ALL {
        for home in 0..=4 {
            let expected = tally.get(&(reason, home)).copied().unwrap_or_default();
            let found = program.counter(reason, home)?;
            ensure!(found == expected, "{reason:?} of home {home}: {found:?} instead of {expected:?}");
        }
    }
    println!("{tally:?}");
    Ok(())
}
