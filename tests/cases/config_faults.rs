//! Faulty configurations and what is said of them, as golden files; holds no rule of its own.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate::config::{self, LoadError};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/config")
}

/// Paths of the faulty files (their names begin with a digit), sorted.
fn faulty() -> Vec<PathBuf> {
    let digit = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(|c: char| c.is_ascii_digit()) && name.ends_with(".toml")
    };
    let entries = fs::read_dir(folder()).expect("the golden files are in the repository");
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("readable").path()).filter(digit).collect();
    paths.sort();
    paths
}

fn told(path: &Path) -> String {
    let name = Path::new(path.file_name().expect("a file"));
    let text = fs::read_to_string(path).expect("readable");
    match config::from_text(name, &text) {
        Ok(_) => "no fault\n".to_owned(),
        Err(LoadError::Faulty(faults)) => faults.iter().fold(String::new(), |mut told, fault| {
            writeln!(told, "{fault}").expect("a String takes everything");
            told
        }),
        Err(other) => format!("{other}\n"),
    }
}

/// `UPDATE_GOLDEN=1` writes the files anew: read the difference before committing it.
#[test]
fn every_fault_is_told_with_its_line_key_and_what_is_allowed() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut differing = Vec::new();
    let paths = faulty();
    assert!(paths.len() >= 30, "only {} faulty files", paths.len());
    for path in paths {
        let golden = path.with_extension("out");
        let found = told(&path);
        if update {
            fs::write(&golden, &found).expect("writable");
        }
        if fs::read_to_string(&golden).unwrap_or_default() != found {
            differing.push(format!("{}:\n{found}", golden.display()));
        }
    }
    assert!(differing.is_empty(), "other than the golden files say:\n{}", differing.join("\n"));
}

#[test]
fn no_faulty_file_passes() {
    for path in faulty() {
        assert_ne!(told(&path), "no fault\n", "{}", path.display());
    }
}

#[test]
fn the_shortest_configuration_has_sensible_defaults() {
    let config = config::load(&folder().join("minimal.toml")).expect("no fault").config;
    assert_eq!(config.host.region, config.geo.default_region);
    assert_eq!(config.admin.socket, Path::new("/run/tidegate/main.sock"));
    assert_eq!(config.xdp.ports, [8080]);
    assert!(config.xdp.interfaces.is_empty() && config.ceilings.is_empty());
}

#[test]
fn every_key_loads_and_what_is_not_on_this_host_is_only_warned_of() {
    let loaded = config::load(&folder().join("every_key.toml")).expect("no fault");
    let keys: Vec<&str> = loaded.warnings.iter().map(|fault| fault.key.as_str()).collect();
    let expected = [
        "geo.database",
        "geo.geofeeds",
        "session.key_file",
        "listener[public].tls.certificate",
        "listener[public].tls.key",
        "identity.certificate",
        "identity.key",
        "identity.authority",
        "admin.write_group",
    ];
    assert_eq!(keys, expected);
    let group = &loaded.warnings[expected.len() - 1].problem;
    assert_eq!(
        group,
        "there is no group \"operators-nowhere\" on this host: only root may change things until there is one"
    );
    let ceiling = &loaded.config.ceilings[1];
    assert_eq!(ceiling.bits_per_second, Some(2_500_000_000));
    assert_eq!(ceiling.schedule[0].limits.packets_per_second, Some(2));
    assert_eq!(loaded.config.xdp.ports, [8443, 443], "each once, in the file's order");
}

#[test]
fn conf_d_is_merged_in_order_and_nothing_may_be_given_twice() {
    let folder = std::env::temp_dir().join(format!("tidegate-conf-d-{}", std::process::id()));
    let parts = folder.join("conf.d");
    fs::create_dir_all(&parts).expect("a temporary folder");
    let main = folder.join("tidegate.toml");
    fs::write(&main, "[host]\nregion = \"b\"\n[[region]]\nname = \"a\"\n[log]\nlevel = \"info\"\n")
        .expect("written");
    fs::write(parts.join("10.toml"), "[[region]]\nname = \"b\"\n[log]\nformat = \"json\"\n")
        .expect("written");
    fs::write(parts.join("ignored.txt"), "nonsense").expect("written");
    let merged = config::load(&main).map(|loaded| (loaded.config.regions.len(), loaded.files().len()));
    fs::write(parts.join("20.toml"), "[[region]]\nname = \"a\"\n[log]\nlevel = \"warn\"\n").expect("written");
    let twice = config::load(&main).map(|_| ()).map_err(|error| error.to_string());
    fs::remove_dir_all(&folder).expect("removed");
    assert_eq!(merged.expect("no fault"), (2, 2));
    let told = twice.expect_err("given twice").replace(folder.to_str().expect("UTF-8"), "");
    assert_eq!(
        told,
        "/conf.d/20.toml:2:8: region[a].name: region a was already given by region[a].name (FOLDER/tidegate.toml:4); allowed: each may be given once\n\
         /conf.d/20.toml:4:1: log.level: was already given in a file read before; each key may be given once over all files"
            .replace("FOLDER", "")
    );
}

/// xorshift64*: the same mutations in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33).expect("31 bits") % below
    }
}

/// One to four small damages: a byte, a cut, a doubled piece, a swapped word.
fn damage(text: &str, dice: &mut Dice) -> String {
    const WORDS: [&str; 14] = [
        "\"",
        "[",
        "]",
        "=",
        "{",
        "}",
        "-1",
        "1e999",
        "\n",
        "\"\u{202e}\"",
        "99999999999999999999",
        "[[region]]\n",
        "true",
        "\0",
    ];
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(bytes.len());
        let length = dice.roll(12).min(bytes.len() - at);
        match dice.roll(4) {
            0 => bytes[at] = u8::try_from(dice.roll(128)).expect("below 128"),
            1 => drop(bytes.drain(at..at + length)),
            2 => {
                let piece = bytes[at..at + length].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => drop(bytes.splice(at..at + length, WORDS[dice.roll(WORDS.len())].bytes())),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn ten_thousand_damaged_files_are_answered_with_lines_and_never_a_panic() {
    let text = fs::read_to_string(folder().join("every_key.toml")).expect("readable");
    let mut dice = Dice(0x7469_6465);
    let (mut passed, mut refused) = (0, 0);
    for _ in 0..10_000 {
        let damaged = damage(&text, &mut dice);
        match config::from_text(Path::new("damaged.toml"), &damaged) {
            Ok(_) => passed += 1,
            Err(LoadError::Faulty(faults)) => {
                assert!(
                    !faults.is_empty()
                        && faults.iter().all(|fault| fault.line > 0 && !fault.problem.is_empty())
                );
                assert!(!faults.iter().any(|fault| fault.problem.contains("please report")), "{faults:?}");
                // Only what is no TOML at all has faults without a key.
                if faults.iter().any(|fault| fault.key.is_empty()) {
                    assert!(damaged.parse::<toml::Table>().is_err(), "{faults:?}");
                }
                refused += 1;
            }
            Err(other) => unreachable!("text alone can't be unreadable: {other}"),
        }
    }
    assert!(passed > 200 && refused > 5_000, "{passed} passed, {refused} refused");
}
