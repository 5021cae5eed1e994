//! A session told in wide steps, as frames of the same kind: for each step one that says what was allocated and freed
//! in it, and the gauges at its end. A viewer of a day reads these instead of hundreds of times as many, and counts
//! the same objects; only when within a step things happened is gone, and with it single events.
//!
//! A step's frame has the number of the last frame that it stands for, so exact frames can follow it, and steps of
//! different widths that nest can be mixed.

use crate::AnalysisError;
use crate::collections::{CollectionTotals, Collections};
use crate::levels::{LEVEL_NAMES, LEVELS_NS};
use crate::lifetimes::Site;
use heaptide_protocol::frame::encode;
use heaptide_protocol::gauges::{Gauge, GaugeValue, Gauges};
use heaptide_protocol::lifetimes::{Allotment, Birth, Death, LifetimeTable};
use heaptide_protocol::loss::LossReport;
use heaptide_protocol::section::{Section, SectionWriter, Sections};
use heaptide_protocol::{Envelope, Frame, SessionId, SymbolGen};
use std::collections::BTreeMap;

/// Widths, finest first; each divides the next. Narrower levels would be hardly fewer bytes than the frames.
pub const STEPS_NS: [u64; 4] = [LEVELS_NS[2], LEVELS_NS[3], LEVELS_NS[4], LEVELS_NS[5]];
/// Their names, in files.
pub const STEP_NAMES: [&str; 4] = [LEVEL_NAMES[2], LEVEL_NAMES[3], LEVEL_NAMES[4], LEVEL_NAMES[5]];

/// A frame of these stays well below the protocol's limit, also uncompressed.
const FRAME_BYTES: usize = 512 << 10;
const FRAME_ROWS: usize = 16 << 10;

/// Takes the frames of one step, of a width that is an index into [`STEPS_NS`].
pub type StepSink<'a> = dyn FnMut(usize, Vec<Vec<u8>>) + 'a;

#[derive(Debug)]
pub struct StepBuilder {
    session: SessionId,
    open: [Open; STEPS_NS.len()],
    tick_ns: u64,
    generation: SymbolGen,
    collections: Collections,
    /// A step that would need more frames than it stands for, or one that can't be encoded: steps of this width and
    /// wider ones are not whole.
    pub failed: Option<AnalysisError>,
}

/// A step that is not over.
#[derive(Debug, Default)]
struct Open {
    /// Its place among those of its width; none until a lifetime table tells the time.
    step: Option<u64>,
    first_seq: u64,
    last_seq: u64,
    first_ns: u64,
    last_ns: u64,
    first_tick: Option<u64>,
    /// The last tick in it, which all of it is told at.
    tick: u64,
    newest_ns: u64,
    births: BTreeMap<Site, u64>,
    /// With the last tick of the step of its birth.
    deaths: BTreeMap<(Site, u64), u64>,
    gauges: BTreeMap<Gauge, u64>,
    gauges_ns: u64,
    loss: Option<LossReport>,
    collections: CollectionTotals,
    /// What is told as it was.
    told: Vec<Section>,
}

impl StepBuilder {
    pub fn new(session: SessionId) -> Self {
        Self {
            session,
            open: Default::default(),
            tick_ns: 0,
            generation: SymbolGen::default(),
            collections: Collections::default(),
            failed: None,
        }
    }

    /// Takes a frame as a whole into the step of its first lifetime table.
    pub fn apply(&mut self, frame: &Frame<'_>, sink: &mut StepSink<'_>) {
        let mut scratch = Vec::new();
        // What can't be decoded is missing in every reader's sums.
        let sections: Vec<Section> = frame.raw(&mut scratch).map_or_else(
            |_| Vec::new(),
            |raw| Sections::new(raw).map_while(Result::ok).collect(),
        );
        let table = sections.iter().find_map(|section| match section {
            Section::Lifetimes(table) if table.tick_ns > 0 => Some(table),
            _ => None,
        });
        if let Some(table) = table {
            self.reach(table, sink);
        }
        let envelope = &frame.envelope;
        let [finest, ..] = &mut self.open;
        if finest.last_seq == 0 {
            finest.first_seq = envelope.seq;
            finest.first_ns = envelope.first_ns;
        }
        finest.last_seq = envelope.seq;
        finest.last_ns = finest.last_ns.max(envelope.last_ns);
        for section in sections {
            match section {
                Section::Events(batch) => batch.iter().for_each(|event| self.collections.apply(&event)),
                section => finest.take(section),
            }
        }
        let totals = std::mem::take(&mut self.collections.totals);
        finest.collections.add(&totals);
    }

    /// Takes in the frame before the first, in which a pause may have begun.
    pub fn warm_up(&mut self, frame: &Frame<'_>) {
        let mut scratch = Vec::new();
        let raw = frame.raw(&mut scratch).unwrap_or_default();
        for section in Sections::new(raw).map_while(Result::ok) {
            if let Section::Events(batch) = section {
                batch.iter().for_each(|event| self.collections.apply(&event));
            }
        }
        self.collections.totals = CollectionTotals::default();
    }

    /// Steps that are not over are told as far as they go; the rest of them becomes steps of its own.
    pub fn finish(&mut self, sink: &mut StepSink<'_>) {
        for width in 0..STEPS_NS.len() {
            self.close(width, sink);
        }
    }

    /// Closes the steps that a table lies behind. New names, or another width of ticks, begin new ones.
    fn reach(&mut self, table: &LifetimeTable, sink: &mut StepSink<'_>) {
        let at_ns = table.tick.saturating_mul(table.tick_ns);
        let of = (table.symbol_gen, table.tick_ns);
        if of != (self.generation, self.tick_ns) {
            if self.tick_ns > 0 {
                self.finish(sink);
            }
            (self.generation, self.tick_ns) = of;
        }
        for (width, step_ns) in STEPS_NS.into_iter().enumerate() {
            let step = at_ns / step_ns;
            if self.open[width].step.is_some_and(|open| step > open) {
                self.close(width, sink);
            }
            self.open[width].step.get_or_insert(step);
        }
    }

    fn close(&mut self, width: usize, sink: &mut StepSink<'_>) {
        let open = std::mem::take(&mut self.open[width]);
        if open.last_seq == 0 {
            return;
        }
        match open.frames(self.session, self.generation, self.tick_ns, STEPS_NS[width]) {
            Ok(frames) => sink(width, frames),
            Err(error) => self.failed = Some(error),
        }
        if let Some(coarser) = self.open.get_mut(width + 1) {
            coarser.add(open);
        }
    }
}

impl Open {
    fn take(&mut self, section: Section) {
        match section {
            Section::Lifetimes(table) => {
                self.first_tick.get_or_insert(table.tick);
                self.tick = self.tick.max(table.tick);
                self.newest_ns = self.newest_ns.max(table.newest_ns);
                for row in &table.births {
                    if let Some(site) = site(&table, &row.allotment) {
                        *self.births.entry(site).or_default() += u64::from(row.count);
                    }
                }
                for row in &table.deaths {
                    if let Some(site) = site(&table, &row.allotment) {
                        let born = table.tick.saturating_sub(u64::from(row.age_ticks));
                        *self.deaths.entry((site, born)).or_default() += u64::from(row.count);
                    }
                }
            }
            Section::Gauges(gauges) => {
                self.gauges_ns = gauges.timestamp_ns;
                let values = gauges.values.iter().map(|value| (value.gauge, value.value));
                self.gauges.extend(values);
            }
            Section::Loss(loss) => self.loss = Some(loss),
            Section::Start(_) | Section::Dictionary(_) | Section::PolicyOutcome(_) | Section::End(_) => {
                self.told.push(section);
            }
            Section::Events(_)
            | Section::Goroutines(_)
            | Section::Exact(_)
            | Section::Ledger(_)
            | Section::Regions(_)
            | Section::Unknown { .. } => {}
        }
    }

    /// What came after it.
    fn add(&mut self, next: Self) {
        if self.last_seq == 0 {
            self.first_seq = next.first_seq;
            self.first_ns = next.first_ns;
        }
        self.last_seq = next.last_seq;
        self.last_ns = self.last_ns.max(next.last_ns);
        self.first_tick = self.first_tick.or(next.first_tick);
        self.tick = self.tick.max(next.tick);
        self.newest_ns = self.newest_ns.max(next.newest_ns);
        for (site, count) in next.births {
            *self.births.entry(site).or_default() += count;
        }
        for (key, count) in next.deaths {
            *self.deaths.entry(key).or_default() += count;
        }
        self.gauges.extend(next.gauges);
        self.gauges_ns = self.gauges_ns.max(next.gauges_ns);
        self.loss = next.loss.or(self.loss.take());
        self.collections.add(&next.collections);
        self.told.extend(next.told);
    }

    /// Frames that stand for all of it.
    fn frames(
        &self,
        session: SessionId,
        symbol_gen: SymbolGen,
        tick_ns: u64,
        step_ns: u64,
    ) -> Result<Vec<Vec<u8>>, AnalysisError> {
        let payloads = self.payloads(symbol_gen, tick_ns, step_ns)?;
        let count = payloads.len() as u64;
        let room = self.last_seq - self.first_seq + 1;
        if count > room {
            return Err(AnalysisError::SummaryTooLong { frames: count, room });
        }
        let envelope = |seq| Envelope::data(session, seq, self.first_ns, self.last_ns);
        let numbered = (self.last_seq + 1 - count..).zip(&payloads);
        let frames = numbered.map(|(seq, payload)| encode(envelope(seq), payload));
        Ok(frames.collect::<Result<_, _>>()?)
    }

    fn payloads(
        &self,
        symbol_gen: SymbolGen,
        tick_ns: u64,
        step_ns: u64,
    ) -> Result<Vec<Vec<u8>>, AnalysisError> {
        let mut writer = SectionWriter::default();
        let mut payloads = Vec::new();
        let mut push = |section: &Section| {
            writer.push(section)?;
            if writer.len() >= FRAME_BYTES {
                payloads.push(writer.take());
            }
            Ok::<_, AnalysisError>(())
        };
        for section in &self.told {
            push(section)?;
        }
        let empty = || LifetimeTable {
            symbol_gen,
            tick: self.tick,
            tick_ns,
            newest_ns: self.newest_ns,
            ..LifetimeTable::default()
        };
        if let (Some(tick), Some(Section::Start(_))) = (self.first_tick, self.told.first()) {
            // The session's time begins here, not with the end of its first step.
            push(&Section::Lifetimes(LifetimeTable { tick, ..empty() }))?;
        }
        let mut table = empty();
        for (site, count) in &self.births {
            if table.births.len() == FRAME_ROWS {
                push(&Section::Lifetimes(std::mem::replace(&mut table, empty())))?;
            }
            let allotment = allotment(&mut table, site);
            table.births.push(Birth {
                allotment,
                count: u32::try_from(*count).unwrap_or(u32::MAX),
            });
        }
        // Many ticks of birth make one row.
        let mut deaths: BTreeMap<(Site, u64), u64> = BTreeMap::new();
        for ((site, born), count) in &self.deaths {
            let step_end_ns = (born.saturating_mul(tick_ns) / step_ns + 1).saturating_mul(step_ns);
            let told_at = ((step_end_ns - 1) / tick_ns.max(1)).min(self.tick);
            *deaths.entry((*site, self.tick - told_at)).or_default() += count;
        }
        for ((site, age), count) in &deaths {
            if table.deaths.len() == FRAME_ROWS {
                push(&Section::Lifetimes(std::mem::replace(&mut table, empty())))?;
            }
            let allotment = allotment(&mut table, site);
            table.deaths.push(Death {
                allotment,
                age_ticks: u32::try_from(*age).unwrap_or(u32::MAX),
                count: u32::try_from(*count).unwrap_or(u32::MAX),
            });
        }
        // Also an empty one: it moves the time on.
        if tick_ns > 0 {
            push(&Section::Lifetimes(table))?;
        }
        let values = self.gauges.iter().map(|(gauge, value)| GaugeValue {
            gauge: *gauge,
            value: *value,
        });
        let told = self.collections.gauges().filter(|value| value.value > 0);
        let values: Vec<GaugeValue> = values.chain(told).collect();
        if !values.is_empty() {
            push(&Section::Gauges(Gauges {
                timestamp_ns: self.gauges_ns,
                values,
            }))?;
        }
        if let Some(loss) = &self.loss {
            push(&Section::Loss(loss.clone()))?;
        }
        if !writer.is_empty() || payloads.is_empty() {
            payloads.push(writer.take());
        }
        Ok(payloads)
    }
}

/// The site that a table's row names.
pub(crate) fn site(table: &LifetimeTable, row: &Allotment) -> Option<Site> {
    Some(Site {
        stack: row.stack,
        heap_tag: row.heap_tag,
        size_bytes: row.size_bytes,
        rate_bytes: *table.rates_bytes.get(row.rate_index as usize)?,
    })
}

/// A site as a table's row names it.
pub(crate) fn allotment(table: &mut LifetimeTable, site: &Site) -> Allotment {
    let rates = &mut table.rates_bytes;
    let at = rates.iter().position(|rate| *rate == site.rate_bytes);
    let rate_index = at.unwrap_or_else(|| {
        rates.push(site.rate_bytes);
        rates.len() - 1
    });
    Allotment {
        stack: site.stack,
        heap_tag: site.heap_tag,
        size_bytes: site.size_bytes,
        rate_index: rate_index as u32,
    }
}
