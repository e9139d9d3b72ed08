//! The state file: torn, damaged, newer, on a full disk, and locked.

use std::cell::Cell;

use jiff::Timestamp;

use super::*;
use crate::decide::overrides::{Caller, Order, Setting, Slot};

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-store-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn state(region: &str) -> Overrides {
    let order = Order {
        changes: vec![(Slot::Failover(region.to_owned()), Some(Setting::Failover(true)))],
        valid_for: None,
        confirm: None,
        reason: Some("a reason with \"quotes\"\nand lines".to_owned()),
        caller: Caller { uid: 0, pid: 1 },
    };
    Overrides::default().apply(&order, Timestamp::UNIX_EPOCH).expect("applied").0
}

#[test]
fn what_was_saved_is_read_back_and_the_folder_is_one_daemons() {
    let folder = Folder::new("back");
    let store = Store::open(&folder.0, "one").expect("opened");
    assert_eq!(store.load().expect("nothing there yet").overrides, Overrides::default());
    store.save(&state("a")).expect("saved");
    assert!(matches!(Store::open(&folder.0, "one"), Err(StoreError::Taken(_))));
    drop(store);
    let store = Store::open(&folder.0, "one").expect("the lock went with the store");
    let found = store.load().expect("loaded");
    assert_eq!((found.overrides, found.set_aside), (state("a"), None));
}

#[test]
fn every_cut_and_every_flipped_byte_is_noticed_and_set_aside() {
    let folder = Folder::new("damage");
    let store = Store::open(&folder.0, "one").expect("opened");
    let path = folder.0.join("one/state");
    let good = render(&state("a"));
    let mut damaged: Vec<Vec<u8>> = (0..good.len()).map(|end| good[..end].to_vec()).collect();
    damaged.extend((0..good.len()).map(|at| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x55;
        bytes
    }));
    for bytes in damaged {
        fs::write(&path, &bytes).expect("written");
        let found = store.load().expect("set aside");
        let told = found.set_aside.expect("told");
        assert_eq!(found.overrides, Overrides::default());
        let aside =
            told.split(" as ").nth(1).and_then(|rest| rest.split(',').next()).expect("names the file");
        assert_eq!(fs::read(aside).expect("kept"), bytes);
        fs::remove_file(aside).expect("removed");
        assert!(!path.exists());
    }
}

#[test]
fn a_newer_format_is_kept_and_not_guessed_at() {
    let folder = Folder::new("newer");
    let store = Store::open(&folder.0, "one").expect("opened");
    fs::write(folder.0.join("one/state"), "tidegate-state 2 whatever\n{}").expect("written");
    let told = store.load().expect("set aside").set_aside.expect("told");
    assert!(told.contains("format 2") && told.contains("state.newer-1"), "{told}");
}

/// Fails at the `at`-th call, the way the system does.
struct Failing {
    left: Cell<usize>,
    error: i32,
}

impl Failing {
    fn step(&self) -> io::Result<()> {
        match self.left.get() {
            0 => Err(io::Error::from_raw_os_error(self.error)),
            left => {
                self.left.set(left - 1);
                Ok(())
            }
        }
    }
}

impl Calls for Failing {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        // A full disk takes a part of the bytes first.
        if self.left.get() == 0 {
            Disk.write(path, &bytes[..bytes.len() / 2])?;
        }
        self.step()?;
        Disk.write(path, bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        Disk.rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.step()?;
        Disk.sync_folder(folder)
    }
}

#[test]
fn a_save_that_fails_at_any_call_leaves_the_old_state() {
    let folder = Folder::new("failing");
    let store = Store::open(&folder.0, "one").expect("opened");
    store.save(&state("old")).expect("saved");
    let new = render(&state("new"));
    for error in [nix::errno::Errno::ENOSPC, nix::errno::Errno::EIO, nix::errno::Errno::EINTR] {
        for at in 0..3 {
            let calls = Failing { left: Cell::new(at), error: error as i32 };
            let told = save_with(&calls, store.folder(), &new).expect_err("told").to_string();
            assert!(told.contains("cannot "), "{told}");
            let found = store.load().expect("loaded");
            assert_eq!(found.set_aside, None);
            assert_eq!(found.overrides, state("old"), "{error} at call {at}");
            store.save(&state("old")).expect("saved");
        }
    }
}

#[test]
fn a_first_save_that_fails_leaves_none() {
    let folder = Folder::new("first");
    let store = Store::open(&folder.0, "one").expect("opened");
    for at in 0..3 {
        let calls = Failing { left: Cell::new(at), error: nix::errno::Errno::EIO as i32 };
        save_with(&calls, store.folder(), &render(&state("new"))).expect_err("told");
        assert_eq!(store.load().expect("loaded").overrides, Overrides::default(), "call {at}");
    }
}
