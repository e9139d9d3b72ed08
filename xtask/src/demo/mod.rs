//! `cargo xtask demo`: two regions in network namespaces, real traffic by real tools, told as it happens.
//! Never touches the machine's own network, and leaves nothing behind however it ends.

mod acts;
mod cache_acts;
mod flood;
mod gauge;
mod nic_acts;
mod shop;
mod store;
mod tale;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::setup::debian::is_root;
use crate::setup::{self, For};
use crate::{build, paths};
use tale::Tale;
use world::World;

/// Options of `cargo xtask demo`.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Leave both regions running, print what to try, and clean up on Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Use an optimised build.
    #[arg(long)]
    release: bool,
}

/// Whether someone asked to stop; asked between steps, so that everything is cleaned up on the way out.
#[derive(Clone)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens for SIGINT and SIGTERM; a second one ends the process at once.
    fn listen() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))?;
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Self(flag))
    }

    /// # Errors
    /// When someone asked.
    fn check(&self) -> Result<()> {
        ensure!(!self.0.load(Ordering::Relaxed), "interrupted");
        Ok(())
    }

    /// Waits that long, or until someone asks.
    ///
    /// # Errors
    /// When someone asked.
    fn wait(&self, time: Duration) -> Result<()> {
        let until = std::time::Instant::now() + time;
        while let Some(left) = until.checked_duration_since(std::time::Instant::now()) {
            self.check()?;
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
        self.check()
    }
}

/// Runs `cargo xtask demo`.
pub(crate) fn run(options: &Options) -> Result<()> {
    let (held, missed) = play(options)?;
    println!("\n{held} of {} things observed", held + missed);
    ensure!(missed == 0, "the demo did not see all it promises");
    Ok(())
}

/// Plays it and returns how many things were observed and how many were not.
pub(crate) fn play(options: &Options) -> Result<(u64, u64)> {
    if !is_root() {
        bail!("the demo makes network namespaces and loads an XDP program: run it as root");
    }
    setup::ensure(&[For::Build, For::Traffic])?;
    build::kernel()?;
    build::host(options.release)?;
    let stop = Stop::listen()?;
    let mut tale = Tale::new();
    let mut world =
        World::build(&tale, paths::tidegate(options.release)).context("setting the two regions up")?;
    let played = acts::play(&mut tale, &mut world, &stop)
        .and_then(|()| cache_acts::play(&mut tale, &world, &stop))
        .and_then(|()| nic_acts::play(&mut tale, &mut world, &stop));
    if played.is_err() {
        world.show_logs();
    }
    played?;
    if options.keep {
        keep(&tale, &world, &stop);
    }
    Ok(tale.counts())
}

fn keep(tale: &Tale, world: &World, stop: &Stop) {
    tale.act("Both regions stay; Ctrl-C removes them");
    world.what_to_try().iter().for_each(|line| tale.tell(line));
    while stop.wait(Duration::from_secs(3600)).is_ok() {}
}
