//! Changed inputs without a look at what they cover, with any compiler's build: the same few each time, others with `TIDEGATE_FUZZ_SEED=N`, and for
//! longer with `TIDEGATE_FUZZ_SECONDS=600` for each target. Never keeps an input: `cargo xtask fuzz` does.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidegate_fuzz::Target;
use tidegate_fuzz::cut::Cuts;

/// Inputs of each target.
const INPUTS: u64 = 1_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What there is to begin with.
fn inputs(target: &Target) -> Result<Vec<Vec<u8>>> {
    let mut inputs = (target.seeds)();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    if kept.exists() {
        for entry in kept.read_dir()? {
            inputs.push(std::fs::read(entry?.path())?);
        }
    }
    inputs.sort();
    Ok(inputs)
}

/// An input with a few changes.
fn changed(inputs: &[Vec<u8>], target: &Target, cuts: &mut Cuts) -> Vec<u8> {
    let mut bytes = inputs[cuts.below(inputs.len())].clone();
    for _ in 0..1 + cuts.below(6) {
        let at = cuts.below(bytes.len() + 1);
        let part = match cuts.below(8) {
            0 if at < bytes.len() => {
                bytes[at] ^= 1 << cuts.below(8);
                continue;
            }
            1 if at < bytes.len() => {
                bytes[at] = u8::try_from(cuts.below(256)).unwrap_or(0);
                continue;
            }
            2 => {
                bytes.drain(at..(at + cuts.below(20)).min(bytes.len()));
                continue;
            }
            3 => bytes[at..(at + cuts.below(40)).min(bytes.len())].to_vec(),
            4 => vec![b'k'; cuts.below(400)],
            5 if !target.words.is_empty() => target.words[cuts.below(target.words.len())].to_vec(),
            _ => {
                let other = &inputs[cuts.below(inputs.len())];
                other[cuts.below(other.len() + 1)..].to_vec()
            }
        };
        bytes.splice(at..at, part);
    }
    bytes.truncate(target.most_bytes);
    bytes
}

/// How much is put in: as many inputs, or for so long.
#[derive(Clone, Copy)]
enum Amount {
    Inputs(u64),
    Time(Duration),
}

/// Runs a target; how many inputs that were.
fn run(target: &Target, seed: u64, amount: Amount) -> Result<u64> {
    let (inputs, began) = (inputs(target)?, Instant::now());
    for count in 0.. {
        let over = match amount {
            Amount::Inputs(inputs) => count >= inputs,
            Amount::Time(time) => count % 64 == 0 && began.elapsed() >= time,
        };
        if over {
            return Ok(count);
        }
        let bytes = changed(&inputs, target, &mut Cuts::of(seed.wrapping_add(count << 20)));
        let run = std::panic::catch_unwind(|| (target.run)(&bytes));
        ensure!(run.is_ok(), "{}: TIDEGATE_FUZZ_SEED={seed}, input {count}: {bytes:02x?}", target.name);
    }
    Ok(u64::MAX)
}

#[test]
fn every_target_takes_what_was_changed() -> Result<()> {
    let amount = number("TIDEGATE_FUZZ_SECONDS")
        .map_or(Amount::Inputs(INPUTS), |seconds| Amount::Time(Duration::from_secs(seconds)));
    let seed = number("TIDEGATE_FUZZ_SEED").unwrap_or(1);
    for target in tidegate_fuzz::all() {
        println!("{}: {} inputs, 0 crashes", target.name, run(&target, seed, amount)?);
    }
    Ok(())
}
