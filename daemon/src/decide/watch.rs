//! When an edge or endpoint counts as up or down, from its probes' results. Never probes and never waits.

/// Counts probes in a row: `fall` failures take it down, `rise` successes bring it up again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    up: bool,
    against: u32,
    fall: u32,
    rise: u32,
}

impl Watch {
    /// Up until the first `fall` failures in a row.
    #[must_use]
    pub fn new(fall: u32, rise: u32) -> Self {
        Self { up: true, against: 0, fall: fall.max(1), rise: rise.max(1) }
    }

    /// Counts as up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Takes one probe's result; `Some` when it changes sides.
    pub fn observe(&mut self, healthy: bool) -> Option<bool> {
        if healthy == self.up {
            self.against = 0;
            return None;
        }
        self.against += 1;
        if self.against < if self.up { self.fall } else { self.rise } {
            return None;
        }
        self.against = 0;
        self.up = healthy;
        Some(self.up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_results_in_a_row_change_sides() {
        let mut watch = Watch::new(3, 2);
        let changes: Vec<_> = "xx.xxx.x..x".chars().map(|probe| watch.observe(probe == '.')).collect();
        let (none, down, up) = (None, Some(false), Some(true));
        assert_eq!(changes, [none, none, none, none, none, down, none, none, none, up, none]);
        assert!(watch.is_up());
    }
}
