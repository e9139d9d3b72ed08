//! Developer's commands: one file per task.
//! Holds no logic of the product and never runs as part of it.

mod bench;
mod build;
mod demo;
mod fuzz;
mod package;
mod paths;
mod pictures;
mod progress;
mod setup;
mod sh;
mod test;
mod tidy;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer's commands of tidegate.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building, testing and the demo need (as root on Debian; elsewhere it prints the commands).
    Setup(setup::Options),
    /// Build the kernel program and the `tidegate` binary that carries it.
    Build(build::Options),
    /// Make the Debian package and have lintian judge it.
    Package(package::Options),
    /// Format, lints, documents, all tests, dependencies' licences, tidiness.
    Test(test::Options),
    /// Two regions in network namespaces, real traffic, told as it happens (needs root).
    Demo(demo::Options),
    /// Measure: prints a table (or JSON) and keeps docs/BENCHMARKS.md.
    Bench(bench::Options),
    /// Any bytes into everything that reads bytes from outside, guided by coverage.
    Fuzz(fuzz::Options),
    /// Draw the pictures in docs/pictures anew.
    Pictures,
    /// Check what lints can't: module arrows, sizes, module docs, sleeps, left-over markers.
    Tidy,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Setup(options) => setup::run(&options),
        Task::Build(options) => build::run(&options),
        Task::Package(options) => package::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Demo(options) => demo::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Pictures => pictures::run(),
        Task::Tidy => tidy::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
