//! A session as a viewer holds it: frames go in, views come out. Bounded whatever comes in.

use crate::AnalysisError;
use crate::collections::{CollectionTotals, Collections};
use crate::flame;
#[cfg(feature = "reports")]
use crate::goroutine_events::GoroutineEvents;
#[cfg(feature = "reports")]
use crate::kernel::Kernel;
use crate::lifetimes::{Flow, Lifetimes, Selection, StackTally};
use crate::stepped::Stepped;
use crate::symbols::Symbols;
use crate::timeline::{MAX_TICKS, Ticks};
use crate::views::{
    Figure, Flame, GcCycle, Headline, Mark, MarkKind, Metric, Pause, ProfileQuery, SiteTable, Timeline,
    TimelineQuery, Trim, Window,
};
use heaptide_protocol::control::{PolicyOutcome, PolicyResult};
#[cfg(feature = "reports")]
use heaptide_protocol::exact::ExactWindow;
use heaptide_protocol::gauges::{Gauge, Gauges};
#[cfg(feature = "reports")]
use heaptide_protocol::goroutines::GoroutineCensus;
#[cfg(feature = "reports")]
use heaptide_protocol::ledger::{Ledger, Regions};
use heaptide_protocol::lifetimes::LifetimeTable;
use heaptide_protocol::loss::{DropReason, LossReport};
use heaptide_protocol::section::{EndReason, Section, Sections, SessionStart};
use heaptide_protocol::session::Method;
use heaptide_protocol::{Frame, FrameKind};
use std::collections::BTreeMap;

/// Headline rates are averages over this span.
const RATE_WINDOW_NS: u64 = 2_000_000_000;
const MAX_MARKS: usize = 1_000;
const MAX_GAPS: usize = 1_000;
// The newest of each.
#[cfg(feature = "reports")]
const MAX_CENSUSES: usize = 200;
#[cfg(feature = "reports")]
const MAX_EXACT: usize = 20;
#[cfg(feature = "reports")]
const MAX_LEDGERS: usize = 2_000;

#[derive(Debug, Default)]
pub struct Session {
    start: Option<SessionStart>,
    pub(crate) symbols: Symbols,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) ticks: Option<Ticks>,
    pub(crate) collections: Collections,
    #[cfg(feature = "reports")]
    pub(crate) kernel: Kernel,
    pub(crate) gauges: BTreeMap<Gauge, u64>,
    /// Collector CPU time and when it was read: now, and about a second before.
    cost: [Option<(u64, u64)>; 2],
    cost_permille: Option<u32>,
    loss: Option<LossReport>,
    marks: Vec<Mark>,
    gaps: Vec<Window>,
    ended: Option<String>,
    last_seq: u64,
    last_ns: u64,
    newest_sample_ns: u64,
    events: u64,
    damaged_frames: u64,
    missed_frames: u64,
    clock_held: u64,
    scratch: Vec<u8>,
    missing_since_ns: Option<u64>,
    stepped: Stepped,
    #[cfg(feature = "reports")]
    pub(crate) goroutine_events: GoroutineEvents,
    /// The heap is counted by Go's own profile, by the policy in force.
    counts_buckets: bool,
    #[cfg(feature = "reports")]
    pub(crate) censuses: Vec<GoroutineCensus>,
    #[cfg(feature = "reports")]
    pub(crate) exact: Vec<ExactWindow>,
    #[cfg(feature = "reports")]
    pub(crate) ledgers: Vec<Ledger>,
    #[cfg(feature = "reports")]
    pub(crate) regions: Option<Regions>,
}

impl Session {
    pub fn new() -> Self {
        Self::default()
    }

    /// The last data frame taken in, to subscribe after.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    pub fn start(&self) -> Option<&SessionStart> {
        self.start.as_ref()
    }

    pub fn events(&self) -> u64 {
        self.events
    }

    /// Frames that should be there and aren't.
    pub fn missed_frames(&self) -> u64 {
        self.missed_frames
    }

    /// Takes in a data frame. A repeated one changes nothing; one out of order is a gap.
    pub fn apply(&mut self, frame: &Frame<'_>) -> Result<(), AnalysisError> {
        let envelope = &frame.envelope;
        if envelope.kind != FrameKind::Data || envelope.seq <= self.last_seq {
            return Ok(());
        }
        if envelope.seq > self.last_seq + 1 && !self.stepped.has(envelope.seq) {
            self.missed(self.last_seq + 1, envelope.seq - 1);
        }
        if self.stepped.has(envelope.seq) {
            self.stepped.note(Window {
                from_ns: envelope.first_ns,
                to_ns: envelope.last_ns,
            });
        }
        self.last_seq = envelope.seq;
        if let Some(from_ns) = self.missing_since_ns.take() {
            let to_ns = envelope.first_ns.max(from_ns);
            push_bounded(&mut self.gaps, Window { from_ns, to_ns }, MAX_GAPS);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let result = frame
            .raw(&mut scratch)
            .map_err(AnalysisError::from)
            .and_then(|raw| {
                for section in Sections::new(raw) {
                    self.apply_section(section?)?;
                }
                Ok(())
            });
        self.scratch = scratch;
        self.last_ns = self.last_ns.max(envelope.last_ns);
        if result.is_err() {
            self.damaged_frames += 1;
        }
        result
    }

    /// What follows tells these frames in steps of a width; in steps of 0, as they are.
    pub fn stretch(&mut self, from_seq: u64, to_seq: u64, step_ns: u64) {
        if step_ns > 0 && to_seq > self.last_seq {
            let count = to_seq - from_seq.max(self.last_seq + 1) + 1;
            self.stepped.begin(to_seq, step_ns, count);
        }
    }

    /// The widest steps in which a window is told; 0 if nothing in it is.
    pub fn step_in(&self, window: Window) -> u64 {
        self.stepped.widest_in(window)
    }

    /// Behind this, each frame was told; 0 if all were.
    pub fn stepped_until_ns(&self) -> u64 {
        self.stepped.until_ns()
    }

    /// Frames that will not come.
    pub fn missed(&mut self, from_seq: u64, to_seq: u64) {
        if to_seq <= self.last_seq {
            return;
        }
        self.missed_frames += to_seq - from_seq.max(self.last_seq + 1) + 1;
        self.last_seq = to_seq;
        self.missing_since_ns.get_or_insert(self.last_ns);
    }

    /// The figures of the newest moment.
    pub fn headline(&self) -> Headline {
        self.headline_at(u64::MAX)
    }

    /// The figures as they were at a moment. What is known of the newest moment only (the sampling rate in
    /// force, the collector's cost, losses) is told as it is now.
    pub fn headline_at(&self, at_ns: u64) -> Headline {
        let rate_bytes = self.sampling_rate_bytes();
        let span = self.span();
        let at_ns = at_ns.clamp(span.from_ns, span.to_ns);
        let now = self
            .ticks
            .as_ref()
            .map(|ticks| ticks.before(ticks.index_up(at_ns)))
            .unwrap_or_default();
        let live_tally = now.flow().live();
        let live = live_tally.bytes_figure(rate_bytes);
        let (rate_window, Flow { born, died }) = self.recent(at_ns);
        let seconds = (rate_window.to_ns - rate_window.from_ns).max(1) as f64 / 1e9;
        let census = |bytes: Option<u64>| {
            bytes.map(|bytes| bytes as f64).map(|value| Figure {
                value,
                low: value,
                high: value,
                method: Method::Census,
            })
        };
        let rss = census(now.rss_bytes);
        let (hops, flaws) = self
            .loss
            .as_ref()
            .map(|loss| (loss.hops.clone(), loss.flaws.clone()))
            .unwrap_or_default();
        let dropped = hops
            .iter()
            .flat_map(|hop| &hop.dropped)
            .filter(|drop| !matches!(drop.reason, DropReason::UnmatchedFree | DropReason::RateChange))
            .map(|drop| drop.count)
            .sum();
        Headline {
            span,
            live,
            rss,
            pss: census(now.pss_bytes),
            untracked: rss.map(|rss| Figure {
                value: rss.value - live.value,
                low: rss.value - live.high,
                high: rss.value - live.low,
                method: Method::Estimate,
            }),
            allocated_per_s: per_second(born.bytes_figure(rate_bytes), seconds),
            freed_per_s: per_second(died.bytes_figure(rate_bytes), seconds),
            rate_window,
            sampling_rate_bytes: rate_bytes,
            samples: now.flow().born.samples.unsigned_abs(),
            live_samples: live_tally.samples.unsigned_abs(),
            gc_cycles: now.collections.cycles,
            pauses: now.collections.pauses,
            pause_total_ns: now.collections.pause_total_ns,
            pause_longest_ns: now.collections.pause_longest_ns,
            collector_cpu_permille: self.cost_permille,
            collector_rss_bytes: self.gauges.get(&Gauge::COLLECTOR_RSS_BYTES).copied(),
            dropped,
            hops,
            flaws,
            ended: self.ended.clone(),
            damaged_frames: self.damaged_frames,
            trimmed: self.trims(),
            tick_ns: self.ticks.as_ref().map_or(0, |ticks| ticks.tick_ns),
            newest_sample_ns: self.newest_sample_ns,
        }
    }

    pub fn timeline(&self, query: &TimelineQuery) -> Timeline {
        let (step_ns, points) = self
            .ticks
            .as_ref()
            .map(|ticks| ticks.points(query))
            .unwrap_or_default();
        let window = query.window;
        let inside = |at: u64| (window.from_ns..=window.to_ns).contains(&at);
        Timeline {
            window,
            step_ns,
            told_ns: self.step_in(window),
            points,
            cycles: self.collections.cycles_in(window),
            pauses: self.collections.pauses_in(window),
            marks: self
                .marks
                .iter()
                .filter(|mark| inside(mark.at_ns))
                .cloned()
                .collect(),
            gaps: self
                .gaps
                .iter()
                .filter(|gap| gap.from_ns < window.to_ns && gap.to_ns > window.from_ns)
                .copied()
                .collect(),
        }
    }

    pub fn flame(&self, query: &ProfileQuery) -> Flame {
        let stacks = self.stacks(query);
        flame::flame(
            &stacks,
            &self.symbols,
            &query.filter,
            query.limit,
            self.sampling_rate_bytes(),
        )
    }

    pub fn sites(&self, query: &ProfileQuery) -> SiteTable {
        let stacks = self.stacks(query);
        flame::sites(
            &stacks,
            &self.symbols,
            &query.filter,
            query.limit,
            self.sampling_rate_bytes(),
        )
    }

    /// From the first tick to the newest.
    pub fn span(&self) -> Window {
        self.ticks
            .as_ref()
            .map_or(Window { from_ns: 0, to_ns: 0 }, Ticks::span)
    }

    /// Times at which the world was stopped in a window; of more than 20,000 the newest.
    pub fn pauses(&self, window: Window) -> Vec<Pause> {
        self.collections.pauses_in(window)
    }

    /// The same of collections.
    pub fn cycles(&self, window: Window) -> Vec<GcCycle> {
        self.collections.cycles_in(window)
    }

    fn apply_section(&mut self, section: Section) -> Result<(), AnalysisError> {
        match section {
            Section::Start(start) => {
                let tick_ns = u64::from(start.policy.tick_ms.max(1)) * 1_000_000;
                self.ticks
                    .get_or_insert_with(|| Ticks::new(start.signature.clock.session_ns, tick_ns));
                self.counts_buckets = start.policy.sources.counts_buckets();
                self.start = Some(start);
            }
            Section::Dictionary(dictionary) => self.symbols.apply(dictionary)?,
            Section::Lifetimes(table) => self.apply_lifetimes(&table),
            Section::Events(batch) => {
                self.events += batch.len() as u64;
                for event in batch.iter() {
                    self.collections.apply(&event);
                    #[cfg(feature = "reports")]
                    self.kernel.apply(&event, batch.symbol_gen);
                    #[cfg(feature = "reports")]
                    self.goroutine_events.apply(&event);
                }
                // A tick's events come behind its lifetime rows.
                if let Some(ticks) = &mut self.ticks {
                    ticks.reach(0).collections = self.collections.totals;
                }
            }
            Section::Gauges(gauges) => self.apply_gauges(&gauges),
            Section::Loss(report) => self.loss = Some(report),
            Section::PolicyOutcome(outcome) => self.apply_outcome(outcome),
            Section::End(end) => {
                let how = describe_end(&end.reason);
                self.mark(end.timestamp_ns, MarkKind::Ended { how: how.clone() });
                self.ended = Some(how);
            }
            #[cfg(feature = "reports")]
            Section::Goroutines(census) => push_bounded(&mut self.censuses, census, MAX_CENSUSES),
            #[cfg(feature = "reports")]
            Section::Exact(window) => push_bounded(&mut self.exact, window, MAX_EXACT),
            #[cfg(feature = "reports")]
            Section::Ledger(ledger) => push_bounded(&mut self.ledgers, ledger, MAX_LEDGERS),
            #[cfg(feature = "reports")]
            Section::Regions(regions) => self.regions = Some(regions),
            #[cfg(not(feature = "reports"))]
            Section::Goroutines(_) | Section::Exact(_) | Section::Ledger(_) | Section::Regions(_) => {}
            Section::Unknown { .. } => {}
        }
        Ok(())
    }

    fn apply_lifetimes(&mut self, table: &LifetimeTable) {
        let start_ns = table.tick * table.tick_ns;
        self.ticks
            .get_or_insert_with(|| Ticks::new(start_ns, table.tick_ns));
        self.make_room(start_ns);
        let Some(ticks) = &mut self.ticks else { return };
        let last = ticks.len().saturating_sub(1) as u32;
        let tick = ticks.index(start_ns);
        self.clock_held += u64::from(tick < last);
        let tick = tick.max(last).min(MAX_TICKS as u32);
        let born_at = |age: u32| {
            ticks
                .index(start_ns.saturating_sub(u64::from(age).saturating_mul(table.tick_ns)))
                .min(tick)
        };
        let flows = self
            .lifetimes
            .apply(table, tick, self.symbols.bucket_tag, born_at);
        let totals = ticks.reach(tick);
        totals.counts_buckets = self.counts_buckets;
        for (total, flow) in totals.flows.iter_mut().zip(flows) {
            *total = total.plus(&flow);
        }
        let before = self.stepped.reach(tick);
        if self.stepped.has(self.last_seq) {
            ticks.spread(before, tick);
        }
        self.newest_sample_ns = self.newest_sample_ns.max(table.newest_ns);
    }

    fn apply_gauges(&mut self, gauges: &Gauges) {
        #[cfg(feature = "reports")]
        self.kernel.apply_gauges(gauges);
        if self.stepped.has(self.last_seq) {
            let totals = CollectionTotals::of(&gauges.values);
            self.collections.totals.add(&totals);
        }
        for value in &gauges.values {
            self.gauges.insert(value.gauge, value.value);
        }
        let find = |gauge| {
            gauges
                .values
                .iter()
                .find(|value| value.gauge == gauge)
                .map(|value| value.value)
        };
        if let Some(cpu_ns) = find(Gauge::COLLECTOR_CPU_NS) {
            self.measure_cost(gauges.timestamp_ns, cpu_ns);
        }
        self.make_room(gauges.timestamp_ns);
        if let Some(ticks) = &mut self.ticks {
            let tick = ticks.index(gauges.timestamp_ns);
            let totals = ticks.reach(tick);
            totals.rss_bytes = find(Gauge::RSS_BYTES).or(totals.rss_bytes);
            totals.pss_bytes = find(Gauge::PSS_BYTES).or(totals.pss_bytes);
            totals.runtime_bytes = find(Gauge::GO_ALLOCATED_BYTES).or(totals.runtime_bytes);
            totals.collections = self.collections.totals;
        }
    }

    fn measure_cost(&mut self, at_ns: u64, cpu_ns: u64) {
        let [older, newer] = self.cost;
        match newer {
            Some((then_ns, _)) if at_ns < then_ns + 1_000_000_000 => {}
            _ => self.cost = [newer.or(older), Some((at_ns, cpu_ns))],
        }
        if let [Some((then_ns, then_cpu)), Some((at_ns, cpu_ns))] = self.cost {
            let span_ns = at_ns.saturating_sub(then_ns).max(1);
            let permille = cpu_ns.saturating_sub(then_cpu).saturating_mul(1000) / span_ns;
            self.cost_permille = u32::try_from(permille).ok();
        }
    }

    fn apply_outcome(&mut self, outcome: PolicyOutcome) {
        let PolicyOutcome {
            timestamp_ns,
            revision,
            result,
        } = outcome;
        let kind = match result {
            PolicyResult::Applied {
                policy,
                rate_before_bytes,
                rate_after_bytes,
            } => {
                self.counts_buckets = policy.sources.counts_buckets();
                self.gauges.insert(Gauge::SAMPLING_RATE_BYTES, rate_after_bytes);
                MarkKind::PolicyApplied {
                    revision,
                    rate_before_bytes,
                    rate_after_bytes,
                }
            }
            PolicyResult::Rejected { reason } => MarkKind::PolicyRejected {
                revision,
                reason: reason.to_string(),
            },
        };
        self.mark(timestamp_ns, kind);
    }

    fn mark(&mut self, at_ns: u64, kind: MarkKind) {
        push_bounded(&mut self.marks, Mark { at_ns, kind }, MAX_MARKS);
    }

    /// Halves the resolution until the moment and the rows fit.
    fn make_room(&mut self, at_ns: u64) {
        let Some(ticks) = &mut self.ticks else { return };
        // A clock that leaps by more than a century must not coarsen everything into one tick.
        const MAX_DOUBLINGS: u32 = 24;
        for _ in 0..MAX_DOUBLINGS {
            if (ticks.index(at_ns) as usize) < MAX_TICKS && !self.lifetimes.is_full() {
                return;
            }
            ticks.coarsen();
            self.lifetimes.coarsen();
            self.stepped.coarsen();
        }
    }

    fn stacks(&self, query: &ProfileQuery) -> Vec<StackTally> {
        let Some(ticks) = &self.ticks else {
            return Vec::new();
        };
        let (from, to) = (
            ticks.index(query.window.from_ns),
            ticks.index_up(query.window.to_ns),
        );
        let selection = match query.metric {
            Metric::Live => Selection::LiveAt { to },
            Metric::Kept => Selection::KeptIn { from, to },
            Metric::Allocated => Selection::BornIn { from, to },
            Metric::Freed => Selection::DiedIn { from, to },
        };
        self.select(selection, ticks.before(to).counts_buckets)
    }

    /// Sums per stack of one source: Go's own profile, or the probes.
    pub(crate) fn select(&self, selection: Selection, buckets: bool) -> Vec<StackTally> {
        let tag = self.symbols.bucket_tag;
        self.lifetimes
            .by_stack(selection, &|of| (Some(of) == tag) == buckets)
    }

    /// What was allocated and freed in the last moments before `at_ns`.
    fn recent(&self, at_ns: u64) -> (Window, Flow) {
        let Some(ticks) = &self.ticks else {
            let window = Window {
                from_ns: at_ns,
                to_ns: at_ns,
            };
            return (window, Flow::default());
        };
        let first = ticks.index(at_ns.saturating_sub(RATE_WINDOW_NS));
        let (before, now) = (ticks.before(first), ticks.before(ticks.index_up(at_ns)));
        let from_ns = ticks.origin_ns + u64::from(first) * ticks.tick_ns;
        let window = Window {
            from_ns,
            to_ns: at_ns,
        };
        (window, now.since(&before))
    }

    /// Whether frames of this time are missing.
    #[cfg(feature = "reports")]
    pub(crate) fn has_gap(&self, from_ns: u64, to_ns: u64) -> bool {
        self.gaps
            .iter()
            .any(|gap| gap.from_ns < to_ns && gap.to_ns > from_ns)
    }

    pub(crate) fn sampling_rate_bytes(&self) -> u64 {
        self.gauges.get(&Gauge::SAMPLING_RATE_BYTES).copied().unwrap_or(0)
    }

    fn trims(&self) -> Vec<Trim> {
        let counts = [
            ("collections and pauses forgotten", self.collections.trimmed),
            ("samples left out: too many call sites", self.lifetimes.left_out),
            ("frames missed", self.missed_frames),
            ("frames told in steps, without single events", self.stepped.frames),
            ("ticks held: the clock ran backwards", self.clock_held),
        ];
        counts
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(what, count)| Trim {
                what: what.to_owned(),
                count,
            })
            .collect()
    }
}

fn per_second(figure: Figure, seconds: f64) -> Figure {
    Figure {
        value: figure.value / seconds,
        low: figure.low / seconds,
        high: figure.high / seconds,
        method: figure.method,
    }
}

fn describe_end(reason: &EndReason) -> String {
    match reason {
        EndReason::Exited { code } => format!("the program exited with code {code}"),
        EndReason::Signalled { signal } => format!("the program was killed by signal {signal}"),
        EndReason::Gone => "the program is gone; how it ended is not known".to_owned(),
        EndReason::Detached => "the collector detached; the program goes on".to_owned(),
    }
}

pub(crate) fn push_bounded<T>(list: &mut Vec<T>, value: T, limit: usize) {
    if list.len() >= limit {
        list.remove(0);
    }
    list.push(value);
}
