//! What befalls the world: crashes, partitions, broken connections, emptied servers. Never decides how anyone takes it.

use super::front::Side;
use super::world::{Event, Link, MS, STORMY, World};

impl World {
    pub(super) fn disturb(&mut self) {
        if !self.dials.storms || self.now >= STORMY {
            return;
        }
        self.totals.disturbances += 1;
        let host = self.chance.below(self.hosts.len());
        match self.chance.below(6) {
            0 | 1 if self.hosts[host].alive => self.kill(host),
            2 => {
                let open: Vec<usize> = (0..self.links.len()).filter(|&link| self.links[link].open).collect();
                if !open.is_empty() {
                    let link = self.chance.pick(&open);
                    self.break_link(link);
                }
            }
            3 => self.part(),
            4 => {
                let region = self.chance.below(self.caches.len());
                self.empty(region);
            }
            _ => {
                let open: Vec<usize> = (0..self.conns.len()).filter(|&conn| self.conns[conn].open).collect();
                if !open.is_empty() {
                    // The front sees that the client is gone.
                    let conn = self.chance.pick(&open);
                    self.front(conn, Side::End, &[]);
                    self.broken(conn);
                }
            }
        }
        self.after(50 * MS, 1500 * MS, Event::Disturb);
    }

    pub(super) fn kill(&mut self, host: usize) {
        self.totals.kills += 1;
        self.hosts[host].die();
        for conn in 0..self.conns.len() {
            if self.conns[conn].host == host {
                self.broken(conn);
            }
        }
        for link in 0..self.links.len() {
            let &Link { from, to, .. } = &self.links[link];
            if from == host {
                self.links[link].open = false;
            } else if to == host {
                self.break_link(link);
            }
        }
        self.after(MS, 1500 * MS, Event::Restart(host));
    }

    pub(super) fn restart(&mut self, host: usize) {
        self.hosts[host].restart();
        let life = self.hosts[host].life;
        for out in 0..self.hosts[host].outs.len() {
            self.after(0, 50 * MS, Event::Connect(host, life, out));
        }
    }

    /// Two regions can't reach each other for a while.
    pub(super) fn part(&mut self) {
        let a = self.chance.below(self.caches.len());
        let b = (a + 1) % self.caches.len();
        let pair = (a.min(b), a.max(b));
        self.cut.insert(pair);
        self.totals.partitions += 1;
        for link in 0..self.links.len() {
            let &Link { from, to, .. } = &self.links[link];
            let regions = (self.hosts[from].region, self.hosts[to].region);
            if (regions.0.min(regions.1), regions.0.max(regions.1)) == pair {
                self.break_link(link);
            }
        }
        self.after(100 * MS, 3000 * MS, Event::Mend(pair.0, pair.1));
    }

    /// A memcached server is started again, empty.
    pub(super) fn empty(&mut self, region: usize) {
        self.caches[region].copies.clear();
        for conn in 0..self.conns.len() {
            if self.hosts[self.conns[conn].host].region == region && self.conns[conn].served {
                self.conns[conn].served = false;
                self.front(conn, Side::End, &[]);
                self.broken(conn);
            }
        }
    }
}
