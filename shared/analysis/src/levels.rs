//! Rows of call sites, heap tags and gauges per tick of 100 ms, 1 s, 10 s, 1 min, 10 min and 1 h, for a store that other
//! engines read. Each coarser level is made of the one before.
//!
//! A row comes for a site in whose tick something was allocated or freed, and for every live site in the first
//! tick after [`LevelBuilder::begin`], so that each stretch of rows stands by itself: what is live at a moment is
//! the last row of each site up to then.

use crate::estimate::{Tally, Weight};
use crate::symbols::Symbols;
use heaptide_protocol::gauges::{Gauge, Gauges};
use heaptide_protocol::lifetimes::{Allotment, LifetimeTable};
use heaptide_protocol::section::{Section, Sections};
use heaptide_protocol::session::Clock;
use heaptide_protocol::{Frame, StackId, StringId, SymbolGen, TagId};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Widths, finest first; each divides the next.
pub const LEVELS_NS: [u64; 6] = [
    100_000_000,
    1_000_000_000,
    10_000_000_000,
    60_000_000_000,
    600_000_000_000,
    3_600_000_000_000,
];
/// Their names, in files and queries.
pub const LEVEL_NAMES: [&str; 6] = ["100ms", "1s", "10s", "1min", "10min", "1h"];

/// Distinct call sites with a tag; beyond it rows are left out and counted.
const MAX_SITES: usize = 1 << 19;
/// Texts of call sites kept at once.
const MAX_TEXTS: usize = 1 << 14;

/// An estimate of objects of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Amount {
    /// Sampled objects behind it.
    pub samples: i64,
    pub bytes: f64,
    pub bytes_variance: f64,
    pub objects: f64,
    pub objects_variance: f64,
}

/// The words for a call stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteText {
    /// The same in each run of one build.
    pub stack_trace_hash: u64,
    /// The function that allocated.
    pub function: String,
    /// All of them from the root to the leaf, with `;` in between.
    pub stack: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SiteRow {
    /// On the session's clock.
    pub tick_start_ns: u64,
    pub unix_ns: u64,
    pub text: Arc<SiteText>,
    pub heap_tag: Arc<str>,
    /// In the tick.
    pub allocated: Amount,
    pub freed: Amount,
    /// At its end.
    pub live: Amount,
}

/// What all call sites with one heap tag come to.
#[derive(Debug, Clone, PartialEq)]
pub struct TagRow {
    pub tick_start_ns: u64,
    pub unix_ns: u64,
    pub heap_tag: Arc<str>,
    pub allocated: Amount,
    pub freed: Amount,
    pub live: Amount,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GaugeRow {
    pub tick_start_ns: u64,
    pub unix_ns: u64,
    pub gauge: Gauge,
    pub min: u64,
    pub max: u64,
    pub last: u64,
}

/// Takes rows in the order of time within a level, which is an index into [`LEVELS_NS`].
pub trait LevelSink {
    fn site(&mut self, level: usize, row: SiteRow);
    /// Behind those of its sites in the same tick.
    fn tag(&mut self, level: usize, row: TagRow);
    fn gauge(&mut self, level: usize, row: GaugeRow);
}

type Key = (StackId, TagId);

#[derive(Debug, Clone, Copy, Default)]
struct Flow {
    born: Tally,
    died: Tally,
}

impl Flow {
    fn add(&mut self, other: &Self) {
        self.born = self.born.plus(&other.born);
        self.died = self.died.plus(&other.died);
    }
}

#[derive(Debug, Clone, Copy)]
struct Extremes {
    min: u64,
    max: u64,
    last: u64,
}

/// A tick that is not over.
#[derive(Debug, Default)]
struct Open {
    tick: Option<u64>,
    sites: BTreeMap<Key, Flow>,
    gauges: BTreeMap<Gauge, Extremes>,
}

#[derive(Debug, Default)]
pub struct LevelBuilder {
    symbols: Symbols,
    tags: HashMap<TagId, Arc<str>>,
    clock: Option<Clock>,
    generation: SymbolGen,
    live: BTreeMap<Key, Tally>,
    live_by_tag: BTreeMap<TagId, Tally>,
    open: [Open; LEVELS_NS.len()],
    texts: HashMap<(StackId, SymbolGen), Arc<SiteText>>,
    weights: HashMap<(u64, u64), Weight>,
    /// Sampled objects left out because there are too many sites.
    pub left_out: u64,
    /// Frames that could not be decoded to their end.
    pub damaged_frames: u64,
}

/// Where nothing is wanted but the state.
struct Nowhere;

impl LevelSink for Nowhere {
    fn site(&mut self, _: usize, _: SiteRow) {}
    fn tag(&mut self, _: usize, _: TagRow) {}
    fn gauge(&mut self, _: usize, _: GaugeRow) {}
}

impl LevelBuilder {
    /// Takes in what came before the rows that are wanted.
    pub fn warm_up(&mut self, frame: &Frame<'_>) {
        self.apply(frame, &mut Nowhere);
        let [finest, ..] = std::mem::take(&mut self.open);
        for (key, flow) in finest.sites {
            if self.settle(key, &flow).samples == 0 {
                self.live.remove(&key);
            }
        }
    }

    /// Rows from here on stand by themselves.
    pub fn begin(&mut self, at_ns: u64) {
        for (open, width_ns) in self.open.iter_mut().zip(LEVELS_NS) {
            let sites = self.live.keys().map(|key| (*key, Flow::default()));
            *open = Open {
                tick: Some(at_ns / width_ns),
                sites: sites.collect(),
                gauges: BTreeMap::new(),
            };
        }
    }

    pub fn apply(&mut self, frame: &Frame<'_>, sink: &mut dyn LevelSink) {
        let mut scratch = Vec::new();
        let mut damaged = false;
        match frame.raw(&mut scratch) {
            Ok(raw) => {
                for section in Sections::new(raw) {
                    match section {
                        Ok(section) => damaged |= !self.apply_section(section, sink),
                        Err(_) => damaged = true,
                    }
                }
            }
            Err(_) => damaged = true,
        }
        self.damaged_frames += u64::from(damaged);
    }

    /// The ticks that are not over. What comes in the same ones later makes rows of its own, which add up.
    pub fn finish(&mut self, sink: &mut dyn LevelSink) {
        for level in 0..LEVELS_NS.len() {
            self.close(level, sink);
        }
    }

    fn apply_section(&mut self, section: Section, sink: &mut dyn LevelSink) -> bool {
        match section {
            Section::Start(start) => self.clock = Some(start.signature.clock),
            Section::Dictionary(dictionary) => {
                let generation = dictionary.symbol_gen;
                let tags: Vec<(TagId, StringId)> =
                    dictionary.tags.iter().map(|tag| (tag.id, tag.name)).collect();
                let applied = self.symbols.apply(dictionary);
                for (tag, name) in tags {
                    self.tags
                        .insert(tag, self.symbols.string(name, generation).into());
                }
                return applied.is_ok();
            }
            Section::Lifetimes(table) => self.apply_lifetimes(&table, sink),
            Section::Gauges(gauges) => self.apply_gauges(&gauges, sink),
            _ => {}
        }
        true
    }

    fn apply_lifetimes(&mut self, table: &LifetimeTable, sink: &mut dyn LevelSink) {
        self.generation = self.generation.max(table.symbol_gen);
        self.reach(table.tick.saturating_mul(table.tick_ns), sink);
        for row in &table.births {
            self.count(table, &row.allotment, row.count, |flow| &mut flow.born);
        }
        for row in &table.deaths {
            self.count(table, &row.allotment, row.count, |flow| &mut flow.died);
        }
    }

    fn count(
        &mut self,
        table: &LifetimeTable,
        row: &Allotment,
        count: u32,
        of: impl Fn(&mut Flow) -> &mut Tally,
    ) {
        let Some(rate_bytes) = table.rates_bytes.get(row.rate_index as usize) else {
            return;
        };
        let key = (row.stack, row.heap_tag);
        if self.live.len() >= MAX_SITES && !self.live.contains_key(&key) {
            self.left_out += u64::from(count);
            return;
        }
        if self.weights.len() >= MAX_TEXTS {
            self.weights.clear();
        }
        let weight = *self
            .weights
            .entry((row.size_bytes, *rate_bytes))
            .or_insert_with(|| Weight::new(row.size_bytes, *rate_bytes));
        let flow = self.open[0].sites.entry(key).or_default();
        of(flow).add(&weight, i64::from(count));
        self.live.entry(key).or_default();
    }

    fn apply_gauges(&mut self, gauges: &Gauges, sink: &mut dyn LevelSink) {
        self.reach(gauges.timestamp_ns, sink);
        for value in &gauges.values {
            let one = Extremes {
                min: value.value,
                max: value.value,
                last: value.value,
            };
            merge(&mut self.open[0].gauges, value.gauge, one);
        }
    }

    /// Closes the ticks that are over at a moment. A clock that goes back stays where it was.
    fn reach(&mut self, at_ns: u64, sink: &mut dyn LevelSink) {
        for (level, level_ns) in LEVELS_NS.into_iter().enumerate() {
            let tick = at_ns / level_ns;
            match self.open[level].tick {
                Some(open) if tick > open => {
                    self.close(level, sink);
                    self.open[level].tick = Some(tick);
                }
                Some(_) => {}
                None => self.open[level].tick = Some(tick),
            }
        }
    }

    fn close(&mut self, level: usize, sink: &mut dyn LevelSink) {
        let open = std::mem::take(&mut self.open[level]);
        let Some(tick) = open.tick else { return };
        self.open[level].tick = Some(tick);
        let tick_start_ns = tick.saturating_mul(LEVELS_NS[level]);
        let unix_ns = self.unix_ns(tick_start_ns);
        let mut tags: BTreeMap<TagId, Flow> = BTreeMap::new();
        for (key, flow) in &open.sites {
            let live = if level == 0 {
                self.settle(*key, flow)
            } else {
                self.live.get(key).copied().unwrap_or_default()
            };
            tags.entry(key.1).or_default().add(flow);
            let row = SiteRow {
                tick_start_ns,
                unix_ns,
                text: self.text(key.0),
                heap_tag: self.heap_tag(key.1),
                allocated: amount(&flow.born),
                freed: amount(&flow.died),
                live: amount(&live),
            };
            sink.site(level, row);
            if let Some(coarser) = self.open.get_mut(level + 1) {
                coarser.sites.entry(*key).or_default().add(flow);
            } else if live.samples == 0 {
                // Said at every level.
                self.live.remove(key);
            }
        }
        for (tag, flow) in tags {
            let row = TagRow {
                tick_start_ns,
                unix_ns,
                heap_tag: self.heap_tag(tag),
                allocated: amount(&flow.born),
                freed: amount(&flow.died),
                live: amount(&self.live_by_tag.get(&tag).copied().unwrap_or_default()),
            };
            sink.tag(level, row);
        }
        for (gauge, values) in &open.gauges {
            sink.gauge(
                level,
                GaugeRow {
                    tick_start_ns,
                    unix_ns,
                    gauge: *gauge,
                    min: values.min,
                    max: values.max,
                    last: values.last,
                },
            );
            if let Some(coarser) = self.open.get_mut(level + 1) {
                merge(&mut coarser.gauges, *gauge, *values);
            }
        }
    }

    /// What of a site is live once a tick of the finest level is over.
    fn settle(&mut self, key: Key, flow: &Flow) -> Tally {
        for live in [
            self.live_by_tag.entry(key.1).or_default(),
            self.live.entry(key).or_default(),
        ] {
            *live = live.plus(&flow.born).minus(&flow.died);
        }
        self.live.get(&key).copied().unwrap_or_default()
    }

    fn heap_tag(&self, tag: TagId) -> Arc<str> {
        self.tags.get(&tag).cloned().unwrap_or_else(|| "".into())
    }

    fn unix_ns(&self, session_ns: u64) -> u64 {
        self.clock.as_ref().map_or(0, |clock| {
            let since = i128::from(session_ns) - i128::from(clock.session_ns);
            u64::try_from(i128::from(clock.unix_ns) + since).unwrap_or(0)
        })
    }

    fn text(&mut self, stack: StackId) -> Arc<SiteText> {
        let generation = self.generation;
        if let Some(text) = self.texts.get(&(stack, generation)) {
            return Arc::clone(text);
        }
        let frames = self.symbols.stack(stack, generation);
        let mut names: Vec<String> = frames
            .iter()
            .map(|frame| self.symbols.describe(*frame, generation).function)
            .collect();
        let function = names.first().cloned().unwrap_or_else(|| "(unknown)".to_owned());
        names.reverse();
        let text = Arc::new(SiteText {
            stack_trace_hash: self.symbols.stack_trace_hash(stack, generation),
            function,
            stack: names.join(";"),
        });
        if self.texts.len() >= MAX_TEXTS {
            self.texts.clear();
        }
        self.texts.insert((stack, generation), Arc::clone(&text));
        text
    }
}

fn merge(gauges: &mut BTreeMap<Gauge, Extremes>, gauge: Gauge, values: Extremes) {
    gauges
        .entry(gauge)
        .and_modify(|all| {
            all.min = all.min.min(values.min);
            all.max = all.max.max(values.max);
            all.last = values.last;
        })
        .or_insert(values);
}

fn amount(tally: &Tally) -> Amount {
    Amount {
        samples: tally.samples,
        bytes: tally.bytes.estimate,
        bytes_variance: tally.bytes.std_error().powi(2),
        objects: tally.objects.estimate,
        objects_variance: tally.objects.std_error().powi(2),
    }
}
