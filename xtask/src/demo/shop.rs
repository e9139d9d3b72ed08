//! A small application that reads through the cache: from memcached behind tidegate's front, else from the region's store.
//! Never knows that there is another region.

use anyhow::Result;
use tidegate_tests::memcached::Client;
use tidegate_tests::netns::Netns;

use super::store::{MEMCACHED, Store};

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// The cache.
    Cache,
    /// The store; the cache has it now.
    Store,
    /// Nowhere.
    Nowhere,
}

/// One instance, on a region's edge host.
pub(super) struct Shop<'a> {
    store: &'a Store,
    front: Client,
    copies: Client,
}

impl<'a> Shop<'a> {
    /// Opens it over the front at `front`.
    pub(super) fn open(edge: &Netns, store: &'a Store, front: &str) -> Result<Self> {
        let (front, copies) = (front.parse()?, MEMCACHED.parse()?);
        let connect = |to| edge.run(|| Client::connect(to))?;
        Ok(Self { store, front: connect(front)?, copies: connect(copies)? })
    }

    /// Reads a profile, and fills the cache after a miss.
    pub(super) fn read(&mut self, id: &str) -> Result<(String, From)> {
        if let Some(name) = self.front.get(id)? {
            return Ok((name, From::Cache));
        }
        match self.store.read(id)? {
            Some(name) => {
                self.front.set(id, &name)?;
                Ok((name, From::Store))
            }
            None => Ok((String::new(), From::Nowhere)),
        }
    }

    /// Writes profiles: the store first, then the cache.
    pub(super) fn write(&mut self, rows: &[(String, String)]) -> Result<()> {
        self.store.write(rows)?;
        for (id, name) in rows {
            self.front.set(id, name)?;
        }
        Ok(())
    }

    /// What memcached itself holds, past the front: an outsider's look.
    pub(super) fn copy(&mut self, id: &str) -> Result<Option<String>> {
        self.copies.get(id)
    }
}
