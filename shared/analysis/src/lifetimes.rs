//! The store of lifetime rows: bounded, and coarser in time when it is full.

use crate::estimate::{Tally, Weight};
use crate::order::ranked;
use heaptide_protocol::lifetimes::{Allotment, LifetimeTable};
use heaptide_protocol::{StackId, SymbolGen, TagId};
use std::collections::HashMap;

/// Births and deaths held; 16 bytes each. Beyond it, neighbouring ticks merge.
pub(crate) const MAX_ROWS: usize = 2 << 20;
/// Distinct (stack, tag, size, rate); beyond it rows are left out and counted.
const MAX_SITES: usize = 1 << 19;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Site {
    pub(crate) stack: StackId,
    pub(crate) heap_tag: TagId,
    pub(crate) size_bytes: u64,
    pub(crate) rate_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Birth {
    tick: u32,
    site: u32,
    count: u32,
}

#[derive(Debug, Clone, Copy)]
struct Death {
    tick: u32,
    born: u32,
    site: u32,
    count: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Lifetimes {
    sites: Vec<(Site, Weight)>,
    index: HashMap<Site, u32>,
    births: Vec<Birth>,
    deaths: Vec<Death>,
    /// `(first tick, generation)`, rising.
    generations: Vec<(u32, SymbolGen)>,
    /// Sampled objects left out because there are too many sites.
    pub(crate) left_out: u64,
}

/// What was allocated and what was freed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Flow {
    pub(crate) born: Tally,
    pub(crate) died: Tally,
}

impl Flow {
    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self {
            born: self.born.plus(&other.born),
            died: self.died.plus(&other.died),
        }
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        Self {
            born: self.born.minus(&other.born),
            died: self.died.minus(&other.died),
        }
    }

    pub(crate) fn share(&self, share: f64) -> Self {
        Self {
            born: self.born.share(share),
            died: self.died.share(share),
        }
    }

    pub(crate) fn live(&self) -> Tally {
        self.born.minus(&self.died)
    }
}

/// Counts of one call stack under one symbol generation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StackTally {
    pub(crate) stack: StackId,
    pub(crate) generation: SymbolGen,
    pub(crate) tally: Tally,
}

/// Which rows count, in ticks: `from..to`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Selection {
    BornIn { from: u32, to: u32 },
    DiedIn { from: u32, to: u32 },
    LiveAt { to: u32 },
    KeptIn { from: u32, to: u32 },
}

impl Lifetimes {
    /// Adds a table; `tick` and `born` map wire ticks to the viewer's. Returns what was born and died, by the
    /// probes and by Go's own profile, whose rows have the tag `buckets`.
    pub(crate) fn apply(
        &mut self,
        table: &LifetimeTable,
        tick: u32,
        buckets: Option<TagId>,
        born: impl Fn(u32) -> u32,
    ) -> [Flow; 2] {
        match self.generations.last() {
            Some((_, generation)) if *generation >= table.symbol_gen => {}
            _ => self.generations.push((tick, table.symbol_gen)),
        }
        let mut flows = [Flow::default(); 2];
        let of = |tag: TagId| usize::from(Some(tag) == buckets);
        for row in &table.births {
            if let Some(site) = self.site(&row.allotment, table, row.count) {
                flows[of(row.allotment.heap_tag)]
                    .born
                    .add(&self.sites[site as usize].1, i64::from(row.count));
                self.births.push(Birth {
                    tick,
                    site,
                    count: row.count,
                });
            }
        }
        for row in &table.deaths {
            if let Some(site) = self.site(&row.allotment, table, row.count) {
                flows[of(row.allotment.heap_tag)]
                    .died
                    .add(&self.sites[site as usize].1, i64::from(row.count));
                self.deaths.push(Death {
                    tick,
                    born: born(row.age_ticks),
                    site,
                    count: row.count,
                });
            }
        }
        flows
    }

    pub(crate) fn is_full(&self) -> bool {
        self.births.len() + self.deaths.len() > MAX_ROWS
    }

    /// Halves the resolution in time: two ticks become one, equal rows merge.
    pub(crate) fn coarsen(&mut self) {
        for birth in &mut self.births {
            birth.tick /= 2;
        }
        for death in &mut self.deaths {
            death.tick /= 2;
            death.born /= 2;
        }
        for (tick, _) in &mut self.generations {
            *tick /= 2;
        }
        self.births.sort_unstable_by_key(|row| (row.tick, row.site));
        self.births.dedup_by(|next, kept| {
            let same = (next.tick, next.site) == (kept.tick, kept.site);
            merge(same, &mut kept.count, next.count)
        });
        self.deaths
            .sort_unstable_by_key(|row| (row.tick, row.site, row.born));
        self.deaths.dedup_by(|next, kept| {
            let same = (next.tick, next.site, next.born) == (kept.tick, kept.site, kept.born);
            merge(same, &mut kept.count, next.count)
        });
    }

    /// Sums per stack and symbol generation, heaviest first, of rows whose tag is wanted.
    pub(crate) fn by_stack(&self, selection: Selection, wanted: &dyn Fn(TagId) -> bool) -> Vec<StackTally> {
        self.group(&self.counts(selection, wanted))
    }

    /// Counts of sampled objects, in no order; those of one site under two symbol generations are two.
    pub(crate) fn by_site(
        &self,
        selection: Selection,
        wanted: &dyn Fn(TagId) -> bool,
    ) -> impl Iterator<Item = (Site, SymbolGen, u64)> {
        self.counts(selection, wanted)
            .into_iter()
            .enumerate()
            .filter(|(_, count)| *count > 0)
            .map(move |(at, count)| {
                let (site, _) = self.sites[at / self.generations.len()];
                let (_, generation) = self.generations[at % self.generations.len()];
                (site, generation, count.unsigned_abs())
            })
    }

    /// Per site and symbol generation, 0 where the tag isn't wanted.
    fn counts(&self, selection: Selection, wanted: &dyn Fn(TagId) -> bool) -> Vec<i64> {
        let mut counts = vec![0_i64; self.sites.len() * self.generations.len().max(1)];
        let slot =
            |site: u32, born: u32| site as usize * self.generations.len() + self.generation_index(born);
        let born_until = |to: u32| &self.births[..self.births.partition_point(|row| row.tick < to)];
        let born_in = |from: u32, to: u32| {
            let until = born_until(to);
            &until[until.partition_point(|row| row.tick < from)..]
        };
        let died_in = |from: u32, to: u32| {
            let until = &self.deaths[..self.deaths.partition_point(|row| row.tick < to)];
            &until[until.partition_point(|row| row.tick < from)..]
        };
        let (births, deaths, sign, born_since) = match selection {
            Selection::BornIn { from, to } => (born_in(from, to), &[][..], 1, 0),
            Selection::DiedIn { from, to } => (&[][..], died_in(from, to), 1, 0),
            Selection::LiveAt { to } => (born_until(to), died_in(0, to), -1, 0),
            Selection::KeptIn { from, to } => (born_in(from, to), died_in(from, to), -1, from),
        };
        for row in births {
            counts[slot(row.site, row.tick)] += i64::from(row.count);
        }
        for row in deaths.iter().filter(|row| row.born >= born_since) {
            counts[slot(row.site, row.born)] += sign * i64::from(row.count);
        }
        for (at, (site, _)) in self.sites.iter().enumerate() {
            if !wanted(site.heap_tag) {
                let each = self.generations.len();
                counts[at * each..(at + 1) * each].fill(0);
            }
        }
        counts
    }

    fn group(&self, counts: &[i64]) -> Vec<StackTally> {
        let mut groups: HashMap<(StackId, SymbolGen), Tally> = HashMap::new();
        for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (site, weight) = &self.sites[at / self.generations.len()];
            let (_, generation) = self.generations[at % self.generations.len()];
            groups
                .entry((site.stack, generation))
                .or_default()
                .add(weight, *count);
        }
        let stacks: Vec<StackTally> = groups
            .into_iter()
            .map(|((stack, generation), tally)| StackTally {
                stack,
                generation,
                tally,
            })
            .collect();
        let order = ranked(stacks.len(), &|a, b| {
            let (a, b) = (&stacks[a], &stacks[b]);
            b.tally
                .bytes
                .estimate
                .total_cmp(&a.tally.bytes.estimate)
                .then((a.stack, a.generation).cmp(&(b.stack, b.generation)))
        });
        order.iter().map(|at| stacks[*at as usize]).collect()
    }

    fn generation_index(&self, tick: u32) -> usize {
        match self.generations.len() {
            0 | 1 => 0,
            _ => self
                .generations
                .partition_point(|(since, _)| *since <= tick)
                .saturating_sub(1),
        }
    }

    fn site(&mut self, allotment: &Allotment, table: &LifetimeTable, count: u32) -> Option<u32> {
        let rate_bytes = *table.rates_bytes.get(allotment.rate_index as usize)?;
        let site = Site {
            stack: allotment.stack,
            heap_tag: allotment.heap_tag,
            size_bytes: allotment.size_bytes,
            rate_bytes,
        };
        if let Some(at) = self.index.get(&site) {
            return Some(*at);
        }
        if self.sites.len() >= MAX_SITES {
            self.left_out += u64::from(count);
            return None;
        }
        let at = self.sites.len() as u32;
        self.sites.push((site, Weight::new(site.size_bytes, rate_bytes)));
        self.index.insert(site, at);
        Some(at)
    }
}

/// For `dedup_by`: adds the counts of equal rows unless that would overflow.
fn merge(same: bool, kept: &mut u32, next: u32) -> bool {
    match kept.checked_add(next) {
        Some(sum) if same => {
            *kept = sum;
            true
        }
        _ => false,
    }
}
