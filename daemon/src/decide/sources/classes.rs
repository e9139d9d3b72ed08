//! Numbers for the combinations of home and list that occur. Never more than 256: with many regions, the lists forget homes.

use std::collections::{BTreeSet, HashMap};

use tidegate_common::abi::{Class, LIST_NONE};

/// Classes by what they mean.
pub(super) struct Classes {
    numbers: HashMap<(u8, u8), u8>,
    meanings: Vec<Class>,
    collapsed: bool,
}

impl Classes {
    /// Numbers all that is `used`; `default` gets 0. Unlisted sources come first and the allow list last, because number 255
    /// is a slower look in the IPv4 table.
    pub(super) fn allocate(default: Class, used: impl Iterator<Item = Class>) -> Self {
        let mut wanted: BTreeSet<(u8, u8)> = used.map(|class| (class.list, class.home)).collect();
        wanted.remove(&(default.list, default.home));
        let collapsed = wanted.len() >= 256;
        if collapsed {
            wanted = wanted.into_iter().map(|(list, home)| key(list, home, true)).collect();
        }
        let mut order: Vec<(u8, u8)> = wanted.into_iter().collect();
        order.sort_by_key(|&(list, home)| (rank(list), home));
        let mut classes = Self { numbers: HashMap::new(), meanings: Vec::new(), collapsed };
        classes.add((default.list, default.home));
        order.into_iter().for_each(|key| classes.add(key));
        classes
    }

    fn add(&mut self, key: (u8, u8)) {
        if let Ok(number) = u8::try_from(self.meanings.len()) {
            self.numbers.insert(key, number);
            self.meanings.push(Class { list: key.0, home: key.1 });
        }
    }

    /// Number of what `allocate` saw.
    pub(super) fn number(&self, class: Class) -> u8 {
        self.numbers.get(&key(class.list, class.home, self.collapsed)).copied().unwrap_or_default()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.meanings.len()
    }

    /// By number.
    pub(super) fn table(&self) -> Box<[Class; 256]> {
        let mut table = Box::new([Class::default(); 256]);
        for (entry, class) in table.iter_mut().zip(&self.meanings) {
            *entry = *class;
        }
        table
    }
}

fn key(list: u8, home: u8, collapsed: bool) -> (u8, u8) {
    if collapsed && list != LIST_NONE { (list, 0) } else { (list, home) }
}

/// None, deny, allow.
fn rank(list: u8) -> u8 {
    match list {
        LIST_NONE => 0,
        tidegate_common::abi::LIST_DENY => 1,
        _ => 2,
    }
}
