//! What was when the part begins: who is watched, the names given so far, the objects alive, the last gauges.
//!
//! A part that began from nothing would call everything that was there before "not there", and would count frees
//! of what it never saw. So what came before is summed up as of the tick before the part: its objects are born
//! then, whatever their age. What happened earlier is not told, nor when.

use heaptide_protocol::control::PolicyOutcome;
use heaptide_protocol::gauges::{Gauge, GaugeValue, Gauges};
use heaptide_protocol::lifetimes::{Allotment, Birth, LifetimeTable};
use heaptide_protocol::loss::LossReport;
use heaptide_protocol::section::{Section, SectionWriter, SessionStart};
use heaptide_protocol::{ProtocolError, StackId, SymbolGen, TagId};
use std::collections::BTreeMap;

/// Distinct kinds of objects alive at one moment; as many as a viewer holds.
const MAX_KINDS: usize = 1 << 19;
/// Rows of one table: a frame of them is far below its limit.
const ROWS: usize = 16 << 10;
const DEFAULT_TICK_NS: u64 = 100_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    stack: StackId,
    heap_tag: TagId,
    size_bytes: u64,
    rate_bytes: u64,
}

#[derive(Debug, Default)]
pub(super) struct Carry {
    tick_ns: u64,
    alive: BTreeMap<Kind, i64>,
    symbol_gen: SymbolGen,
    gauges: BTreeMap<Gauge, u64>,
    loss: Option<LossReport>,
    outcome: Option<PolicyOutcome>,
}

impl Carry {
    pub(super) fn new() -> Self {
        Self {
            tick_ns: DEFAULT_TICK_NS,
            ..Self::default()
        }
    }

    /// Where the part's own time begins: one tick before `from_ns`.
    pub(super) fn base_ns(&self, from_ns: u64) -> u64 {
        (from_ns - from_ns % self.tick_ns).saturating_sub(self.tick_ns)
    }

    pub(super) fn last_ns(&self, from_ns: u64) -> u64 {
        self.base_ns(from_ns) + self.tick_ns - 1
    }

    /// The start as it would have been there.
    pub(super) fn start(&mut self, mut start: SessionStart, from_ns: u64) -> SessionStart {
        self.tick_ns = u64::from(start.policy.tick_ms.max(1)) * 1_000_000;
        let clock = &mut start.signature.clock;
        let base_ns = self.base_ns(from_ns);
        clock.unix_ns = clock
            .unix_ns
            .saturating_add(base_ns)
            .saturating_sub(clock.session_ns);
        clock.session_ns = base_ns;
        start
    }

    /// Takes in a section of a frame before the part; gives back one that has to be told as it is.
    pub(super) fn take(&mut self, section: Section, from_ns: u64) -> Result<Option<Section>, String> {
        match section {
            Section::Start(start) => return Ok(Some(Section::Start(self.start(start, from_ns)))),
            Section::Dictionary(dictionary) => return Ok(Some(Section::Dictionary(dictionary))),
            Section::Lifetimes(table) => self.lifetimes(&table)?,
            Section::Gauges(gauges) => {
                let values = gauges.values.iter().map(|value| (value.gauge, value.value));
                self.gauges.extend(values);
            }
            Section::Loss(loss) => self.loss = Some(loss),
            Section::PolicyOutcome(outcome) => self.outcome = Some(outcome),
            // Of their own moment, which is not in the part.
            _ => {}
        }
        Ok(None)
    }

    fn lifetimes(&mut self, table: &LifetimeTable) -> Result<(), String> {
        self.symbol_gen = self.symbol_gen.max(table.symbol_gen);
        let born = table
            .births
            .iter()
            .map(|row| (&row.allotment, i64::from(row.count)));
        let died = table
            .deaths
            .iter()
            .map(|row| (&row.allotment, -i64::from(row.count)));
        for (allotment, count) in born.chain(died) {
            let rate = usize::try_from(allotment.rate_index)
                .ok()
                .and_then(|at| table.rates_bytes.get(at));
            let Some(rate_bytes) = rate else { continue };
            let kind = Kind {
                stack: allotment.stack,
                heap_tag: allotment.heap_tag,
                size_bytes: allotment.size_bytes,
                rate_bytes: *rate_bytes,
            };
            let alive = self.alive.entry(kind).or_default();
            *alive += count;
            if *alive == 0 {
                self.alive.remove(&kind);
            }
        }
        if self.alive.len() > MAX_KINDS {
            return Err(format!(
                "more than {MAX_KINDS} kinds of objects were alive before this range: begin it at the session's \
                 beginning"
            ));
        }
        Ok(())
    }

    /// The state as sections, a few at a time: `full` is called with the writer whenever a frame should be made.
    pub(super) fn finish(
        self,
        from_ns: u64,
        writer: &mut SectionWriter,
        mut full: impl FnMut(&mut SectionWriter) -> Result<(), String>,
    ) -> Result<(), String> {
        let base_ns = self.base_ns(from_ns);
        let failed = |error: ProtocolError| error.to_string();
        if let Some(outcome) = self.outcome {
            let outcome = PolicyOutcome {
                timestamp_ns: base_ns,
                ..outcome
            };
            writer.push(&Section::PolicyOutcome(outcome)).map_err(failed)?;
        }
        if !self.gauges.is_empty() {
            let values = self.gauges.into_iter();
            let gauges = Gauges {
                timestamp_ns: base_ns,
                values: values.map(|(gauge, value)| GaugeValue { gauge, value }).collect(),
            };
            writer.push(&Section::Gauges(gauges)).map_err(failed)?;
        }
        if let Some(loss) = self.loss {
            let loss = LossReport {
                timestamp_ns: base_ns,
                ..loss
            };
            writer.push(&Section::Loss(loss)).map_err(failed)?;
        }
        let alive: Vec<_> = self.alive.into_iter().filter(|(_, count)| *count > 0).collect();
        for rows in alive.chunks(ROWS) {
            let mut rates_bytes: Vec<_> = rows.iter().map(|(kind, _)| kind.rate_bytes).collect();
            rates_bytes.sort_unstable();
            rates_bytes.dedup();
            let births = rows.iter().map(|(kind, count)| Birth {
                allotment: Allotment {
                    stack: kind.stack,
                    heap_tag: kind.heap_tag,
                    size_bytes: kind.size_bytes,
                    rate_index: rates_bytes.binary_search(&kind.rate_bytes).unwrap_or(0) as u32,
                },
                count: u32::try_from(*count).unwrap_or(u32::MAX),
            });
            let table = LifetimeTable {
                symbol_gen: self.symbol_gen,
                tick: base_ns / self.tick_ns,
                tick_ns: self.tick_ns,
                newest_ns: 0,
                births: births.collect(),
                deaths: Vec::new(),
                rates_bytes,
            };
            writer.push(&Section::Lifetimes(table)).map_err(failed)?;
            full(writer)?;
        }
        full(writer)
    }
}
