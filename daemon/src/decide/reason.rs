//! The closed list of routes and of the reasons that responses, metrics, events and `explain` name. Decides nothing.

use std::fmt;

/// What becomes of a request (contract, "Words").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteKind {
    /// Handled by this region's upstream.
    Local,
    /// Handed over to an edge of the home region.
    Isthmus,
    /// The client was sent to the home region.
    Redirect,
    /// Refused.
    Shed,
}

impl RouteKind {
    /// Every route, by index.
    pub const ALL: [Self; 4] = [Self::Local, Self::Isthmus, Self::Redirect, Self::Shed];

    /// The metric label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Isthmus => "isthmus",
            Self::Redirect => "redirect",
            Self::Shed => "shed",
        }
    }

    /// Place in [`Self::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident => $name:literal,)*) => {
        /// Why a request went where it went. The first eleven explain a route, the others a refusal or a failure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $($(#[$doc])* $variant,)*
        }

        impl Reason {
            /// Every reason, by index.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The value of `Tidegate-Reason` and of the metric label.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

reasons! {
    /// The client belongs here.
    Home => "home",
    /// The client belongs elsewhere: the mode, or the first rule that matched, decided.
    Misrouted => "misrouted",
    /// The mode for this request is `local`.
    ModeLocal => "mode_local",
    /// This host's own region is in failover.
    OwnFailover => "own_failover",
    /// The home region is in failover, by an operator or by its own word.
    Failover => "failover",
    /// The home region has no edge up: automatic failover.
    AutomaticFailover => "automatic_failover",
    /// It was redirected once already (`tg_from`).
    AlreadyRedirected => "already_redirected",
    /// No edge of the home region is up or answers: `when_unreachable` decided.
    Unreachable => "unreachable",
    /// A redirect was due, but the home region has no `public_url`.
    NoPublicUrl => "no_public_url",
    /// It was asked for health.
    Health => "health",
    /// The upgrade or tunnel was closed.
    Tunnel => "tunnel",
    /// The source is on the deny list.
    Denied => "denied",
    /// A ceiling's `requests_per_second` is reached.
    RequestsPerSecond => "requests_per_second",
    /// A ceiling's `concurrent_requests` is reached.
    ConcurrentRequests => "concurrent_requests",
    /// A ceiling fills, and the request's class goes first.
    Priority => "priority",
    /// Foreign traffic has used up its own share of a ceiling.
    ForeignShare => "foreign_share",
    /// More hops between regions than `max_hops`.
    TooManyHops => "too_many_hops",
    /// `Via` shows this very edge.
    Loop => "loop",
    /// The peer listener does not know who is speaking.
    UntrustedPeer => "untrusted_peer",
    /// The request can't be forwarded without guessing what it means.
    BadRequest => "bad_request",
    /// The head exceeds `limits`.
    HeadTooLarge => "head_too_large",
    /// The request line alone exceeds `header_bytes`.
    TargetTooLong => "target_too_long",
    /// An HTTP/1 request in another version than 1.0 and 1.1.
    VersionNotSupported => "version_not_supported",
    /// `CONNECT`, a transfer coding other than `chunked`, or an upgrade that is not carried.
    NotImplemented => "not_implemented",
    /// No endpoint of the upstream is up.
    UpstreamDown => "upstream_down",
    /// No endpoint could be connected to.
    UpstreamConnect => "upstream_connect",
    /// The endpoint or edge broke off before its response's head.
    UpstreamReset => "upstream_reset",
    /// The endpoint's or edge's response can't be passed on without guessing what it means.
    UpstreamInvalid => "upstream_invalid",
    /// No response within `response_timeout`.
    UpstreamTimeout => "upstream_timeout",
    /// The client's head did not come within `header_timeout`, or its body paused longer than `body_idle_timeout`.
    RequestTimeout => "request_timeout",
    /// The client went away before its request's body was complete.
    ClientGone => "client_gone",
}

impl Reason {
    /// Place in [`Self::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_indices_are_places() {
        let names: std::collections::HashSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().enumerate().all(|(at, reason)| reason.index() == at));
        assert!(RouteKind::ALL.iter().enumerate().all(|(at, route)| route.index() == at));
    }
}
