//! How long an automatic failover lasts at least, so that a region whose edges come and go does not pull its clients to and fro. Never decides
//! whether an edge is up.

/// Probes that a failover lasts at least, and the bounds of that time.
const PROBES: u64 = 5;
const LEAST_MS: u64 = 1_000;
const MOST_MS: u64 = 30_000;

/// One region's hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hold {
    since_ms: Option<u64>,
}

impl Hold {
    /// How many edges count as up at `now_ms`, where `up` of them are by their probes, made every `interval_ms`: none while it is held.
    pub fn counts(&mut self, up: u32, interval_ms: u64, now_ms: u64) -> u32 {
        let least = (PROBES * interval_ms).clamp(LEAST_MS, MOST_MS);
        match self.since_ms {
            Some(since) if now_ms.saturating_sub(since) < least => 0,
            _ if up == 0 => {
                self.since_ms = self.since_ms.or(Some(now_ms));
                0
            }
            _ => {
                self.since_ms = None;
                up
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failover_lasts_for_a_while_and_ends_once_an_edge_is_up() {
        let mut hold = Hold::default();
        let rows = [
            (2, 0, 2),
            (0, 100, 0),
            (1, 200, 0),
            (2, 5_099, 0),
            (2, 5_100, 2),
            (0, 5_200, 0),
            (0, 60_000, 0),
            (1, 60_001, 1),
        ];
        for (up, now, counts) in rows {
            assert_eq!(hold.counts(up, 1_000, now), counts, "{up} up at {now} ms");
        }
        let mut quick = Hold::default();
        assert_eq!((quick.counts(0, 50, 0), quick.counts(1, 50, 999), quick.counts(1, 50, 1_000)), (0, 0, 1));
    }
}
