//! Has the running kernel's verifier judge the program, then asks the loaded program about each named packet.
//! Attaches nothing, and needs nothing but the kernel, a bpf(2) and the object file.

use anyhow::{Context as _, Result, ensure};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use tidegate_common::names::{BARE, EXPLAIN, PROGRAM};
use tidegate_tests::packets::cases::{self, Setup};
use tidegate_tests::program::{Program, object};

/// Last lines of the verifier's log that are shown.
const LAST_LINES: usize = 120;
/// aya-log's level for debug lines; 0 is none.
const DEBUG: u8 = 4;

/// Prints one line for each program with the instructions that the verifier processed, and one about the packets.
pub(crate) fn run() -> Result<()> {
    let object = object().context("no kernel program: run `cargo xtask build`")?;
    let object = std::fs::read(&object).with_context(|| format!("reading {}", object.display()))?;
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    judge(&kernel, &object, 0, "")?;
    judge(&kernel, &object, DEBUG, " with debug lines")?;
    packets(&kernel, &object)
}

fn judge(kernel: &str, object: &[u8], lines: u8, how: &str) -> Result<()> {
    let mut ebpf = loaded(object, lines, VerifierLogLevel::STATS)?;
    for name in [PROGRAM, EXPLAIN, BARE] {
        let program = xdp(&mut ebpf, name)?;
        if program.load().is_err() {
            anyhow::bail!("Linux {kernel} refuses {name}:\n{}", last_words(object, lines, name)?);
        }
        let info = program.info()?;
        let processed = info.verified_instruction_count().map_or("unknown".into(), |count| count.to_string());
        let translated = info.size_translated().unwrap_or(0) / 8;
        println!(
            "verify: Linux {kernel}: {name}{how}: {processed} instructions processed, {translated} long"
        );
    }
    Ok(())
}

fn loaded(object: &[u8], lines: u8, level: VerifierLogLevel) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    loader.override_global("AYA_LOG_LEVEL", &lines, true);
    Ok(loader.verifier_log_level(level).load(object)?)
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}

/// The end of the verifier's whole log, by a second try.
fn last_words(object: &[u8], lines: u8, name: &str) -> Result<String> {
    let mut ebpf = loaded(object, lines, VerifierLogLevel::DEBUG | VerifierLogLevel::STATS)?;
    let Err(why) = xdp(&mut ebpf, name)?.load() else { return Ok("(and took it the second time)".into()) };
    let why = format!("{:#}", anyhow::Error::new(why));
    let lines: Vec<_> = why.lines().collect();
    Ok(lines[lines.len().saturating_sub(LAST_LINES)..].join("\n"))
}

fn packets(kernel: &str, object: &[u8]) -> Result<()> {
    let mut program = Program::load(object, &cases::plan()?)?;
    let all = cases::all();
    for setup in Setup::ALL {
        program.set_limits(&setup.limits())?;
        for case in all.iter().filter(|case| case.setup == setup) {
            let told = program.explain(&case.frame)?;
            ensure!(told == case.outcome, "{}: {told:?} instead of {:?}", case.name, case.outcome);
        }
    }
    println!("verify: Linux {kernel}: {} packets judged as expected", all.len());
    Ok(())
}
