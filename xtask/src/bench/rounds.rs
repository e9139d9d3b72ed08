//! Interleaved rounds: every case once per round, so that a machine that slows down slows all of them.
//! Never warms one case more than another.

use anyhow::{Context, Result};

use super::report::Row;

/// One thing to measure.
pub(crate) struct Case<'a> {
    name: String,
    unit: &'static str,
    baselines: Vec<String>,
    measure: Box<dyn FnMut() -> Result<f64> + 'a>,
}

impl<'a> Case<'a> {
    /// A case; `measure` does one round and returns its value.
    pub(crate) fn new(
        name: impl Into<String>,
        unit: &'static str,
        measure: impl FnMut() -> Result<f64> + 'a,
    ) -> Self {
        Self { name: name.into(), unit, baselines: Vec::new(), measure: Box::new(measure) }
    }

    /// Holds it against another case of the same rounds; called again, against whichever is less.
    pub(crate) fn against(mut self, baseline: impl Into<String>) -> Self {
        self.baselines.push(baseline.into());
        self
    }
}

/// Measures all cases `rounds` times after one round that is thrown away. Progress goes to standard error.
///
/// # Errors
/// When a case fails (the error names it), or names a baseline that is no case.
pub(crate) fn interleave(rounds: usize, mut cases: Vec<Case<'_>>) -> Result<Vec<Row>> {
    let mut runs: Vec<Vec<f64>> = cases.iter().map(|_| Vec::with_capacity(rounds)).collect();
    for round in 0..=rounds {
        eprintln!(
            "  {}",
            if round == 0 { "warming up".to_owned() } else { format!("round {round} of {rounds}") }
        );
        for (case, runs) in cases.iter_mut().zip(&mut runs) {
            let value = (case.measure)().with_context(|| case.name.clone())?;
            if round > 0 {
                runs.push(value);
            }
        }
    }
    let medians: Vec<_> = runs.iter().map(|runs| median(runs)).collect();
    let value_of = |name: &String| -> Result<f64> {
        let at =
            cases.iter().position(|case| case.name == *name).with_context(|| format!("no case `{name}`"))?;
        Ok(medians[at])
    };
    let row = |(case, runs): (&Case<'_>, &Vec<f64>)| {
        let baselines = case.baselines.iter().map(value_of).collect::<Result<Vec<_>>>()?;
        let baseline = baselines.into_iter().reduce(f64::min);
        Ok(Row {
            name: case.name.clone(),
            value: median(runs),
            unit: case.unit,
            baseline,
            runs: runs.clone(),
        })
    };
    cases.iter().zip(&runs).map(row).collect()
}

/// The middle value, or the mean of the two in the middle; NaN of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::{Case, interleave, median};
    use std::cell::RefCell;

    #[test]
    fn medians() {
        assert_eq!(median(&[3.0, 1.0, 2.0]).to_bits(), 2.0_f64.to_bits());
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]).to_bits(), 2.5_f64.to_bits());
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn rounds_take_turns_and_drop_the_first() {
        let order = RefCell::new(String::new());
        let case = |name: &'static str, value: f64| {
            let order = &order;
            Case::new(name, "x", move || {
                order.borrow_mut().push_str(name);
                Ok(value)
            })
        };
        let cases = vec![case("a", 10.0), case("b", 5.0).against("a").against("c"), case("c", 20.0)];
        let rows = interleave(2, cases).unwrap();
        assert_eq!(*order.borrow(), "abcabcabc");
        assert_eq!((rows[1].runs.len(), rows[1].ratio()), (2, Some(0.5)));
        assert!(interleave(1, vec![case("e", 1.0).against("d")]).is_err());
    }
}
