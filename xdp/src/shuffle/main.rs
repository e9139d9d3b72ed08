//! For measuring only: gives a frame a random source and hands it to another program. Never part of what is attached.
#![no_std]
#![no_main]
#![expect(unsafe_code, reason = "packet memory is reached through raw pointers that the verifier checks")]

use aya_ebpf::bindings::xdp_action::XDP_ABORTED;
use aya_ebpf::helpers::bpf_get_prandom_u32;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::ProgramArray;
use aya_ebpf::programs::XdpContext;

/// The program that is measured.
#[map]
static TARGET: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Any IPv4 source.
#[xdp]
fn shuffle4(ctx: XdpContext) -> u32 {
    // SAFETY: a helper without arguments.
    write(&ctx, 26, unsafe { bpf_get_prandom_u32() })
}

/// An IPv6 source whose bits 16 to 47 are any.
#[xdp]
fn shuffle6(ctx: XdpContext) -> u32 {
    // SAFETY: a helper without arguments.
    write(&ctx, 24, unsafe { bpf_get_prandom_u32() })
}

/// An IPv4 source of one of eight /28s: 198.51.100.3, .19, .35, …
#[xdp]
fn shuffle8(ctx: XdpContext) -> u32 {
    // SAFETY: a helper without arguments.
    let which = unsafe { bpf_get_prandom_u32() } & 7;
    write(&ctx, 26, (0xc633_6403 | which << 4).to_be())
}

#[inline(always)]
fn write(ctx: &XdpContext, offset: usize, word: u32) -> u32 {
    let at = ctx.data() + offset;
    if at + 4 > ctx.data_end() {
        return XDP_ABORTED;
    }
    // SAFETY: checked above, and the verifier checks it again; the call only returns when there is no target.
    unsafe {
        *(at as *mut u32) = word;
        TARGET.tail_call(ctx, 0);
    }
    XDP_ABORTED
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// As the program that is measured.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
