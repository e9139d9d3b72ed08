//! When an endpoint is passed over for what its answers say, though its probes succeed. Never passes one over for a refusal that means something.

use std::time::Duration;

/// Failures in a row after which an endpoint is passed over.
const MOST: u32 = 5;
/// For how long. Where every endpoint is passed over, all are used again.
const PASSED_OVER: Duration = Duration::from_secs(10);

/// What came of one request, for the endpoint that had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It answered.
    Answered,
    /// It said 502, 503 or 504 of its own, answered too late, or broke off.
    Failed,
}

/// What a status says of who sent it; `meant` where the answer names a reason (`Tidegate-Reason`): a shed is no failure.
#[must_use]
pub fn judge(status: u16, meant: bool) -> Turn {
    if matches!(status, 502..=504) && !meant { Turn::Failed } else { Turn::Answered }
}

/// After so many failures in a row, for how long it is passed over.
#[must_use]
pub fn passed_over(in_a_row: u32) -> Option<Duration> {
    (in_a_row > 0 && in_a_row.is_multiple_of(MOST)).then_some(PASSED_OVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_gateway_failures_without_a_reason_count() {
        for status in [200, 301, 404, 429, 500, 501] {
            assert_eq!(judge(status, false), Turn::Answered, "{status}");
        }
        for status in [502, 503, 504] {
            assert_eq!(
                (judge(status, false), judge(status, true)),
                (Turn::Failed, Turn::Answered),
                "{status}"
            );
        }
        let over: Vec<u32> = (0..12).filter(|failures| passed_over(*failures).is_some()).collect();
        assert_eq!(over, [5, 10]);
    }
}
