//! libFuzzer's program: puts its inputs into the target that `TIDEGATE_FUZZ` names; with `TIDEGATE_FUZZ_TABLES` it writes what each target begins
//! with below that folder instead. libFuzzer has its own `main` and arguments, so that both come by the environment. Never judges an input.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;
use std::{fs, io};

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{Target, all, named};

static TARGET: OnceLock<Target> = OnceLock::new();

fn chosen() -> Target {
    let name = std::env::var("TIDEGATE_FUZZ").unwrap_or_default();
    named(&name).unwrap_or_else(|| {
        eprintln!("TIDEGATE_FUZZ names no target; `cargo xtask fuzz --list` does");
        std::process::exit(2)
    })
}

fn begin() {
    let Some(folder) = std::env::var_os("TIDEGATE_FUZZ_TABLES") else { return };
    let written = all().iter().try_for_each(|target| write(target, &Path::new(&folder).join(target.name)));
    if let Err(error) = written {
        eprintln!("{}: {error}", folder.display());
        std::process::exit(1)
    }
    std::process::exit(0)
}

fn write(target: &Target, folder: &Path) -> io::Result<()> {
    let seeds = folder.join("seeds");
    fs::create_dir_all(&seeds)?;
    for (number, seed) in (target.seeds)().iter().enumerate() {
        fs::write(seeds.join(format!("{number:04}")), seed)?;
    }
    fs::write(folder.join("words.dict"), target.words.iter().map(|word| quoted(word)).collect::<String>())?;
    println!("{} {}", target.name, target.most_bytes);
    Ok(())
}

/// A line of a dictionary.
fn quoted(word: &[u8]) -> String {
    let bytes: String = word.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("\"{bytes}\"\n")
}

fuzz_target!(init: begin(), |bytes: &[u8]| (TARGET.get_or_init(chosen).run)(bytes));
