//! Answers for a range of session time: as many points as a viewer's pixels need, from the coarsest level that has
//! them, whatever the range's length. Points come from the rows of heap tags; sums of call sites from few rows of the
//! widest ticks that fit. What has no levels yet is read from the frames.

use super::cover::{Piece, cover};
use super::read::{self, Estimate, GaugeLine, SiteLine, TagLine};
use super::{Part, file, newest, warm_up};
use crate::hub::Hub;
use crate::session::Session;
use crate::store::replay;
use heaptide_analysis::levels::{
    Amount, GaugeRow, LEVEL_NAMES, LEVELS_NS, LevelBuilder, LevelSink, SiteRow, TagRow,
};
use heaptide_analysis::summary::Summary;
use heaptide_protocol::gauges::Gauge;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use utoipa::ToSchema;

/// Go's own profile: the same objects told by another source, so never added to the rest.
const BUCKETS: &str = "go.heap.buckets";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RangeQuery {
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
    pub(crate) points: usize,
    pub(crate) sites: usize,
    pub(crate) gauges: Vec<u16>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct Range {
    /// 100ms, 1s, 10s, 1min, 10min or 1h.
    pub(crate) level: String,
    /// From one point to the next: ticks of the level, put together if they are more than was asked for.
    pub(crate) step_ns: u64,
    pub(crate) points: Vec<RangePoint>,
    pub(crate) gauges: Vec<RangeGauge>,
    /// Call sites by what they hold at the end of the range, then by what they allocated in it.
    pub(crate) sites: Vec<RangeSite>,
    pub(crate) sites_left_out: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct RangePoint {
    pub(crate) start_ns: u64,
    pub(crate) allocated: Figures,
    pub(crate) freed: Figures,
    /// At the point's end.
    pub(crate) live: Figures,
}

/// An estimate of bytes and its variance.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct Figures {
    pub(crate) bytes: f64,
    pub(crate) variance: f64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct RangeGauge {
    pub(crate) gauge: u16,
    pub(crate) name: String,
    pub(crate) values: Vec<RangeValue>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct RangeValue {
    pub(crate) start_ns: u64,
    pub(crate) min: u64,
    pub(crate) max: u64,
    pub(crate) last: u64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, ToSchema)]
pub(crate) struct RangeSite {
    /// Sixteen hexadecimal digits: JSON has no whole numbers of 64 bits.
    pub(crate) stack_trace_hash: String,
    pub(crate) function: String,
    /// From the root to the leaf.
    pub(crate) stack: String,
    pub(crate) heap_tag: String,
    pub(crate) allocated: Figures,
    pub(crate) freed: Figures,
    pub(crate) live: Figures,
}

/// Sums of one source: the probes, or Go's own profile.
#[derive(Debug, Default)]
struct Source {
    /// By heap tag.
    live: BTreeMap<String, Estimate>,
    points: Vec<(Estimate, Estimate, Option<Estimate>)>,
    live_before: Estimate,
    told: bool,
}

struct Gathered {
    from_ns: u64,
    to_ns: u64,
    step_ns: u64,
    sources: [Source; 2],
    sites: HashMap<(u64, String), RangeSite>,
    gauges: BTreeMap<u16, BTreeMap<u64, RangeValue>>,
    level: usize,
    wants_sites: bool,
}

/// Reads files and, for the newest, frames. Blocks.
pub(crate) fn answer(hub: &Hub, session: &Session, query: &RangeQuery) -> io::Result<Range> {
    loop {
        let parts = newest::all(hub, session.id)?;
        let mut gathered = Gathered::new(query);
        gathered.parts(&parts)?;
        gathered.rest(hub, session, parts.last().map_or(0, |(_, part)| part.to_seq))?;
        // A part that another took the place of meanwhile may have been read in half.
        if newest::all(hub, session.id)?.starts_with(&parts) {
            return Ok(gathered.finish(query));
        }
    }
}

/// The coarsest that has enough ticks; the finest if none has.
fn level_for(query: &RangeQuery) -> usize {
    let length_ns = query.to_ns.saturating_sub(query.from_ns);
    let enough = |width_ns: &u64| length_ns / width_ns >= query.points as u64;
    LEVELS_NS.iter().rposition(enough).unwrap_or(0)
}

impl Gathered {
    fn new(query: &RangeQuery) -> Self {
        let level = level_for(query);
        let width_ns = LEVELS_NS[level];
        let from_ns = query.from_ns - query.from_ns % width_ns;
        let ticks = query.to_ns.saturating_sub(from_ns).div_ceil(width_ns).max(1);
        let each = ticks.div_ceil(query.points.max(1) as u64);
        let count = usize::try_from(ticks.div_ceil(each))
            .unwrap_or(usize::MAX)
            .min(query.points.max(1));
        let source = || Source {
            points: vec![Default::default(); count],
            ..Source::default()
        };
        let gauges = query.gauges.iter().map(|gauge| (*gauge, BTreeMap::new()));
        Self {
            from_ns,
            to_ns: query.to_ns,
            step_ns: width_ns * each,
            sources: [source(), source()],
            sites: HashMap::new(),
            gauges: gauges.collect(),
            level,
            wants_sites: query.sites > 0,
        }
    }

    /// A stretch of rows that stands by itself.
    fn begin(&mut self) {
        for source in &mut self.sources {
            source.live.clear();
        }
        for site in self.sites.values_mut() {
            site.live = Figures::default();
        }
    }

    /// What is live in a part says its own first tick, so of the earlier ones only the last is needed.
    fn parts(&mut self, parts: &[(PathBuf, Part)]) -> io::Result<()> {
        let first = parts
            .iter()
            .rposition(|(_, part)| part.first_ns <= self.from_ns)
            .unwrap_or(0);
        for (folder, part) in parts.iter().skip(first) {
            if part.first_ns < self.to_ns {
                self.begin();
                self.part(folder, part)?;
            }
        }
        Ok(())
    }

    /// Files that have just expired have nothing to say.
    fn part(&mut self, folder: &Path, part: &Part) -> io::Result<()> {
        let path = |what, level| folder.join(file::name(what, level, part.from_seq));
        let own = ["sites", "tags", "gauges"].map(|what| path(what, self.level));
        if !own.iter().all(|path| path.exists()) {
            return Ok(());
        }
        let [_, tags, gauges] = own;
        // Beyond its ends, a part has nothing, so that the widest ticks fit.
        let width_ns = LEVELS_NS[self.level];
        let from_ns = if self.from_ns <= part.first_ns {
            0
        } else {
            self.from_ns
        };
        let to_ns = if self.to_ns > part.last_ns {
            u64::MAX
        } else {
            self.to_ns.checked_next_multiple_of(width_ns).unwrap_or(u64::MAX)
        };
        read::tags(&tags, &(0..to_ns), &mut |line| self.tag_line(&line)).map_err(io::Error::other)?;
        if !self.gauges.is_empty() {
            let wanted = from_ns..to_ns;
            read::gauges(&gauges, &wanted, &mut |line| self.gauge_line(&line)).map_err(io::Error::other)?;
        }
        if !self.wants_sites {
            return Ok(());
        }
        let level = self.level;
        let mut sites = |pieces: Vec<Piece>, is_inside: bool| {
            for (level, ticks) in pieces {
                let take = &mut |line: SiteLine<'_>| self.site_line(&line, is_inside);
                read::sites(&path("sites", level), &ticks, take).map_err(io::Error::other)?;
            }
            Ok::<_, io::Error>(())
        };
        if from_ns > part.last_ns {
            return sites(cover(0..u64::MAX, level), false);
        }
        sites(cover(0..from_ns, level), false)?;
        sites(cover(from_ns..to_ns, level), true)
    }

    /// Frames that have no levels yet: about half a mebibyte of the segment that is being written, and those waiting.
    fn rest(&mut self, hub: &Hub, session: &Session, sealed_to: u64) -> io::Result<()> {
        let from_seq = session.with_log(|log| {
            let waiting = log
                .segments()
                .find(|segment| segment.last_seq > sealed_to && segment.summary.is_none())?;
            (waiting.first_ns < self.to_ns).then(|| waiting.base_seq.max(sealed_to + 1))
        });
        let Some(from_seq) = from_seq else { return Ok(()) };
        let mut builder = LevelBuilder::default();
        warm_up(hub, session, from_seq, &mut builder, &mut Summary::default())?;
        self.begin();
        let mut begun = false;
        let folder = hub.store.folder(session.id);
        let seqs = from_seq..=session.durable_seq();
        replay::between(&folder, session, seqs, &mut |frame| {
            if !begun {
                builder.begin(frame.envelope.first_ns);
                begun = true;
            }
            builder.apply(frame, self);
        })?;
        builder.finish(self);
        Ok(())
    }

    fn tag_line(&mut self, line: &TagLine<'_>) {
        if line.tick_start_ns >= self.to_ns {
            return;
        }
        let place = self.place(line.tick_start_ns);
        let source = &mut self.sources[usize::from(line.heap_tag == BUCKETS)];
        source.told = true;
        match source.live.get_mut(line.heap_tag) {
            Some(live) => *live = line.live,
            None => {
                source.live.insert(line.heap_tag.to_owned(), line.live);
            }
        }
        let live = source
            .live
            .values()
            .fold(Estimate::default(), |sum, of| sum.plus(*of));
        let Some((allocated, freed, at_end)) = place.and_then(|at| source.points.get_mut(at)) else {
            source.live_before = live;
            return;
        };
        *allocated = allocated.plus(line.allocated);
        *freed = freed.plus(line.freed);
        *at_end = Some(live);
    }

    /// A row of the range, or of before it: what was live then may be so still.
    fn site_line(&mut self, line: &SiteLine<'_>, is_inside: bool) {
        let key = (line.stack_trace_hash, line.heap_tag.to_owned());
        let site = self.sites.entry(key).or_insert_with(|| RangeSite {
            stack_trace_hash: format!("{:016x}", line.stack_trace_hash),
            function: line.function.to_owned(),
            stack: line.stack.to_owned(),
            heap_tag: line.heap_tag.to_owned(),
            ..RangeSite::default()
        });
        site.live = line.live.into();
        if is_inside {
            for (sum, value) in [
                (&mut site.allocated, line.allocated),
                (&mut site.freed, line.freed),
            ] {
                sum.bytes += value.bytes;
                sum.variance += value.variance;
            }
        }
    }

    fn gauge_line(&mut self, line: &GaugeLine) {
        let Some(place) = self.place(line.tick_start_ns) else {
            return;
        };
        let start_ns = self.from_ns + place as u64 * self.step_ns;
        if let (Some(values), true) = (self.gauges.get_mut(&line.gauge), line.tick_start_ns < self.to_ns) {
            let value = values.entry(start_ns).or_insert(RangeValue {
                start_ns,
                min: line.min,
                max: line.max,
                last: line.last,
            });
            value.min = value.min.min(line.min);
            value.max = value.max.max(line.max);
            value.last = line.last;
        }
    }

    fn place(&self, tick_start_ns: u64) -> Option<usize> {
        let since_ns = tick_start_ns.checked_sub(self.from_ns)?;
        usize::try_from(since_ns / self.step_ns).ok()
    }

    fn finish(self, query: &RangeQuery) -> Range {
        let [probes, buckets] = self.sources;
        let uses_buckets = buckets.told && !probes.told;
        let source = if uses_buckets { buckets } else { probes };
        let mut live = source.live_before;
        let points = source
            .points
            .into_iter()
            .zip(0_u64..)
            .map(|((allocated, freed, at_end), nth)| {
                live = at_end.unwrap_or(live);
                RangePoint {
                    start_ns: self.from_ns + nth * self.step_ns,
                    allocated: allocated.into(),
                    freed: freed.into(),
                    live: live.into(),
                }
            });
        let points = points.collect();
        let mut sites: Vec<RangeSite> = self.sites.into_values().collect();
        sites.retain(|site| {
            (site.heap_tag == BUCKETS) == uses_buckets
                && (site.live.bytes > 0.0 || site.allocated.bytes > 0.0)
        });
        sites.sort_by(|a, b| {
            let by_live = b.live.bytes.total_cmp(&a.live.bytes);
            let by_allocated = || b.allocated.bytes.total_cmp(&a.allocated.bytes);
            by_live
                .then_with(by_allocated)
                .then_with(|| a.stack_trace_hash.cmp(&b.stack_trace_hash))
        });
        let sites_left_out = sites.len().saturating_sub(query.sites) as u64;
        sites.truncate(query.sites);
        let gauges = self.gauges.into_iter().map(|(gauge, values)| RangeGauge {
            gauge,
            name: Gauge(gauge).label().to_owned(),
            values: values.into_values().collect(),
        });
        Range {
            level: LEVEL_NAMES[self.level].to_owned(),
            step_ns: self.step_ns,
            points,
            gauges: gauges.collect(),
            sites,
            sites_left_out,
        }
    }
}

impl LevelSink for Gathered {
    fn site(&mut self, level: usize, row: SiteRow) {
        if level != self.level || row.tick_start_ns >= self.to_ns {
            return;
        }
        let is_inside = row.tick_start_ns >= self.from_ns;
        let line = SiteLine {
            tick_start_ns: row.tick_start_ns,
            stack_trace_hash: row.text.stack_trace_hash,
            function: &row.text.function,
            stack: &row.text.stack,
            heap_tag: &row.heap_tag,
            allocated: (&row.allocated).into(),
            freed: (&row.freed).into(),
            live: (&row.live).into(),
        };
        self.site_line(&line, is_inside);
    }

    fn tag(&mut self, level: usize, row: TagRow) {
        if level == self.level {
            self.tag_line(&TagLine {
                tick_start_ns: row.tick_start_ns,
                heap_tag: &row.heap_tag,
                allocated: (&row.allocated).into(),
                freed: (&row.freed).into(),
                live: (&row.live).into(),
            });
        }
    }

    fn gauge(&mut self, level: usize, row: GaugeRow) {
        if level == self.level {
            self.gauge_line(&GaugeLine {
                tick_start_ns: row.tick_start_ns,
                gauge: row.gauge.0,
                min: row.min,
                max: row.max,
                last: row.last,
            });
        }
    }
}

impl From<&Amount> for Estimate {
    fn from(amount: &Amount) -> Self {
        Self {
            bytes: amount.bytes,
            variance: amount.bytes_variance,
        }
    }
}

impl From<Estimate> for Figures {
    fn from(estimate: Estimate) -> Self {
        // Sums of differences; what is left of nothing need not be nothing.
        Self {
            bytes: estimate.bytes.max(0.0),
            variance: estimate.variance.max(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coarsest_level_with_enough_points_as_a_table() {
        const SECOND: u64 = 1_000_000_000;
        for (length_s, points, expected) in [
            (60, 600, "100ms"),
            (60, 60, "1s"),
            (60, 2000, "100ms"),
            (600, 500, "1s"),
            (86_400, 1000, "1min"),
            (86_400, 24, "1h"),
            (30 * 86_400, 700, "1h"),
        ] {
            let query = RangeQuery {
                from_ns: 5 * SECOND,
                to_ns: (5 + length_s) * SECOND,
                points,
                sites: 0,
                gauges: Vec::new(),
            };
            assert_eq!(
                LEVEL_NAMES[level_for(&query)],
                expected,
                "{length_s} s in {points} points"
            );
        }
    }
}
