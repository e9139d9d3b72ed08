//! Local addresses: tables whose seed was chosen so that no two addresses share a slot, so that one look decides.
//! Holds the hash that both sides use; the search for a seed is the daemon's.

/// Slot of a local IPv4 address.
#[must_use]
#[inline(always)]
pub const fn slot4(address: u32, seed: u64, mask: u32) -> u32 {
    ((address as u64).wrapping_mul(seed) >> 32) as u32 & mask
}

/// Slot of a local IPv6 address.
#[must_use]
#[inline(always)]
pub const fn slot6(high: u64, low: u64, seed: u64, mask: u32) -> u32 {
    let folded = (high.wrapping_mul(seed) >> 32) ^ low;
    (folded.wrapping_mul(seed) >> 32) as u32 & mask
}
