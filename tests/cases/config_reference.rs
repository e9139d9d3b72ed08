//! docs/CONFIGURATION.md against the reader's own descriptions. Holds no key itself.

use std::path::Path;

use tidegate::config::reference;

/// `UPDATE_GOLDEN=1` writes the page anew.
#[test]
fn the_reference_is_what_the_reader_reads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CONFIGURATION.md");
    let text = reference::markdown();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).expect("writable");
    }
    assert!(std::fs::read_to_string(&path).expect("in the repository") == text, "run with UPDATE_GOLDEN=1");
}

#[test]
fn every_table_of_the_file_has_its_part() {
    for name in reference::top_level() {
        let has = |header: &str| header == format!("[{name}]") || header == format!("[[{name}]]");
        assert!(reference::TABLES.iter().any(|table| has(table.header)), "{name}");
    }
}
