//! The program that gives each run another source and then jumps to the measured one.

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::maps::ProgramArray;
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use tidegate_tests::program::{Program, object};

/// A loaded shuffle. The jump is lost when the measured program is closed.
pub(crate) struct Shuffle {
    ebpf: Ebpf,
    entry: &'static str,
}

impl Shuffle {
    /// Program `entry` in front of `target` of `program`.
    pub(crate) fn load(entry: &'static str, program: &Program, target: &str) -> Result<Self> {
        let path = object().context("no kernel program")?.with_file_name("tidegate-xdp-shuffle.o");
        let mut ebpf = Ebpf::load_file(&path).with_context(|| format!("loading {}", path.display()))?;
        let mut map = ProgramArray::try_from(ebpf.map_mut("TARGET").context("no map TARGET")?)?;
        map.set(0, program.xdp(target)?.fd()?, 0)?;
        let shuffle: &mut Xdp = ebpf.program_mut(entry).context("no such program")?.try_into()?;
        shuffle.load()?;
        Ok(Self { ebpf, entry })
    }

    /// Return value of the last of `repeat` runs, and the mean time of one in nanoseconds.
    pub(crate) fn run(&self, frame: &[u8], repeat: u32) -> Result<(u32, f64)> {
        let shuffle: &Xdp = self.ebpf.program(self.entry).context("no such program")?.try_into()?;
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let result = shuffle.test_run(options)?;
        Ok((result.return_value, result.duration.as_secs_f64() * 1e9))
    }
}
