//! Loading a program instance for one plan: its own tables filled, the shared maps reused. Attaches nothing.

use std::io;

use aya::maps::Array;
use aya::programs::{ProgramError, ProgramInfo, TestRun, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use aya_log::EbpfLogger;
use tidegate_common::abi::{PAGE_BYTES, Page};
use tidegate_common::names::{EXPLAIN, PROGRAM, SHARED_MAPS};
use tidegate_common::verdict::Outcome;

use super::lines::Lines;
use super::pins::Pins;
use super::{ApplyError, ExplainError, LoadError};
use crate::decide::nic::NicPlan;

/// Shortest frame that the kernel runs a program on: an Ethernet header.
const SHORTEST_FRAME: usize = 14;

/// The ring of debug lines, and its size where nobody wants any: a page.
const LINES: &str = "AYA_LOGS";
const NO_LINES_BYTES: u32 = 4096;

/// A loaded program with its tables; the kernel frees them when nothing uses them any more.
pub(crate) struct Loaded {
    ebpf: Ebpf,
    /// The program's debug lines, if they were asked for.
    lines: Option<EbpfLogger<Lines>>,
}

/// Loads `object` for `plan`. Shared maps that are missing are made and pinned.
pub(crate) fn load(object: &[u8], plan: &NicPlan, pins: &Pins) -> Result<Loaded, LoadError> {
    let (globals, tables) = (plan.globals(), plan.tables());
    let mut loader = EbpfLoader::new();
    for map in &SHARED_MAPS {
        loader.map_pin_path(map.name, pins.map(map.name));
    }
    for (name, bytes) in &globals {
        loader.override_global(name, *bytes, true);
    }
    for (name, pages) in &tables {
        loader.map_max_entries(name, u32::try_from(pages.len().max(1)).unwrap_or(u32::MAX));
    }
    let level = if Lines::are_wanted() { aya_log::Level::Debug as u8 } else { 0 };
    loader.override_global(aya_log::LEVEL, &level, true);
    if level == 0 {
        loader.map_max_entries(LINES, NO_LINES_BYTES);
    }
    let mut ebpf = loader.load(object).map_err(LoadError::Object)?;
    for (name, pages) in &tables {
        fill(&mut ebpf, name, pages)?;
    }
    for name in [PROGRAM, EXPLAIN] {
        let program = xdp(&mut ebpf, name).ok_or(LoadError::Lacks(name))?;
        program.load().map_err(|why| LoadError::Program { name, why: last_words(&why.to_string()) })?;
    }
    let lines = (level != 0).then(|| EbpfLogger::init_with_logger(&mut ebpf, Lines::default()));
    let lines = lines.transpose().unwrap_or_else(|error| {
        tracing::warn!(%error, "no debug lines from the NIC program");
        None
    });
    Ok(Loaded { ebpf, lines })
}

/// A verifier's log may have megabytes; its end says what is wrong.
fn last_words(text: &str) -> String {
    const AT_MOST: usize = 800;
    let cut = text.char_indices().rev().nth(AT_MOST).map(|(at, _)| at);
    cut.map_or_else(|| text.to_owned(), |at| format!("… {}", &text[at..]))
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Option<&'a mut Xdp> {
    ebpf.program_mut(name)?.try_into().ok()
}

/// Writes a table, one page per system call.
fn fill(ebpf: &mut Ebpf, name: &'static str, pages: &[Page]) -> Result<(), LoadError> {
    let failed = |why| LoadError::Table { table: name, why };
    let map = ebpf.map_mut(name).ok_or(LoadError::Lacks(name))?;
    let mut table: Array<_, [u8; PAGE_BYTES]> = map.try_into().map_err(failed)?;
    for (index, page) in pages.iter().enumerate() {
        let bytes: &[u8; PAGE_BYTES] = &page.bytes;
        table.set(u32::try_from(index).unwrap_or(u32::MAX), bytes, 0).map_err(failed)?;
    }
    Ok(())
}

impl Loaded {
    /// The reader of the program's debug lines, once.
    pub(crate) fn take_lines(&mut self) -> Option<EbpfLogger<Lines>> {
        self.lines.take()
    }

    /// The program for interfaces.
    pub(crate) fn program(&mut self) -> Result<&mut Xdp, LoadError> {
        xdp(&mut self.ebpf, PROGRAM).ok_or(LoadError::Lacks(PROGRAM))
    }

    /// What the kernel knows of it.
    pub(crate) fn info(&self) -> Result<ProgramInfo, ProgramError> {
        self.ebpf.program(PROGRAM).ok_or(ProgramError::NotLoaded)?.info()
    }

    /// The program's verdict on `frame`, by a test run of its side-effect-free twin.
    pub(crate) fn explain(&self, frame: &[u8]) -> Result<Outcome, ExplainError> {
        if frame.len() < SHORTEST_FRAME {
            return Err(ExplainError::TooShort(frame.len()));
        }
        let program = self.ebpf.program(EXPLAIN).ok_or(ExplainError::NotLoaded)?;
        let program: &Xdp = program.try_into().map_err(ExplainError::Run)?;
        let options = TestRunOptions { data_in: Some(frame), ..TestRunOptions::default() };
        let code = program.test_run(options).map_err(ExplainError::Run)?.return_value;
        Outcome::decode(code).ok_or(ExplainError::Answer(code))
    }
}

/// Puts the program's pin in the place of the one before, in one step.
pub(crate) fn pin_program(loaded: &mut Loaded, pins: &Pins) -> Result<(), ApplyError> {
    let (next, place) = (pins.next_program(), pins.program());
    // An earlier daemon may have ended between the two steps below.
    match std::fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(ApplyError::Pin(error)),
        _ => {}
    }
    loaded.program()?.pin(&next).map_err(|error| ApplyError::Pin(io::Error::other(error)))?;
    std::fs::rename(&next, &place).map_err(ApplyError::Pin)
}
