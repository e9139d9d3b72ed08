//! Exit codes of every command (contract, "Command line"). Never exits by itself.

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0
    Done,
    /// 1: the thing asked about is not so, or was refused.
    Refused,
    /// 2: usage or configuration.
    Usage,
    /// 3: no daemon answers.
    NoDaemon,
    /// 4: not permitted.
    NotPermitted,
}

impl Exit {
    /// This, unless it is done: then `other`.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if self == Self::Done { other } else { self }
    }

    /// The number.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Usage => 2,
            Self::NoDaemon => 3,
            Self::NotPermitted => 4,
        }
    }
}
