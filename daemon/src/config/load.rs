//! Finds and reads the configuration's files: the file itself and `conf.d/*.toml` beside it. Never changes one.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::document;
use super::fault::{At, Fault, Faults, Severity, Source, Wrong};
use super::files;
use super::node::{self, Table, Value};
use super::types::Config;

/// Largest file that is read.
const MAX_BYTES: u64 = 16 << 20;
/// Most files in `conf.d`.
const MAX_FILES: usize = 1000;

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its values.
    pub config: Config,
    /// What is odd about it.
    pub warnings: Vec<Fault>,
    /// The files it was read from, in order, and their texts.
    pub sources: Vec<(PathBuf, String)>,
}

impl Loaded {
    /// The files it was read from, in order.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.sources.iter().map(|(path, _)| path.clone()).collect()
    }
}

/// Why no configuration came of it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or folder can't be read.
    #[error("{}: cannot be read: {error}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The text has faults, by place; warnings among them.
    #[error("{}", show(.0))]
    Faulty(Vec<Fault>),
}

fn show(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Reads the file at `path` and `conf.d` beside it.
///
/// # Errors
/// Every fault at once, or the first file that can't be read.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    let mut sources = vec![Source { path: path.to_owned(), text: read_text(path)? }];
    for path in conf_d(path)? {
        let text = read_text(&path)?;
        sources.push(Source { path, text });
    }
    parse(sources, true)
}

/// Reads a configuration from text; `name` stands in messages. Opens nothing.
///
/// # Errors
/// Every fault at once.
pub fn from_text(name: &Path, text: &str) -> Result<Loaded, LoadError> {
    parse(vec![Source { path: name.to_owned(), text: text.to_owned() }], false)
}

/// Reads a configuration from the texts that [`Loaded::sources`] had. Opens nothing.
///
/// # Errors
/// Every fault at once.
pub fn from_sources(sources: Vec<(PathBuf, String)>) -> Result<Loaded, LoadError> {
    parse(sources.into_iter().map(|(path, text)| Source { path, text }).collect(), false)
}

/// The instance that the files name, whatever faults they have; `None` where they name none.
///
/// # Errors
/// A file that can't be read.
pub fn instance(path: &Path) -> Result<Option<String>, LoadError> {
    let (faults, mut root) = (Faults::default(), Table::default());
    for (index, path) in std::iter::once(path.to_owned()).chain(conf_d(path)?).enumerate() {
        root.merge(node::parse(&read_text(&path)?, index, &faults), "", &faults);
    }
    let host = root.get("host").and_then(|host| match &host.value {
        Value::Table(host) => host.get("instance"),
        _ => None,
    });
    Ok(host.and_then(|name| match &name.value {
        Value::String(name) => Some(name.clone()),
        _ => None,
    }))
}

fn parse(sources: Vec<Source>, look_at_files: bool) -> Result<Loaded, LoadError> {
    let faults = Faults::default();
    let mut root = Table::default();
    for (index, source) in sources.iter().enumerate() {
        root.merge(node::parse(&source.text, index, &faults), "", &faults);
    }
    let config = document::read(&root, &sources, &faults);
    if look_at_files {
        files::warn(&root, &faults);
    }
    let found = faults.finish(&sources);
    let broken = found.iter().any(|fault| fault.severity == Severity::Error);
    match config {
        Some(config) if !broken => {
            let sources = sources.into_iter().map(|source| (source.path, source.text)).collect();
            Ok(Loaded { config, warnings: found, sources })
        }
        _ if broken => Err(LoadError::Faulty(found)),
        _ => Err(LoadError::Faulty(vec![unexplained(&sources)])),
    }
}

/// Reached only if a reader gave up without saying why; said plainly rather than hidden.
fn unexplained(sources: &[Source]) -> Fault {
    let faults = Faults::default();
    faults.error(
        At { file: 0, offset: 0 },
        "",
        Wrong::only("could not be understood, and no single key is to blame (please report this)"),
    );
    faults.finish(sources).remove(0)
}

fn read_text(path: &Path) -> Result<String, LoadError> {
    let unreadable = |error| LoadError::Unreadable { path: path.to_owned(), error };
    let file = fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(unreadable(io::Error::other("larger than 16 MiB")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        unreadable(io::Error::other(format!("line {line} is not UTF-8")))
    })
}

fn conf_d(path: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let folder = path.parent().unwrap_or(Path::new("")).join("conf.d");
    let unreadable = |error| LoadError::Unreadable { path: folder.clone(), error };
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    if files.len() > MAX_FILES {
        return Err(unreadable(io::Error::other("more than 1000 files")));
    }
    files.sort();
    Ok(files)
}
