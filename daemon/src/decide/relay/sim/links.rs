//! Rows between daemons, and what the other end does with them. Never loses order on one connection; between two everything goes.

use std::sync::Arc;

use super::front::name;
use super::host::{Job, Settled};
use super::world::{Event, Link, MS, Work, World};
use crate::decide::relay::effect::Effect;
use crate::decide::relay::item::{Item, Items};
use crate::decide::relay::repeat::{Batch, slows};
use crate::decide::relay::window::Sent;

impl World {
    pub(super) fn connect(&mut self, host: usize, out: usize) {
        let (from, to) = (self.hosts[host].region, self.hosts[host].outs[out].region);
        let there: Vec<usize> = (0..self.hosts.len())
            .filter(|&other| self.hosts[other].region == to && self.hosts[other].alive)
            .filter(|_| !self.cut.contains(&(from.min(to), from.max(to))))
            .collect();
        let life = self.hosts[host].life;
        if there.is_empty() {
            return self.after(100 * MS, 500 * MS, Event::Connect(host, life, out));
        }
        let other = self.chance.pick(&there);
        self.hosts[host].outs[out].link = Some(self.links.len());
        let to_life = self.hosts[other].life;
        let (late, arrive) = (self.chance.percent(50), [self.now; 2]);
        self.links.push(Link { from: host, out, to: other, to_life, open: true, late, arrive });
        self.after(0, 5 * MS, Event::Pump(host, life, out));
    }

    pub(super) fn pump(&mut self, host: usize, out: usize) {
        let Some(link) = self.hosts[host].outs[out].link else { return };
        let now = self.instant();
        let out = &mut self.hosts[host].outs[out];
        let mut batches = Vec::new();
        while out.window.has_room(0) {
            let row = out.window.again(0, now);
            let Some(row) = row.or_else(|| {
                let row = out.ready.pop_front()?;
                out.lane.hand_out(&row);
                Some(row)
            }) else {
                break;
            };
            let number = out.window.send(Sent::Row(0, Arc::clone(&row)));
            batches.push((number, row.items.clone()));
        }
        for (number, items) in batches {
            self.over(link, 0, Event::Batch(link, number, items));
        }
    }

    /// A frame on one of a link's ways.
    pub(super) fn over(&mut self, link: usize, way: usize, event: Event) {
        let delay = self.chance.between(MS, 40 * MS);
        let at = (self.now + delay).max(self.links[link].arrive[way] + 1);
        self.links[link].arrive[way] = at;
        self.at(at, event);
    }

    pub(super) fn batch(&mut self, link: usize, number: u64, items: Vec<u8>) {
        let &Link { to, to_life, open, late, .. } = &self.links[link];
        if !self.lives(to, to_life) || !(open || late) {
            return;
        }
        self.totals.late += u64::from(!open);
        self.hosts[to].jobs.push_back(Job { items, link, number });
        self.at(self.now, Event::Apply(to, to_life));
    }

    /// The other region's word: applied (and whether it rests), or repeated.
    pub(super) fn ack(&mut self, link: usize, number: u64, applied: Option<bool>) {
        let &Link { from, out, open, .. } = &self.links[link];
        if !open {
            return;
        }
        let lane = &mut self.hosts[from].outs[out];
        let settled = match applied {
            Some(rests) => match lane.window.close(number, rests) {
                Some(Sent::Row(_, row)) => Some((row, if rests { Settled::Rests } else { Settled::Applied })),
                _ => None,
            },
            None => lane.window.repeated(number).map(|(_, row)| (row, Settled::Repeated)),
        };
        lane.settled.extend(settled);
        let life = self.hosts[from].life;
        self.at(self.now, Event::Begin(from, life));
        self.at(self.now, Event::Pump(from, life, out));
    }

    pub(super) fn break_link(&mut self, link: usize) {
        if !std::mem::take(&mut self.links[link].open) {
            return;
        }
        let &Link { from, out, .. } = &self.links[link];
        let lane = &mut self.hosts[from].outs[out];
        lane.link = None;
        lane.window.reopen();
        let life = self.hosts[from].life;
        self.after(50 * MS, 400 * MS, Event::Connect(from, life, out));
    }

    /// Begins with what is due: the fences first.
    pub(super) fn apply(&mut self, host: usize) {
        let now = self.instant();
        let at = &mut self.hosts[host];
        if at.applying {
            return;
        }
        let work = if at.repeats.due().is_some_and(|due| due <= now) {
            Work::Again(at.repeats.take(now))
        } else if let Some(job) = at.jobs.pop_front() {
            Work::First(job)
        } else {
            return;
        };
        at.applying = true;
        let items = match &work {
            Work::First(job) => &job.items,
            Work::Again(taken) => &taken.items,
        };
        let now_s = u32::try_from(self.now / (1000 * MS)).expect("short");
        for item in Items::new(items) {
            at.invalidations += 1;
            match item.key() {
                None => at.fences.flushed(at.invalidations),
                Some((key, effect)) => {
                    at.fences.invalidated(name(key), effect.hash(), at.invalidations, now_s);
                }
            }
        }
        let life = at.life;
        self.after(MS / 10, 15 * MS, Event::Delete(host, life, work));
    }

    pub(super) fn delete(&mut self, host: usize, work: Work) {
        let now = self.instant();
        self.hosts[host].applying = false;
        match work {
            Work::Again(taken) => {
                self.forget(host, &taken.items, false);
                for (link, number) in self.hosts[host].repeats.done(taken) {
                    self.over(link, 1, Event::Repeated(link, number));
                }
            }
            Work::First(Job { items, link, number }) => {
                let (slowed, equal) = self.forget(host, &items, true);
                let told = vec![(link, number)];
                let sender = if self.dials.mixed { 0 } else { link as u64 };
                let batch = [Batch { sender, items: &items }];
                let repeats = &mut self.hosts[host].repeats;
                let rests = repeats.applied(&batch, |at| equal[at], slowed, told, now).is_none();
                self.over(link, 1, Event::Ack(link, number, rests));
            }
        }
        let life = self.hosts[host].life;
        self.at(self.now, Event::Apply(host, life));
        if let Some(due) = self.hosts[host].repeats.due() {
            let due = u64::try_from((due - self.base).as_nanos()).expect("short");
            self.at(due.max(self.now), Event::Apply(host, life));
        }
    }

    /// Deletes copies that differ; the items of slowed keys, and which items found an equal copy.
    pub(super) fn forget(&mut self, host: usize, items: &[u8], first: bool) -> (Vec<u8>, Vec<bool>) {
        let at = &mut self.hosts[host];
        let cache = &mut self.caches[at.region];
        let (mut slowed, mut equal) = (Vec::new(), Vec::new());
        for item in Items::new(items) {
            let Some((key, effect)) = item.key() else {
                cache.copies.clear();
                equal.push(false);
                continue;
            };
            let copy = cache.hash(key);
            equal.push(copy.is_some() && copy == effect.hash());
            let differs = copy.is_some() && copy != effect.hash();
            if !differs {
                continue;
            }
            let spared = first && slows(&item, at.fences.rounds(name(key)));
            if first && matches!(effect, Effect::Refill(_)) {
                at.fences.differed(name(key));
            }
            if spared {
                Item::Differs(key, effect.hash().unwrap_or(0)).write(&mut slowed);
                self.totals.slowed += 1;
            } else {
                cache.copies.remove(key);
                self.totals.deleted += 1;
            }
        }
        (slowed, equal)
    }
}
