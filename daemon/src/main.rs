//! Arguments, configuration, build, run, exit code.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use tidegate::admin::cli::{self, Cli, Command, Exit};
use tidegate::app;
use tidegate::config::{self, Fault, LoadError, Severity};
use tidegate::kernel;

/// A request makes some dozens of small allocations on one thread, which the system's allocator takes longer for. Without transparent huge
/// pages: with them, 2,000 idle connections held half as much memory again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        Command::Run { file, replace } => run(&file.config, *replace),
        Command::Check(file) => check(&file.config, cli.json),
        Command::Detach(detach) => exit(self::detach(&cli, detach.config.as_deref())),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "tidegate", &mut script);
            exit(print(&script))
        }
        Command::Man { dir } => man(dir),
        _ => ask(&cli),
    }
}

fn exit(exit: Exit) -> ExitCode {
    ExitCode::from(exit.code())
}

fn run(path: &Path, replace: bool) -> ExitCode {
    match app::run(path, replace) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

/// Faults go to standard output: they are what was asked for.
fn check(path: &Path, json: bool) -> ExitCode {
    let (faults, code) = match config::load(path) {
        Ok(loaded) => (loaded.warnings, Exit::Done),
        Err(LoadError::Faulty(faults)) => (faults, Exit::Usage),
        Err(LoadError::Unreadable { path, error }) if json => {
            (vec![Fault::unreadable(path, &error)], Exit::Usage)
        }
        Err(error @ LoadError::Unreadable { .. }) => {
            eprintln!("tidegate: {error}");
            return exit(Exit::Usage);
        }
    };
    let errors = faults.iter().filter(|fault| fault.severity == Severity::Error).count();
    let told = if json {
        let report = serde_json::json!({"ok": errors == 0, "errors": errors, "faults": faults});
        format!("{report:#}\n")
    } else {
        let lines: String = faults.iter().map(|fault| format!("{fault}\n")).collect();
        let last = match (errors, faults.len()) {
            (0, 0) => format!("{}: no faults\n", path.display()),
            (0, warnings) => format!("{}: no errors, {warnings} warnings\n", path.display()),
            (errors, _) => format!("{}: {errors} errors\n", path.display()),
        };
        lines + &last
    };
    exit(print(told.as_bytes()).and(code))
}

fn man(folder: &Path) -> ExitCode {
    let written =
        std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate: {}: {error}", folder.display());
            exit(Exit::Refused)
        }
    }
}

/// A reader that went away has seen enough.
fn print(bytes: &[u8]) -> Exit {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("tidegate: cannot write: {error}");
            Exit::Refused
        }
        _ => Exit::Done,
    }
}

/// Works without a daemon: whatever is pinned under the instance's name is taken off.
fn detach(cli: &Cli, file: Option<&Path>) -> Exit {
    let instance = match instance(cli, file) {
        Ok(instance) => instance,
        Err((problem, exit)) => {
            eprintln!("tidegate: {problem}; --instance NAME says which one to detach");
            return exit;
        }
    };
    match kernel::detach(&instance) {
        Ok(done) if done.is_nothing() => nothing_pinned(cli, &instance, &done),
        Ok(done) => print(detached(&instance, &done, cli.json).as_bytes()),
        Err(error) => {
            eprintln!("tidegate: {error}");
            if rustix::process::geteuid().is_root() { Exit::Refused } else { Exit::NotPermitted }
        }
    }
}

/// That there was nothing to do, unless the daemon says otherwise: it may see another bpffs than this process.
fn nothing_pinned(cli: &Cli, instance: &str, done: &kernel::Detached) -> Exit {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let on = runtime.map(|runtime| runtime.block_on(cli::attached(cli, instance))).unwrap_or_default();
    if on.is_empty() {
        return print(detached(instance, done, cli.json).as_bytes());
    }
    eprintln!(
        "tidegate: nothing of instance {instance} is pinned here, but its daemon has the program on {}: its pins are in another mount \
         namespace (nsenter --mount --target PID tidegate detach)",
        on.join(", ")
    );
    Exit::Refused
}

/// The instance that is meant: as it is named, as the named file says, as the daemon on the named socket says, as the usual file says
/// (whatever faults it has), `main`.
fn instance(cli: &Cli, file: Option<&Path>) -> Result<String, (String, Exit)> {
    if let Some(instance) = &cli.instance {
        return Ok(instance.clone());
    }
    let main = |named: Option<String>| named.unwrap_or_else(|| "main".to_owned());
    if let Some(file) = file {
        return config::instance(file).map(main).map_err(|error| (error.to_string(), Exit::Usage));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.ok().and_then(|runtime| runtime.block_on(cli::instance(cli))) {
        Some(Ok(instance)) => Ok(instance),
        Some(Err(problem)) if cli.socket.is_some() => Err((problem, Exit::NoDaemon)),
        _ => Ok(main(config::instance(Path::new(cli::CONFIG)).ok().flatten())),
    }
}

/// What `detach` says that it did.
fn detached(instance: &str, done: &kernel::Detached, json: bool) -> String {
    if json {
        let removed: Vec<String> = done.removed.iter().map(|path| path.display().to_string()).collect();
        let report =
            serde_json::json!({"instance": instance, "interfaces": done.interfaces, "removed": removed});
        return format!("{report:#}\n");
    }
    if !done.is_nothing() {
        let interfaces = done.interfaces.join(", ");
        return format!("instance {instance}: off {interfaces}, {} pins removed\n", done.removed.len());
    }
    match kernel::pinned().as_slice() {
        [] => format!("instance {instance}: nothing was pinned\n"),
        others => format!("instance {instance}: nothing was pinned (pinned are: {})\n", others.join(", ")),
    }
}

fn ask(cli: &Cli) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => exit(runtime.block_on(cli::run(cli))),
        Err(error) => {
            eprintln!("tidegate: cannot start: {error}");
            exit(Exit::Refused)
        }
    }
}
