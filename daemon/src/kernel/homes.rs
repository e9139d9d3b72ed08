//! Which region each home number stood for when its counters were made, pinned beside them: numbers follow the configuration's order,
//! and counters must not pass from one region to another when that changes. The kernel program never reads it.

use aya::maps::{Array, MapData, MapError};
use tidegate_common::abi::SLOTS;

use super::maps::{SharedMapError, named, open};
use super::pins::Pins;

/// Name of the map and its pin.
pub(crate) const HOMES: &str = "HOMES";
/// Bytes of its values: [`fingerprint`]s.
pub(crate) const VALUE_BYTES: usize = 8;

/// A fingerprint for each home number; 0 is nobody.
pub(crate) struct Homes {
    map: Array<MapData, u64>,
}

impl Homes {
    /// Opens the pinned map, or makes and pins it.
    pub(crate) fn open(pins: &Pins) -> Result<Self, SharedMapError> {
        let failed = named(HOMES);
        if !pins.map(HOMES).exists() {
            let entries = u32::try_from(SLOTS).unwrap_or(u32::MAX);
            let map = Array::<MapData, u64>::create(entries, 0).map_err(&failed)?;
            let pinned = map.pin(pins.map(HOMES));
            pinned.map_err(|error| failed(MapError::PinError { name: Some(HOMES.to_owned()), error }))?;
        }
        Array::try_from(open(pins, HOMES)?).map(|map| Self { map }).map_err(failed)
    }

    /// Home numbers whose region is another one now than when their counters were made.
    pub(crate) fn changed(&self, regions: &[String]) -> Result<Vec<u8>, SharedMapError> {
        let mut changed = Vec::new();
        for (home, region) in (1u8..).zip(regions) {
            let before = self.map.get(&u32::from(home), 0).map_err(named(HOMES))?;
            if before != 0 && before != fingerprint(region) {
                changed.push(home);
            }
        }
        Ok(changed)
    }

    /// From now on, home number `n` is the `n`th of `regions`, from 1.
    pub(crate) fn set(&mut self, regions: &[String]) -> Result<(), SharedMapError> {
        (1u32..)
            .zip(regions)
            .try_for_each(|(home, region)| self.map.set(home, fingerprint(region), 0))
            .map_err(named(HOMES))
    }
}

/// FNV-1a, 64 bits (draft-eastlake-fnv); never 0.
fn fingerprint(region: &str) -> u64 {
    let mixed = region.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mixed.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_fnv_1a() {
        // From the draft's test vectors.
        assert_eq!(fingerprint("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fingerprint("foobar"), 0x8594_4171_f739_67e8);
    }
}
