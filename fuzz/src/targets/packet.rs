//! Frames from the wire: the judgement that runs in the kernel, as the host compiles it. Never loads a program; `agreement` compares both.

use std::sync::LazyLock;

use tidegate::decide::nic::NicPlan;
use tidegate_tests::packets::cases::{self, Setup};
use tidegate_tests::packets::model::{Action, Model};
use tidegate_xdp::frame::Bytes;
use tidegate_xdp::parse::{Flow, parse, parse_common};

use crate::Target;

/// A byte that chooses the ceilings, and a frame.
pub(super) const TARGET: Target = Target {
    name: "packet",
    run,
    seeds: || {
        let setup =
            |case: &cases::Case| Setup::ALL.iter().position(|setup| *setup == case.setup).unwrap_or(0);
        let numbered =
            |case: &cases::Case| [&[u8::try_from(setup(case)).unwrap_or(0)][..], &case.frame].concat();
        cases::all().iter().map(numbered).collect()
    },
    words: &[
        b"\x81\0\0\x01",
        b"\x88\xa8\0\x01",
        b"\x08\0\x45\0",
        b"\x86\xdd\x60\0",
        b"\xc0\0\x02\x01",
        b"\x01\xbb",
        b"\x20\x01\x0d\xb8",
        b"\xc6\x33\x64\x01",
        b"\x06",
        b"\x11",
        b"\x2c\0",
        b"\x50\x02",
        b"\x50\x10",
    ],
    most_bytes: 256,
};

static PLAN: LazyLock<Option<NicPlan>> = LazyLock::new(|| cases::plan().ok());

fn run(data: &[u8]) {
    let (Some(plan), Some((&number, frame))) = (PLAN.as_ref(), data.split_first()) else { return };
    let setup = Setup::ALL[usize::from(number) % Setup::ALL.len()];
    let outcome = Model::new(plan, setup.limits()).judge(frame);
    if let Action::Answer(answer) = Action::of(outcome, frame) {
        assert!(answer.len() <= frame.len().max(82), "an answer of {} bytes", answer.len());
        assert_eq!((&answer[..6], &answer[6..12]), (&frame[6..12], &frame[..6]), "it goes back");
    }
    let (mut common, mut thorough) = (Flow::NONE, Flow::NONE);
    if parse_common(&Bytes(frame), &mut common) {
        assert_eq!(parse(&Bytes(frame), &mut thorough), Ok(()), "only the short way understands it");
        assert_eq!(format!("{common:?}"), format!("{thorough:?}"), "both ways find the same flow");
    }
}
