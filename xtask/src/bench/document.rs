//! Keeps a bench's section in `docs/BENCHMARKS.md` and its plots beside it.
//! Never touches another bench's section, nor the text around them.

use std::fs;

use anyhow::{Context, Result};

use super::machine;
use super::report::Report;
use crate::paths;

/// Writes the report's plots and replaces (or appends) its section.
///
/// # Errors
/// When `docs/` can't be read or written.
pub(super) fn write(report: &Report) -> Result<()> {
    let docs = paths::root().join("docs");
    for (file, plot) in &report.plots {
        fs::write(docs.join(file), plot.svg()).with_context(|| format!("writing docs/{file}"))?;
        eprintln!("wrote docs/{file}");
    }
    let page = docs.join("BENCHMARKS.md");
    let old = fs::read_to_string(&page).with_context(|| format!("reading {}", page.display()))?;
    fs::write(&page, replaced(&old, report.bench, &section(report)))?;
    eprintln!("wrote the section `{}` of docs/BENCHMARKS.md", report.bench);
    Ok(())
}

fn section(report: &Report) -> String {
    let plots: String =
        report.plots.iter().map(|(file, plot)| format!("\n![{}]({file})\n", plot.title())).collect();
    let command = format!("`cargo xtask bench {}` on {}.", report.bench, machine::describe());
    format!("## {}\n\n{command}\n\n{}\n\n{}{plots}", report.bench, report.notes.trim(), report.table())
}

/// The page with the text between the bench's marks replaced, or with marks and text appended.
fn replaced(page: &str, bench: &str, section: &str) -> String {
    let (open, close) = (format!("<!-- bench:{bench} -->\n"), format!("<!-- /bench:{bench} -->\n"));
    match (page.find(&open), page.find(&close)) {
        (Some(from), Some(to)) if from < to => {
            format!("{}{open}{section}{}", &page[..from], &page[to..])
        }
        _ => format!("{}\n\n{open}{section}{close}", page.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn only_the_benchs_own_section_changes() {
        let page =
            "# B\n\n<!-- bench:a -->\nold\n<!-- /bench:a -->\n\n<!-- bench:b -->\nkept\n<!-- /bench:b -->\n";
        let new = replaced(page, "a", "new\n");
        assert_eq!(new, page.replace("old", "new"));
        let appended = replaced(page, "c", "c\n");
        assert!(
            appended.starts_with(page.trim_end())
                && appended.ends_with("<!-- bench:c -->\nc\n<!-- /bench:c -->\n")
        );
    }
}
