//! Numbers about which the compiler knows nothing: what it knows it uses to drop checks and masks that the verifier, which can't
//! follow it, needs. Never changes a number.

/// The same number. Costs one instruction that moves a register to itself.
///
/// Bounds get lost in the verifiers' eyes where a register is copied by a 32-bit move (Linux 6.1), where a bound follows from a
/// 32-bit `or`, and where one comparison is made from another.
#[inline(always)]
pub(crate) fn opaque(number: usize) -> usize {
    let mut number = number;
    // SAFETY: moves a register to itself. (No instruction at all would make two line records for one place, which the kernel refuses.)
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) number, options(pure, nomem, nostack, preserves_flags));
    }
    number
}
