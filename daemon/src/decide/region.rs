//! Regions by number. Never says which region a client belongs to.

use std::ops::{Index, IndexMut};

/// Most regions one configuration may name. Home 0 on the NIC means "none", 255 is kept free.
pub const MAX_REGIONS: usize = 254;

/// A region, by its place in the configuration (from 0); the default is the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegionId(u8);

impl RegionId {
    /// The region at `index`; `None` past [`MAX_REGIONS`].
    #[must_use]
    pub fn new(index: usize) -> Option<Self> {
        (index < MAX_REGIONS).then(|| u8::try_from(index).ok().map(Self)).flatten()
    }

    /// Place in the configuration, from 0.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The home number of the NIC's tables: 1 for the first region.
    #[must_use]
    pub fn home(self) -> u8 {
        self.0 + 1
    }

    /// The region with this home number; `None` for 0 (no home) and 255.
    #[must_use]
    pub fn from_home(home: u8) -> Option<Self> {
        home.checked_sub(1).and_then(|index| Self::new(usize::from(index)))
    }
}

/// One value for each region, in file order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regions<T>(Vec<T>);

impl<T> Regions<T> {
    /// Takes one value for each region; `None` when there are more than [`MAX_REGIONS`].
    #[must_use]
    pub fn new(values: Vec<T>) -> Option<Self> {
        (values.len() <= MAX_REGIONS).then_some(Self(values))
    }

    /// All regions with their values, in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (RegionId, &T)> {
        self.0.iter().enumerate().map(|(index, value)| {
            let id = u8::try_from(index).map_or(RegionId(u8::MAX), RegionId);
            (id, value)
        })
    }

    /// How many regions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of `id`, if this set has that region.
    #[must_use]
    pub fn get(&self, id: RegionId) -> Option<&T> {
        self.0.get(id.index())
    }

    /// Another value for each region.
    pub fn map<U>(&self, f: impl FnMut((RegionId, &T)) -> U) -> Regions<U> {
        Regions(self.iter().map(f).collect())
    }
}

impl<T> Index<RegionId> for Regions<T> {
    type Output = T;
    fn index(&self, id: RegionId) -> &T {
        &self.0[id.index()]
    }
}

impl<T> IndexMut<RegionId> for Regions<T> {
    fn index_mut(&mut self, id: RegionId) -> &mut T {
        &mut self.0[id.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_zero_and_past_the_last_are_no_region() {
        assert_eq!(RegionId::from_home(0), None);
        assert_eq!(RegionId::from_home(255), None);
        assert_eq!(RegionId::from_home(254).map(RegionId::index), Some(253));
        assert_eq!(RegionId::new(MAX_REGIONS), None);
        assert_eq!(RegionId::new(0).map(RegionId::home), Some(1));
    }
}
