//! Samples of shed frames into the ring: at most one for each clock tick and CPU, with how many were left out.
//! Never waits: a full ring drops the sample. With the debug level, which the loader sets on request, a sample leaves a line as well;
//! without it the verifier takes the lines out of the program.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
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
    let ctx = XdpContext::new(ctx);
    let sent = send(&ctx, outcome, tick);
    tick.suppressed = if sent { 0 } else { tick.suppressed + 1 };
    u32::from(sent)
}

#[inline(always)]
fn send(ctx: &XdpContext, outcome: u32, tick: &Tick) -> bool {
    let packet = &Packet::of(ctx);
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
    say(ctx, &flow, packet.bytes() as u32, outcome);
    true
}

/// A line for whoever asked for them. The daemon puts words in the place of reasons.
#[inline(always)]
fn say(ctx: &XdpContext, flow: &Flow, bytes: u32, outcome: u32) {
    let [reason, home, reset, _] = outcome.to_le_bytes();
    let (port, protocol) = (flow.port, flow.protocol);
    let [high, low] = flow.source;
    if flow.version == 4 {
        debug!(
            ctx,
            "IPv4 {:i} port {} protocol {}, {} bytes: reason {} home {} reset {}",
            low as u32,
            port,
            protocol,
            bytes,
            reason,
            home,
            reset & 1
        );
    } else {
        debug!(
            ctx,
            "IPv6 {:x} {:x} port {} protocol {}, {} bytes: reason {} home {} reset {}",
            high,
            low,
            port,
            protocol,
            bytes,
            reason,
            home,
            reset & 1
        );
    }
}

/// IPv4 as `::ffff:a.b.c.d`, whose bytes are a valid IPv6 address.
#[inline(always)]
fn bytes_of(flow: &Flow) -> [u64; 2] {
    let [high, low] = flow.source;
    let mapped = if flow.version == 4 { 0xffff_0000_0000 } else { 0 };
    [high.to_be(), (low | mapped).to_be()]
}
