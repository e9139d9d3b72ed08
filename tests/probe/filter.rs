//! Debian's xdp-filter, loaded as its own tool would load it, to be measured beside ours.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use aya::maps::{MapData, PerCpuHashMap, PerCpuValues};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader};

/// Where xdp-tools keeps its programs.
const FOLDERS: [&str; 2] = ["/usr/lib/x86_64-linux-gnu/bpf", "/usr/lib/bpf"];
/// `MAP_FLAG_SRC` of xdp-filter: the entry counts for sources.
const SOURCE: u64 = 1;

/// One loaded xdp-filter; its pins lie in a bpffs of its own, which goes when it is dropped.
pub(crate) struct Filter {
    ebpf: Ebpf,
    name: &'static str,
    _pins: Pins,
}

/// A bpffs of this process alone.
struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
        let _ = std::fs::remove_dir(&self.0);
    }
}

impl Pins {
    fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("nic-probe-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        let pins = Self(path);
        rustix::mount::mount("none", &pins.0, "bpf", rustix::mount::MountFlags::empty(), None)
            .context("mounting a bpffs")?;
        Ok(pins)
    }
}

impl Filter {
    /// The program `name` with 203.0.113.9 to be dropped; `None` where xdp-filter is not installed.
    pub(crate) fn load(name: &'static str) -> Result<Option<Self>> {
        let file = format!("{name}.o");
        let Some(path) =
            FOLDERS.iter().map(|folder| Path::new(folder).join(&file)).find(|path| path.is_file())
        else {
            return Ok(None);
        };
        let pins = Pins::new(name)?;
        let mut ebpf = EbpfLoader::new().default_map_pin_directory(&pins.0).load_file(&path)?;
        let map = ebpf.map_mut("filter_ipv4").context("no map filter_ipv4")?;
        let mut map: PerCpuHashMap<&mut MapData, [u8; 4], u64> = PerCpuHashMap::try_from(map)?;
        let cpus = nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
        map.insert([203, 0, 113, 9], PerCpuValues::try_from(vec![SOURCE; cpus])?, 0)?;
        xdp(&mut ebpf, name)?.load()?;
        Ok(Some(Self { ebpf, name, _pins: pins }))
    }

    /// Return value and mean time of a run, in nanoseconds.
    pub(crate) fn run(&mut self, frame: &[u8], repeat: u32) -> Result<(u32, f64)> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let result = xdp(&mut self.ebpf, self.name)?.test_run(options)?;
        Ok((result.return_value, result.duration.as_secs_f64() * 1e9))
    }
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(ebpf.program_mut(name).with_context(|| format!("no program {name}"))?.try_into()?)
}
