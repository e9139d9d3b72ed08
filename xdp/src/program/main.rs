//! The kernel program: entry points, and from a verdict to an XDP action. Decides nothing itself.
#![no_std]
#![no_main]
#![feature(core_intrinsics, asm_experimental_arch)]
#![expect(
    internal_features,
    reason = "BPF has no atomic types in core; the intrinsics compile to its instructions"
)]
#![expect(
    unsafe_code,
    reason = "maps and packet memory are reached through raw pointers that the verifier checks"
)]

mod events;
mod kernel;
mod maps;
mod opaque;
mod packet;
mod reset;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use tidegate_common::verdict::Verdict;
use tidegate_xdp::judge::judge;

use kernel::{Live, Peek};
use packet::Packet;

/// Judges, counts, acts.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn tidegate(ctx: XdpContext) -> u32 {
    let packet = Packet::of(&ctx);
    let outcome = judge(&packet, &Live);
    maps::count(outcome, &packet);
    let sheds = matches!(outcome.verdict(), Verdict::Shed);
    if sheds || outcome.reason.is_observed() {
        events::sample(&ctx, outcome);
    }
    if !sheds {
        XDP_PASS
    } else if outcome.reset {
        reset::tidegate_answer(ctx.ctx)
    } else {
        XDP_DROP
    }
}

/// The same judgement, nothing spent, counted or sent; returns the encoded outcome. Only for test runs.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn tidegate_explain(ctx: XdpContext) -> u32 {
    judge(&Packet::of(&ctx), &Peek).encode()
}

/// The floor of measurements.
#[xdp]
fn tidegate_bare(_ctx: XdpContext) -> u32 {
    XDP_PASS
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Helpers used here are open to any licence; the kernel only asks for this word where one is not.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
