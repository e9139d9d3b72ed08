//! The inputs that are kept, put in again with any compiler: the tests' tables, what covers each target (`corpus/`), and what once was wrong
//! (`corpus/TARGET/was-*`). Never mutates anything; `cargo xtask fuzz` does.

use std::path::Path;

use anyhow::{Result, ensure};

/// What is kept for a target, by name; a new one has nothing yet.
fn kept(target: &str) -> Result<Vec<(String, Vec<u8>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut inputs = Vec::new();
    if !folder.exists() {
        return Ok(inputs);
    }
    for entry in folder.read_dir()? {
        let entry = entry?;
        inputs.push((entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?));
    }
    inputs.sort();
    Ok(inputs)
}

#[test]
fn every_target_takes_what_is_kept() -> Result<()> {
    for target in tidegate_fuzz::all() {
        let seeds = (target.seeds)();
        let kept = kept(target.name)?;
        ensure!(!seeds.is_empty() || !kept.is_empty(), "{} has nothing to begin with", target.name);
        let all = seeds.iter().map(|seed| ("a seed", seed));
        for (name, bytes) in all.chain(kept.iter().map(|(name, bytes)| (name.as_str(), bytes))) {
            let run = std::panic::catch_unwind(|| (target.run)(bytes));
            ensure!(run.is_ok(), "{}: {name}: {:?}", target.name, String::from_utf8_lossy(bytes));
        }
        println!("{}: {} seeds, {} kept inputs", target.name, seeds.len(), kept.len());
    }
    Ok(())
}

#[test]
fn names_are_unique_and_every_folder_is_a_targets() -> Result<()> {
    let mut names: Vec<&str> = tidegate_fuzz::all().iter().map(|target| target.name).collect();
    names.sort_unstable();
    ensure!(names.windows(2).all(|two| two[0] != two[1]), "{names:?}");
    for entry in Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").read_dir()? {
        let folder = entry?.file_name().to_string_lossy().into_owned();
        ensure!(names.contains(&folder.as_str()), "corpus/{folder} is no target's; there are {names:?}");
    }
    Ok(())
}
