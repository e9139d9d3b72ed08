//! Writes the answer to a SYN over the SYN itself and sends it back. Decides nothing: a SYN that can't be answered is dropped.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_TX};
use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::bpf_xdp_adjust_tail;
use aya_ebpf::programs::XdpContext;
use tidegate_xdp::frame::Frame;
use tidegate_xdp::parse::{Flow, parse};
use tidegate_xdp::reset::{self, Syn, WORDS_V4, WORDS_V6};

use crate::packet::Packet;

/// The action for a SYN that is to be answered. A global function that parses the frame once more: the verifier proves it once, and
/// not anew for each path of the judgement that leads here.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn tidegate_answer(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    let packet = Packet::of(&ctx);
    let mut flow = Flow::NONE;
    if parse(&packet, &mut flow).is_err() || !reset::may_answer(&flow) {
        return XDP_DROP;
    }
    match write(&packet, &flow) {
        Some(length) if trim(&ctx, packet.bytes(), length) => XDP_TX,
        _ => XDP_DROP,
    }
}

/// Writes the answer; its length.
#[inline(always)]
fn write(packet: &Packet, flow: &Flow) -> Option<usize> {
    let syn = Syn::read(packet.window::<20>(flow.transport as usize & 0x7fff)?, flow);
    let network = flow.network as usize & 31;
    packet.swap_hardware_addresses()?;
    if flow.version == 4 {
        packet.write_words(network, reset::answer_v4(flow, syn))?;
        Some(network + WORDS_V4 * 4)
    } else {
        packet.write_words(network, reset::answer_v6(flow, syn))?;
        Some(network + WORDS_V6 * 4)
    }
}

/// Cuts what is behind the answer.
#[inline(always)]
fn trim(ctx: &XdpContext, bytes: usize, length: usize) -> bool {
    let delta = length as i32 - bytes as i32;
    // SAFETY: a helper on the program's own context; no packet pointer is used after it.
    delta == 0 || unsafe { bpf_xdp_adjust_tail(ctx.ctx, delta) } == 0
}
