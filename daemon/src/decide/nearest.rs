//! Finds the known name that a mistyped one was probably meant to be. Never guesses when none is near.

/// The name that `text` was probably meant to be.
pub(crate) fn nearest<'n>(text: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let short: String = text.chars().take(64).collect();
    names
        .map(|name| (strsim::damerau_levenshtein(&short.to_lowercase(), &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= 1 + name.len().max(short.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
