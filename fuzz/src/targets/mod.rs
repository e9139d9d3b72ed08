//! The targets, by what they read. Each file holds what must hold there; none asks for more than the rooms promise.

mod dialogue;
mod framing;
mod link;
mod observer;
mod operator;
mod packet;
mod shared;
mod threshold;
mod upstream;

use crate::Target;

/// All, those that strangers reach first.
pub(crate) fn all() -> Vec<Target> {
    vec![
        observer::TEXT,
        observer::META,
        observer::BINARY,
        dialogue::TEXT,
        dialogue::META,
        dialogue::BINARY,
        shared::TARGET,
        link::TARGET,
        framing::HTTP1,
        framing::HTTP2,
        upstream::TARGET,
        threshold::HEADER,
        threshold::PIN,
        packet::TARGET,
        operator::CONFIGURATION,
        operator::GEOFEED,
        operator::GEO_DATABASE,
        operator::ASYNCLOG,
    ]
}
