//! This host's addresses as tables without collisions: the search for the seeds. The hash itself is
//! [`tidegate_common::local`]'s; nothing here finds out which addresses the host has.

use std::net::IpAddr;

use tidegate_common::abi::{LOCAL_SLOTS, MAX_LOCALS, Settings};
use tidegate_common::local::{slot4, slot6};
use zerocopy::IntoBytes;

/// Why addresses make no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocalError {
    /// More than [`MAX_LOCALS`] of one family.
    #[error("this host has {found} {family} addresses; the NIC program holds {MAX_LOCALS}")]
    TooMany {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// How many there are.
        found: usize,
    },
    /// No seed within the bound of the search; another set of addresses will do.
    #[error("no table without collisions was found for the {family} addresses")]
    NoSeed {
        /// `IPv4` or `IPv6`.
        family: &'static str,
    },
}

/// Tables of local addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locals {
    v4: Vec<u32>,
    v6_slots: Vec<u16>,
    v6: Vec<[u64; 2]>,
    settings: Settings,
}

/// Seeds tried for one size of table.
const TRIES: u64 = 20_000;

impl Locals {
    /// Tables of `addresses`; IPv4-mapped IPv6 addresses count as IPv4, repeated ones once.
    ///
    /// # Errors
    /// When there are too many.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>) -> Result<Self, LocalError> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for address in addresses {
            match address.to_canonical() {
                IpAddr::V4(address) => v4.push(address.to_bits()),
                IpAddr::V6(address) => v6.push(halves(address.to_bits())),
            }
        }
        let v4 = unique("IPv4", v4)?;
        let v6 = unique("IPv6", v6)?;
        let (seed4, mask4) = seed("IPv4", &v4, |&address, seed, mask| slot4(address, seed, mask))?;
        let (seed6, mask6) = seed("IPv6", &v6, |&[high, low], seed, mask| slot6(high, low, seed, mask))?;
        let settings = Settings {
            local4_seed: seed4,
            local4_mask: mask4,
            local6_seed: seed6,
            local6_mask: mask6,
            ..Settings::default()
        };
        Ok(Self {
            v4: fill4(&v4, seed4, mask4),
            v6_slots: fill6(&v6, seed6, mask6),
            v6: padded(v6),
            settings,
        })
    }

    /// Seeds and masks.
    pub(super) fn settings(&self) -> Settings {
        self.settings
    }

    /// LOCAL4, LOCAL6_SLOTS, LOCAL6.
    pub(super) fn globals(&self) -> [&[u8]; 3] {
        [self.v4.as_bytes(), self.v6_slots.as_bytes(), self.v6.as_bytes()]
    }

    /// Whether the program would take `address` for local.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let Settings { local4_seed, local4_mask, local6_seed, local6_mask, .. } = self.settings;
        match address {
            IpAddr::V4(address) => {
                let address = address.to_bits();
                self.v4[slot4(address, local4_seed, local4_mask) as usize] == address
            }
            IpAddr::V6(address) => {
                let [high, low] = halves(address.to_bits());
                let slot = self.v6_slots[slot6(high, low, local6_seed, local6_mask) as usize];
                self.v6[usize::from(slot)] == [high, low]
            }
        }
    }
}

fn halves(bits: u128) -> [u64; 2] {
    [(bits >> 64) as u64, bits as u64]
}

fn unique<T: Ord>(family: &'static str, mut addresses: Vec<T>) -> Result<Vec<T>, LocalError> {
    addresses.sort_unstable();
    addresses.dedup();
    let found = addresses.len();
    if found > MAX_LOCALS { Err(LocalError::TooMany { family, found }) } else { Ok(addresses) }
}

/// A seed and a mask under which no two addresses share a slot, in a table as small as possible.
fn seed<T>(
    family: &'static str,
    addresses: &[T],
    slot: impl Fn(&T, u64, u32) -> u32,
) -> Result<(u64, u32), LocalError> {
    let mut taken = vec![0u64; LOCAL_SLOTS];
    let mut round = 0;
    let smallest = (addresses.len() * 2).next_power_of_two().max(2);
    let sizes = (0..).map(|power| smallest << power).take_while(|&size| size <= LOCAL_SLOTS);
    for size in sizes {
        let mask = size as u32 - 1;
        for attempt in 1..=TRIES {
            round += 1;
            let seed = mix(attempt);
            let fits = addresses.iter().all(|address| {
                let entry = &mut taken[slot(address, seed, mask) as usize];
                std::mem::replace(entry, round) != round
            });
            if fits {
                return Ok((seed, mask));
            }
        }
    }
    Err(LocalError::NoSeed { family })
}

/// The splitmix64 sequence: well-mixed odd numbers, the same on every run.
fn mix(index: u64) -> u64 {
    let mut word = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (word ^ (word >> 31)) | 1
}

/// Empty slots hold an address that belongs to another slot: 0.0.0.0, and in its own slot another one.
fn fill4(addresses: &[u32], seed: u64, mask: u32) -> Vec<u32> {
    let mut table = vec![0; LOCAL_SLOTS];
    table[0] = (1..=u32::MAX).rev().find(|&address| slot4(address, seed, mask) != 0).unwrap_or(u32::MAX);
    for &address in addresses {
        table[slot4(address, seed, mask) as usize] = address;
    }
    table
}

fn fill6(addresses: &[[u64; 2]], seed: u64, mask: u32) -> Vec<u16> {
    let mut table = vec![0; LOCAL_SLOTS];
    for (index, &[high, low]) in (0u16..).zip(addresses) {
        table[slot6(high, low, seed, mask) as usize] = index;
    }
    table
}

/// Unused places hold the all-ones address, which is multicast and belongs to no host.
fn padded(mut addresses: Vec<[u64; 2]>) -> Vec<[u64; 2]> {
    addresses.resize(MAX_LOCALS, [u64::MAX; 2]);
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    #[test]
    fn exactly_the_given_addresses_are_local() {
        let given =
            ["192.0.2.1", "10.0.0.1", "127.0.0.1", "1.0.0.1", "2001:db8::1", "::1", "fe80::1"].map(address);
        let locals = Locals::new(given).expect("a few");
        assert!(given.iter().all(|&address| locals.contains(address)));
        let others = ["0.0.0.0", "192.0.2.2", "255.255.255.255", "224.0.0.1", "::", "2001:db8::2", "::2"];
        assert!(!others.map(address).iter().any(|&address| locals.contains(address)));
    }

    #[test]
    fn no_address_is_local_without_addresses() {
        let locals = Locals::new([]).expect("none");
        for other in ["0.0.0.0", "255.255.255.255", "255.255.255.254", "127.0.0.1", "::", "::1"] {
            assert!(!locals.contains(address(other)), "{other}");
        }
    }

    #[test]
    fn a_full_house_fits_and_one_more_does_not() {
        let v4 = |count: u32| (0..count).map(|low| IpAddr::from((0xc000_0200 + low * 7).to_be_bytes()));
        let v6 = |count: u32| {
            (0..u128::from(count)).map(|low| IpAddr::from(((0x2001_0db8 << 96) + low * 3).to_be_bytes()))
        };
        let locals = Locals::new(v4(1_024).chain(v6(1_024))).expect("as many as may be");
        assert!(v4(1_024).chain(v6(1_024)).all(|address| locals.contains(address)));
        assert!(!v4(1_024).any(|given| matches!(given, IpAddr::V4(given) if locals.contains((given.to_bits() + 1).to_be_bytes().into()))));
        assert_eq!(Locals::new(v4(1_025)), Err(LocalError::TooMany { family: "IPv4", found: 1_025 }));
        assert_eq!(Locals::new(v6(1_025)), Err(LocalError::TooMany { family: "IPv6", found: 1_025 }));
    }
}
