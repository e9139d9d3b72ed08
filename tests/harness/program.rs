//! The kernel program loaded for test runs: on no interface, with maps of its own and no pins. Never sends a frame.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use aya::maps::{Array, MapData, PerCpuArray, RingBuf};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use tidegate::decide::nic::{Limits, NicPlan};
use tidegate_common::abi::{ABI_VERSION, Control, Counter, PAGE_BYTES, SLOTS, Sample, SlotLimits};
use tidegate_common::names;
use tidegate_common::verdict::{Outcome, Reason};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// The kernel program's object: `TIDEGATE_KERNEL_OBJECT`, else where `cargo xtask build` puts it; `None` if it was not built.
#[must_use]
pub fn object() -> Option<PathBuf> {
    let given = std::env::var_os("TIDEGATE_KERNEL_OBJECT").map(PathBuf::from);
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target")), PathBuf::from);
    Some(given.unwrap_or_else(|| target.join("kernel/tidegate-xdp.o"))).filter(|path| path.is_file())
}

/// A loaded program.
pub struct Program {
    ebpf: Ebpf,
    bank: u64,
    limited: [u64; 4],
}

impl Program {
    /// Loads the object with a plan's tables and globals.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn load(object: &[u8], plan: &NicPlan) -> Result<Self> {
        let mut loader = EbpfLoader::new();
        let globals = plan.globals();
        for (name, bytes) in globals {
            loader.override_global(name, bytes, true);
        }
        for (name, pages) in plan.tables() {
            loader.map_max_entries(name, u32::try_from(pages.len())?);
        }
        // As the daemon loads it when nobody asked for debug lines.
        loader.override_global("AYA_LOG_LEVEL", &0_u8, true);
        let mut ebpf = loader.load(object)?;
        for (name, pages) in plan.tables() {
            let mut table = array::<PAGE_BYTES>(&mut ebpf, name)?;
            for (index, page) in (0u32..).zip(pages) {
                table.set(index, page.bytes, 0)?;
            }
        }
        for name in [names::PROGRAM, names::EXPLAIN, names::BARE] {
            xdp(&mut ebpf, name)?.load()?;
        }
        let mut program = Self { ebpf, bank: 0, limited: [0; 4] };
        program.control(u64::MAX)?;
        Ok(program)
    }

    /// Writes limits into the idle bank and makes it the active one.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_limits(&mut self, limits: &Limits) -> Result<()> {
        self.bank ^= 1;
        self.limited = limits.limited();
        let mut map = array::<{ size_of::<SlotLimits>() }>(&mut self.ebpf, names::LIMITS)?;
        for (slot, limits) in limits.slots().iter().enumerate() {
            let index = u32::try_from(slot + SLOTS * usize::try_from(self.bank)?)?;
            map.set(index, <[u8; size_of::<SlotLimits>()]>::try_from(limits.as_bytes())?, 0)?;
        }
        self.control(u64::MAX)
    }

    /// Sets when the lease ends, in CLOCK_MONOTONIC nanoseconds.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn control(&mut self, deadline_ns: u64) -> Result<()> {
        let control = Control {
            abi: ABI_VERSION.into(),
            bank: self.bank,
            deadline_ns,
            limited: self.limited,
            reserved: 0,
        };
        let mut map = array::<{ size_of::<Control>() }>(&mut self.ebpf, names::CONTROL)?;
        map.set(0, <[u8; size_of::<Control>()]>::try_from(control.as_bytes())?, 0)?;
        next_tick();
        Ok(())
    }

    /// Runs a program on a frame: its return value, the frame after it, and the mean time of a run.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn run(&mut self, name: &str, frame: &[u8], repeat: u32) -> Result<(u32, Vec<u8>, Duration)> {
        let mut out = vec![0; frame.len() + 64];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            repeat,
            ..TestRunOptions::default()
        };
        let result = xdp(&mut self.ebpf, name)?.test_run(options)?;
        out.truncate(usize::try_from(result.data_size_out)?);
        Ok((result.return_value, out, result.duration))
    }

    /// A program by name, for runs from several threads at once.
    ///
    /// # Errors
    /// When there is none.
    pub fn xdp(&self, name: &str) -> Result<&Xdp> {
        Ok(self.ebpf.program(name).with_context(|| format!("no program {name}"))?.try_into()?)
    }

    /// What `explain` says of a frame.
    ///
    /// # Errors
    /// What the kernel says, or an answer that is no outcome.
    pub fn explain(&mut self, frame: &[u8]) -> Result<Outcome> {
        let (code, ..) = self.run(names::EXPLAIN, frame, 1)?;
        Outcome::decode(code).ok_or_else(|| anyhow!("{code:#x} is no outcome"))
    }

    /// Counters of a reason and home, of all CPUs together.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn counter(&self, reason: Reason, home: u8) -> Result<Counter> {
        let index = tidegate_common::abi::counter_index(reason as u8, home);
        let map = self.ebpf.map(names::COUNTERS).context("no COUNTERS")?;
        let map: PerCpuArray<&MapData, [u64; 2]> = PerCpuArray::try_from(map)?;
        let values = map.get(&index, 0)?;
        Ok(values.iter().fold(Counter::default(), |sum, [packets, bytes]| Counter {
            packets: sum.packets + packets,
            bytes: sum.bytes + bytes,
        }))
    }

    /// All samples that wait in the ring.
    ///
    /// # Errors
    /// What the kernel says, or a record that is no sample.
    pub fn samples(&mut self) -> Result<Vec<Sample>> {
        let mut ring = RingBuf::try_from(self.ebpf.map_mut(names::EVENTS).context("no EVENTS")?)?;
        let mut samples = Vec::new();
        while let Some(record) = ring.next() {
            samples.push(Sample::read_from_bytes(&record).map_err(|error| anyhow!("{error}"))?);
        }
        Ok(samples)
    }
}

/// Waits until the timer has ticked: each CPU reads the control anew then.
fn next_tick() {
    let coarse = || rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    let start = coarse();
    while coarse() == start {
        std::thread::yield_now();
    }
}

fn array<'a, const N: usize>(ebpf: &'a mut Ebpf, name: &str) -> Result<Array<&'a mut MapData, [u8; N]>> {
    Ok(Array::try_from(ebpf.map_mut(name).with_context(|| format!("no map {name}"))?)?)
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}
