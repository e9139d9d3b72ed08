//! Samples of shed frames into the ring: at most one for each clock tick and CPU, with how many were left out.
//! Never waits: a full ring drops the sample.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use tidegate_common::abi::{Sample, Tick};
use tidegate_common::verdict::Outcome;
use tidegate_xdp::frame::Frame;
use tidegate_xdp::parse::{Flow, parse};

use crate::maps;
use crate::packet::Packet;

/// Gives a sample, or counts that it did not.
#[inline(always)]
pub(crate) fn sample(ctx: &XdpContext, outcome: Outcome) {
    let Some(tick) = maps::tick() else {
        return;
    };
    // SAFETY: a value of a per-CPU map that only this CPU uses.
    let tick = unsafe { &mut *tick };
    if tick.last_event_ns == tick.coarse_ns {
        tick.suppressed += 1;
    } else {
        tidegate_sample(ctx.ctx, outcome.encode());
    }
}

/// The first sample of a tick, made from the frame anew. A global function for the sake of the verifier, as [`crate::reset`] has one;
/// the result means nothing, but the kernel wants one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tidegate_sample(ctx: *mut xdp_md, outcome: u32) -> u32 {
    let Some(tick) = maps::tick() else {
        return 0;
    };
    // SAFETY: a value of a per-CPU map that only this CPU uses.
    let tick = unsafe { &mut *tick };
    tick.last_event_ns = tick.coarse_ns;
    let sent = send(&Packet::of(&XdpContext::new(ctx)), outcome, tick);
    tick.suppressed = if sent { 0 } else { tick.suppressed + 1 };
    u32::from(sent)
}

#[inline(always)]
fn send(packet: &Packet, outcome: u32, tick: &Tick) -> bool {
    let mut flow = Flow::NONE;
    if parse(packet, &mut flow).is_err() {
        return false;
    }
    let Some(mut entry) = maps::events().reserve::<Sample>(0) else {
        return false;
    };
    let [reason, home, reset, _] = outcome.to_le_bytes();
    entry.write(Sample {
        at_ns: tick.coarse_ns,
        source: bytes_of(&flow),
        suppressed: tick.suppressed,
        bytes: packet.bytes() as u32,
        port: flow.port,
        protocol: flow.protocol,
        reason,
        home,
        reset: reset & 1,
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
