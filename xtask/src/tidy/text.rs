//! Rules for any text file: no markers, no paths of one machine.
//! Never looks into the lock file or drawings.

use super::Fault;

/// Words that say that something is not finished. Written in halves so that this file passes.
const MARKERS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];

/// Starts of paths that exist on one machine only.
const PLACES: [&str; 3] = [concat!("/ro", "ot/"), concat!("/wor", "k/"), concat!("/tm", "p/wt")];

/// Adds this file's faults.
pub(super) fn check(path: &str, contents: &str, faults: &mut Vec<Fault>) {
    if path.ends_with(".lock") || path.ends_with(".svg") || path.starts_with("fuzz/corpus/") {
        return;
    }
    for (number, line) in (1..).zip(contents.lines()) {
        let found = MARKERS.iter().chain(&PLACES).filter(|word| line.contains(**word));
        faults.extend(found.map(|word| Fault {
            place: format!("{path}:{number}"),
            what: format!("`{word}`: finish it, or make it independent of this machine"),
        }));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn markers_and_places_are_found() {
        let mut faults = Vec::new();
        super::check("a.md", concat!("fine\nTO", "DO: x\nsee /ro", "ot/x\n"), &mut faults);
        assert_eq!(faults.iter().map(|fault| fault.place.as_str()).collect::<Vec<_>>(), ["a.md:2", "a.md:3"]);
    }
}
