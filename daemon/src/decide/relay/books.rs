//! The books of one pool and region. Never counts one invalidation twice.

/// Where every captured invalidation went: `captured = applied + coalesced + converted + expired + pending` at any instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Books {
    /// Taken from clients' writes, from operators, or after a loss of knowledge.
    pub captured: u64,
    /// The other region said that it applied them.
    pub applied: u64,
    /// Covered by a later or pending one of the same key, or by a flush that a client asked for.
    pub coalesced: u64,
    /// Given up singly because the spool was full; one flush of the pool stands for them.
    pub converted: u64,
    /// Older than any cached copy can be.
    pub expired: u64,
    /// Times that this host could not say what it had captured (outside the equation).
    pub unknown: u64,
}

impl Books {
    /// What still waits or is in flight, by the equation; `None` when the books do not close.
    #[must_use]
    pub fn pending(&self) -> Option<u64> {
        let settled = self
            .applied
            .checked_add(self.coalesced)?
            .checked_add(self.converted)?
            .checked_add(self.expired)?;
        self.captured.checked_sub(settled)
    }

    /// The counters in their order on disk.
    #[must_use]
    pub fn to_array(&self) -> [u64; 6] {
        [self.captured, self.applied, self.coalesced, self.converted, self.expired, self.unknown]
    }

    /// From [`Self::to_array`].
    #[must_use]
    pub fn from_array([captured, applied, coalesced, converted, expired, unknown]: [u64; 6]) -> Self {
        Self { captured, applied, coalesced, converted, expired, unknown }
    }

    /// Every settled outcome with its label in the metrics; `pending` is a gauge of its own.
    #[must_use]
    pub fn outcomes(&self) -> [(&'static str, u64); 6] {
        [
            ("captured", self.captured),
            ("applied", self.applied),
            ("coalesced", self.coalesced),
            ("converted", self.converted),
            ("expired", self.expired),
            ("unknown", self.unknown),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pending_is_what_the_equation_leaves() {
        let books = Books { captured: 10, applied: 4, coalesced: 3, converted: 1, expired: 1, unknown: 7 };
        assert_eq!(books.pending(), Some(1));
        assert_eq!(Books { applied: 5, ..Books::default() }.pending(), None);
        assert_eq!(Books::from_array(books.to_array()), books);
    }
}
