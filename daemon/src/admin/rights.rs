//! Who may change things: root and the members of `write_group`. Never answers a request itself.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

/// The other end of a connection on the unix socket, as the kernel tells it (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Effective user when it connected.
    pub uid: u32,
    /// Effective group when it connected.
    pub gid: u32,
    /// Process; 0 where it is out of sight.
    pub pid: i32,
}

/// Whether `peer` may change things. Asks the system's user database, so it may wait for a name service: call it off the async threads.
///
/// Whoever can't be looked up may read only.
#[must_use]
pub fn may_change(peer: Peer, write_group: Option<&str>) -> bool {
    if peer.uid == 0 {
        return true;
    }
    let Some(group) = write_group.and_then(|name| Group::from_name(name).ok().flatten()) else {
        return false;
    };
    peer.gid == group.gid.as_raw() || is_member(peer, group.gid)
}

fn is_member(peer: Peer, group: Gid) -> bool {
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(peer.uid)) else { return false };
    let Ok(name) = CString::new(user.name) else { return false };
    getgrouplist(&name, user.gid).is_ok_and(|groups| groups.contains(&group))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Peer = Peer { uid: 65_534, gid: 65_534, pid: 1 };

    #[test]
    fn root_may_and_strangers_may_not() {
        assert!(may_change(Peer { uid: 0, gid: 0, pid: 1 }, None));
        assert!(!may_change(NOBODY, None));
        assert!(!may_change(NOBODY, Some("no-such-group-here")));
        assert!(!may_change(Peer { uid: 4_000_000_000, ..NOBODY }, Some("root")));
    }

    #[test]
    fn members_of_the_group_may() {
        let group = Group::from_gid(Gid::from_raw(NOBODY.gid)).ok().flatten().expect("Debian has nogroup");
        assert!(may_change(NOBODY, Some(&group.name)));
        let elsewhere = Peer { gid: 1, ..NOBODY };
        assert!(may_change(elsewhere, Some(&group.name)), "by the user database, not only by the socket");
    }
}
