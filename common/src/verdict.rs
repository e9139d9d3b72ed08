//! Verdicts and their reasons: each reason has one verdict, one counter, one metric label and one test.
//! Never an XDP action number: turning a verdict into an action is the kernel program's own business.

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It goes on to the host.
    Pass,
    /// It is refused: dropped, or answered with a reset.
    Shed,
}

impl Verdict {
    /// The word of metrics and reports.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Shed => "shed",
        }
    }
}

/// Declares the reasons once: number, verdict, label, meaning.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $verdict:ident, $label:literal;)*) => {
        /// Why a frame passed or was shed. The numbers are part of the ABI.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[$doc])* $name = $number,)*
        }

        impl Reason {
            /// All reasons, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The verdict that goes with it.
            #[must_use]
            pub const fn verdict(self) -> Verdict {
                match self {
                    $(Self::$name => Verdict::$verdict,)*
                }
            }

            /// The word of metrics, reports and events.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }

            /// The reason with this number.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    /// Judged, and no ceiling was exceeded.
    Within = 0, Pass, "within";
    /// Source is on the allow list.
    Allowed = 1, Pass, "allowed";
    /// No daemon for longer than the lease: everything passes.
    LeaseExpired = 2, Pass, "lease_expired";
    /// Neither IPv4 nor IPv6 (ARP among them).
    NotIp = 3, Pass, "not_ip";
    /// The frame ends before a header or length that it announces.
    Truncated = 4, Pass, "truncated";
    /// Header fields contradict each other.
    Malformed = 5, Pass, "malformed";
    /// More than two VLAN tags.
    TooManyTags = 6, Pass, "too_many_tags";
    /// More IPv6 extension headers than are followed.
    TooManyHeaders = 7, Pass, "too_many_headers";
    /// ICMP or ICMPv6, neighbour discovery among it.
    Icmp = 8, Pass, "icmp";
    /// Neither TCP nor UDP nor ICMP.
    OtherProtocol = 9, Pass, "other_protocol";
    /// A fragment without ports.
    LaterFragment = 10, Pass, "later_fragment";
    /// Destination is no address of this host.
    NotLocal = 11, Pass, "not_local";
    /// Destination port is not listed.
    OtherPort = 12, Pass, "other_port";
    /// Source is on the deny list.
    Denied = 13, Shed, "denied";
    /// The home region's `connections_per_second`.
    RegionConnections = 14, Shed, "region_connections";
    /// The home region's `packets_per_second`.
    RegionPackets = 15, Shed, "region_packets";
    /// The home region's `bits_per_second`.
    RegionBits = 16, Shed, "region_bits";
    /// Everyone's `connections_per_second`.
    EveryoneConnections = 17, Shed, "everyone_connections";
    /// Everyone's `packets_per_second`.
    EveryonePackets = 18, Shed, "everyone_packets";
    /// Everyone's `bits_per_second`.
    EveryoneBits = 19, Shed, "everyone_bits";
    /// Would have been shed as [`Reason::RegionConnections`], but that ceiling only observes.
    ObservedRegionConnections = 20, Pass, "observed_region_connections";
    /// Would have been shed as [`Reason::RegionPackets`], but that ceiling only observes.
    ObservedRegionPackets = 21, Pass, "observed_region_packets";
    /// Would have been shed as [`Reason::RegionBits`], but that ceiling only observes.
    ObservedRegionBits = 22, Pass, "observed_region_bits";
    /// Would have been shed as [`Reason::EveryoneConnections`], but that ceiling only observes.
    ObservedEveryoneConnections = 23, Pass, "observed_everyone_connections";
    /// Would have been shed as [`Reason::EveryonePackets`], but that ceiling only observes.
    ObservedEveryonePackets = 24, Pass, "observed_everyone_packets";
    /// Would have been shed as [`Reason::EveryoneBits`], but that ceiling only observes.
    ObservedEveryoneBits = 25, Pass, "observed_everyone_bits";
}

impl Reason {
    /// Whether it tells of a ceiling that counts but does not shed.
    #[must_use]
    pub const fn is_observed(self) -> bool {
        self as u8 >= Self::ObservedRegionConnections as u8
    }

    /// Whether ceilings were asked and it passed: what a ceiling lets through.
    #[must_use]
    pub const fn is_admitted(self) -> bool {
        matches!(self, Self::Within) || self.is_observed()
    }
}

/// A judgement, as counters, events and `explain` tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Why; the verdict follows from it.
    pub reason: Reason,
    /// Home number of the source; 0 where it was not looked up or is unknown.
    pub home: u8,
    /// The shed frame is a SYN that is to be answered with RST.
    pub reset: bool,
}

impl Outcome {
    /// An outcome without a home.
    #[must_use]
    #[inline(always)]
    pub const fn plain(reason: Reason) -> Self {
        Self { reason, home: 0, reset: false }
    }

    /// Pass or shed.
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        self.reason.verdict()
    }

    /// As the kernel's `explain` entry returns it: reason in bits 0 to 7, home in 8 to 15, reset in bit 16,
    /// and bit 17 always set, so that no error of another program looks like it.
    #[must_use]
    #[inline(always)]
    pub const fn encode(self) -> u32 {
        self.reason as u32 | (self.home as u32) << 8 | (self.reset as u32) << 16 | 1 << 17
    }

    /// The outcome that [`Self::encode`] made `code` from; `None` for any other value.
    #[must_use]
    pub const fn decode(code: u32) -> Option<Self> {
        if code >> 17 != 1 {
            return None;
        }
        let [number, home, flags, _] = code.to_le_bytes();
        match Reason::from_number(number) {
            Some(reason) => Some(Self { reason, home, reset: flags & 1 == 1 }),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_labels_are_unique_and_dense() {
        let mut labels = std::collections::BTreeSet::new();
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert_eq!(Reason::from_number(index as u8), Some(*reason));
            assert!(labels.insert(reason.label()), "{}", reason.label());
        }
        assert_eq!(Reason::from_number(Reason::COUNT as u8), None);
    }

    #[test]
    fn an_observed_reason_passes_and_its_twin_sheds() {
        for reason in Reason::ALL.iter().filter(|reason| reason.is_observed()) {
            assert_eq!(reason.verdict(), Verdict::Pass);
            let twin = Reason::from_number(*reason as u8 - 6).map(|twin| (twin.verdict(), twin.label()));
            assert_eq!(twin, Some((Verdict::Shed, reason.label().trim_start_matches("observed_"))));
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for &reason in Reason::ALL {
            for home in [0, 1, 254, 255] {
                for reset in [false, true] {
                    let outcome = Outcome { reason, home, reset };
                    assert_eq!(Outcome::decode(outcome.encode()), Some(outcome));
                }
            }
        }
        for code in [0, 1, 2, 3, u32::MAX, 1 << 18, (1 << 17) | 200] {
            assert_eq!(Outcome::decode(code), None, "{code}");
        }
    }
}
