//! Checks what lints can't: module arrows, sizes, module docs, sleeps in tests, unwraps, paths of one machine, markers.
//! Never changes a file.

mod arrows;
mod source;
mod text;

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{paths, sh};
use source::Source;

/// One fault: where and what.
pub(crate) struct Fault {
    /// Path below the root, with a line.
    pub(crate) place: String,
    /// What is wrong and what is allowed.
    pub(crate) what: String,
}

/// Runs `cargo xtask tidy`.
///
/// # Errors
/// When there is any fault; all are printed first.
pub(crate) fn run() -> Result<()> {
    let (mut faults, mut files) = (Vec::new(), 0);
    for path in tracked()? {
        let Ok(contents) = std::fs::read_to_string(paths::root().join(&path)) else { continue };
        files += 1;
        text::check(&path, &contents, &mut faults);
        if path.ends_with(".rs") {
            let source = Source::new(&path, &contents);
            source::check(&source, &mut faults);
            arrows::check(&source, &mut faults);
        }
    }
    faults.iter().for_each(|fault| eprintln!("{}: {}", fault.place, fault.what));
    eprintln!("tidy: {files} files, {} faults", faults.len());
    if !faults.is_empty() {
        bail!("{} faults", faults.len());
    }
    Ok(())
}

/// Files that git has or would add.
fn tracked() -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(paths::root()).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    Ok(sh::output(&mut git).context("listing files")?.lines().map(str::to_owned).collect())
}
