//! Installs what is missing: the kernel toolchain and the programs that tests and the demo use.
//! Never touches what is there already, and never starts a service.

pub(crate) mod debian;
pub(crate) mod pypi;
pub(crate) mod toolchain;
pub(crate) mod tools;

use anyhow::Result;

use debian::Need;

/// Options of `cargo xtask setup`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Say what is missing and exit with 1 if anything is; install nothing.
    #[arg(long)]
    check: bool,
}

/// What a task needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// The kernel program's build.
    Build,
    /// Namespaces, real servers and clients for tests and the demo.
    Traffic,
    /// Lints that come as programs of their own.
    Lint,
    /// The Debian package, and what judges it and the files beside it.
    Package,
    /// Other people's suites and clients that judge the daemon.
    Judges,
    /// Virtual machines.
    Machine,
    /// The fuzzer.
    Fuzz,
}

/// Runs `cargo xtask setup`.
pub(crate) fn run(options: &Options) -> Result<()> {
    let all = [For::Build, For::Traffic, For::Lint, For::Package, For::Judges];
    if options.check {
        return check(&all);
    }
    ensure(&all)?;
    eprintln!("setup: everything is there");
    Ok(())
}

/// Installs what those tasks miss; quick and silent when nothing is missing.
///
/// # Errors
/// When something is missing and can't be installed; the error carries the commands to run by hand.
pub(crate) fn ensure(tasks: &[For]) -> Result<()> {
    debian::install(&missing_packages(tasks))?;
    for tool in wanted_tools(tasks).into_iter().filter(|tool| !tool.is_there()) {
        tool.install()?;
    }
    for environment in wanted_environments(tasks) {
        environment.install()?;
    }
    Ok(())
}

fn check(tasks: &[For]) -> Result<()> {
    let packages = missing_packages(tasks);
    let tools: Vec<_> = wanted_tools(tasks).into_iter().filter(|tool| !tool.is_there()).collect();
    packages.iter().for_each(|need| eprintln!("missing: {} ({})", need.package, need.why));
    tools.iter().for_each(|tool| eprintln!("missing: {} {}", tool.name, tool.version));
    let environments = wanted_environments(tasks);
    environments.iter().for_each(|environment| eprintln!("missing: {}", environment.name()));
    anyhow::ensure!(
        packages.is_empty() && tools.is_empty() && environments.is_empty(),
        "something is missing; `cargo xtask setup` installs it"
    );
    eprintln!("setup: nothing is missing");
    Ok(())
}

fn missing_packages(tasks: &[For]) -> Vec<Need> {
    let nightly = toolchain::nightly_with_source();
    let mut needs = Vec::new();
    if tasks.contains(&For::Build) {
        if nightly.is_none() {
            needs.extend(debian::DEBIAN_RUSTC);
        }
        if !tools::bpf_linker().is_there() {
            needs.extend(debian::LINKER_BUILD);
        }
        needs.extend(debian::LINKER_RUN);
    }
    if tasks.contains(&For::Traffic) {
        needs.extend_from_slice(debian::TRAFFIC);
    }
    if tasks.contains(&For::Package) {
        needs.extend(debian::PACKAGE);
    }
    if tasks.contains(&For::Judges) {
        needs.extend(debian::JUDGES);
    }
    if tasks.contains(&For::Machine) {
        needs.extend(debian::MACHINE);
    }
    if tasks.contains(&For::Fuzz) {
        needs.extend(debian::FUZZ);
    }
    needs.retain(|need| !need.is_there());
    needs.sort_by_key(|need| need.package);
    needs.dedup_by_key(|need| need.package);
    needs
}

fn wanted_tools(tasks: &[For]) -> Vec<tools::Tool> {
    let mut wanted = Vec::new();
    if tasks.contains(&For::Build) {
        wanted.push(tools::bpf_linker());
    }
    if tasks.contains(&For::Lint) {
        wanted.push(tools::cargo_deny());
    }
    if tasks.contains(&For::Package) {
        wanted.push(tools::cargo_deb());
    }
    if tasks.contains(&For::Judges) {
        wanted.push(tools::httpwg());
    }
    wanted
}

/// The environments of PyPI's packages that are missing.
fn wanted_environments(tasks: &[For]) -> Vec<pypi::Environment> {
    let judges = tasks.contains(&For::Judges).then_some(pypi::JUDGES);
    judges.into_iter().flatten().filter(|environment| !environment.is_there()).collect()
}
