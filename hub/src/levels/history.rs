//! A session's headline figures over a span of the hub's clock, step by step, from its levels: what a dashboard shows
//! of the time before its pulses.

use super::range::{self, RangeQuery};
use crate::hub::Hub;
use crate::pulses::{Headline, Span};
use crate::session::Session;
use heaptide_analysis::clock::offset_over;
use heaptide_protocol::gauges::Gauge;
use heaptide_protocol::report::Window;
use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;

const SECOND_NS: u64 = 1_000_000_000;
/// Of each step, so that none is left empty because ticks and steps begin at different times.
const POINTS_OF_A_STEP: u64 = 2;

/// By the beginning of each step; steps of which the session has nothing are left out. Reads files. Blocks.
pub(crate) fn history(hub: &Hub, session: &Session, span: &Span) -> io::Result<BTreeMap<u64, Headline>> {
    let Some(place) = Place::of(session, span) else {
        return Ok(BTreeMap::new());
    };
    let steps = (place.to_ns - place.from_ns) / (span.step_s * SECOND_NS) + 1;
    let query = RangeQuery {
        from_ns: place.from_ns,
        to_ns: place.to_ns,
        points: usize::try_from(steps * POINTS_OF_A_STEP).unwrap_or(usize::MAX),
        sites: 0,
        gauges: vec![Gauge::RSS_BYTES.0, Gauge::COLLECTOR_CPU_NS.0],
    };
    let range = range::answer(hub, session, &query)?;
    let mut sums: BTreeMap<u64, Sum> = BTreeMap::new();
    for point in &range.points {
        let end_ns = (point.start_ns + range.step_ns).min(place.to_ns);
        let sum = sums.entry(place.step(point.start_ns, span)).or_default();
        sum.told.live_bytes = point.live.bytes;
        sum.told.live_std_error_bytes = point.live.variance.sqrt();
        sum.allocated_bytes += point.allocated.bytes;
        sum.length_ns += end_ns.saturating_sub(point.start_ns);
    }
    let mut cpu_before: Option<(u64, u64)> = None;
    for gauge in &range.gauges {
        for value in &gauge.values {
            let Some(sum) = sums.get_mut(&place.step(value.start_ns, span)) else {
                continue;
            };
            if gauge.gauge == Gauge::RSS_BYTES.0 {
                sum.told.rss_bytes = value.last;
                continue;
            }
            // A running total; a session that goes on after a restart counts anew.
            if let Some((at_ns, before)) = cpu_before.replace((value.start_ns, value.last)) {
                let spent_ns = value.last.saturating_sub(before);
                let permille = spent_ns.saturating_mul(1000) / (value.start_ns - at_ns).max(1);
                sum.told.collector_cpu_permille = u32::try_from(permille).unwrap_or(u32::MAX);
            }
        }
    }
    let told = sums.into_iter().map(|(unix_s, sum)| {
        let seconds = sum.length_ns.max(1) as f64 / SECOND_NS as f64;
        let told = Headline {
            allocated_bytes_per_s: sum.allocated_bytes / seconds,
            ..sum.told
        };
        (unix_s, told)
    });
    Ok(told.collect())
}

#[derive(Debug, Default)]
struct Sum {
    told: Headline,
    allocated_bytes: f64,
    length_ns: u64,
}

/// The part of a span in which there was the session, on its own clock.
struct Place {
    from_ns: u64,
    to_ns: u64,
    /// What its clock lacks to the hub's.
    offset_ns: i64,
}

impl Place {
    fn of(session: &Session, span: &Span) -> Option<Self> {
        let summary = session.summary();
        let (first_ns, last_ns) = (summary.first_ns, summary.last_ns);
        let whole = Window {
            from_ns: first_ns,
            to_ns: last_ns,
        };
        // What its host's wall clock said, if the session has not been compared with ours.
        let clock = &summary.signature.clock;
        let offset_ns = offset_over(session.clock().readings(), whole).map_or_else(
            || clock.unix_ns.wrapping_sub(clock.session_ns).cast_signed(),
            |offset| offset.offset_ns,
        );
        let own_ns = |unix_s: u64| {
            let ns = unix_s.saturating_mul(SECOND_NS);
            ns.saturating_add_signed(offset_ns.saturating_neg())
        };
        let from_ns = own_ns(span.from_unix_s).max(first_ns);
        let to_ns = own_ns(span.to_unix_s).min(last_ns.saturating_add(1));
        (from_ns < to_ns && last_ns > 0).then_some(Self {
            from_ns,
            to_ns,
            offset_ns,
        })
    }

    fn step(&self, own_ns: u64, span: &Span) -> u64 {
        let unix_s = own_ns.max(self.from_ns).saturating_add_signed(self.offset_ns) / SECOND_NS;
        unix_s - unix_s % span.step_s
    }
}

/// From when to when there was a session, in seconds of the hub's clock; nothing if nothing came of it.
pub(crate) fn lasted(session: &Session) -> Option<RangeInclusive<u64>> {
    let all = Span {
        from_unix_s: 0,
        to_unix_s: u64::MAX,
        step_s: 1,
    };
    let place = Place::of(session, &all)?;
    let unix_s = |own_ns: u64| own_ns.saturating_add_signed(place.offset_ns) / SECOND_NS;
    Some(unix_s(place.from_ns)..=unix_s(place.to_ns))
}
