//! Samples of shed frames into the ring: at most one for each clock tick and CPU, with how many were left out.
//! Never waits: a full ring drops the sample.

use tidegate_common::abi::Sample;
use tidegate_xdp::frame::Frame;
use tidegate_xdp::judge::Judged;
use tidegate_xdp::parse::Flow;

use crate::maps;
use crate::packet::Packet;

/// Gives a sample, or counts that it did not.
#[inline(always)]
pub(crate) fn sample(judged: &Judged, packet: &Packet) {
    let Some(tick) = maps::tick() else {
        return;
    };
    // SAFETY: a value of a per-CPU map that only this CPU uses.
    let tick = unsafe { &mut *tick };
    if tick.last_event_ns == judged.coarse_ns {
        tick.suppressed += 1;
        return;
    }
    tick.last_event_ns = judged.coarse_ns;
    let suppressed = tick.suppressed;
    if send(judged, packet.bytes() as u32, suppressed) {
        tick.suppressed = 0;
    } else {
        tick.suppressed = suppressed + 1;
    }
}

#[inline(always)]
fn send(judged: &Judged, bytes: u32, suppressed: u64) -> bool {
    let flow = &judged.flow;
    let Some(mut entry) = maps::events().reserve::<Sample>(0) else {
        return false;
    };
    entry.write(Sample {
        at_ns: judged.coarse_ns,
        source: bytes_of(flow),
        suppressed,
        bytes,
        port: flow.port,
        protocol: flow.protocol,
        reason: judged.outcome.reason as u8,
        home: judged.outcome.home,
        reset: u8::from(judged.outcome.reset),
        reserved: [0; 6],
    });
    entry.submit(0);
    true
}

/// IPv4 as `::ffff:a.b.c.d`, whose bytes are a valid IPv6 address.
#[inline(always)]
fn bytes_of(flow: &Flow) -> [u64; 2] {
    let [high, low] = flow.source;
    let mapped = if flow.version == 4 { 0xffff_0000_0000 } else { 0 };
    [high.to_be(), (low | mapped).to_be()]
}
