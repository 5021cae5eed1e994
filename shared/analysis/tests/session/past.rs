//! The figures of a past moment.

use super::{ORIGIN_TICK, TICK_NS, dictionary, encode, objects, play, start, table};
use heaptide_analysis::views::Headline;
use heaptide_protocol::SymbolGen;
use heaptide_protocol::events::{EventBatch, EventBody, EventKind, OtherRow};
use heaptide_protocol::gauges::{Gauge, GaugeValue, Gauges};
use heaptide_protocol::section::Section;

/// A pause and a collection in each tick, the pause as long as the tick is late.
pub(super) fn collection(tick: u64) -> Section {
    let at = (tick + ORIGIN_TICK) * TICK_NS;
    let mut batch = EventBatch::new(tick * 10, at, SymbolGen(0), 1, false);
    for (kind, at) in [
        (EventKind::StopTheWorldBegin, at + 1),
        (EventKind::GcStart, at + 2),
        (EventKind::StopTheWorldEnd, at + 3 + tick),
    ] {
        batch.push(at, 1, kind, EventBody::Other(OtherRow::default()));
    }
    Section::Events(batch)
}

/// RSS that tells its tick.
pub(super) fn gauges(tick: u64) -> Section {
    Section::Gauges(Gauges {
        timestamp_ns: (tick + ORIGIN_TICK) * TICK_NS + 5,
        values: vec![GaugeValue {
            gauge: Gauge::RSS_BYTES,
            value: tick << 20,
        }],
    })
}

#[test]
fn the_figures_of_a_past_moment_are_those_that_were_shown_then() {
    const TICKS: u64 = 60;
    let list = objects(11, 800, TICKS);
    let mut all = vec![encode(1, 0, &[start(), dictionary()])];
    all.extend((0..TICKS).map(|tick| {
        let sections = [table(&list, tick, 4096), collection(tick), gauges(tick)];
        encode(tick + 2, tick, &sections)
    }));
    let whole = play(&all);
    for tick in [0, 1, 19, 20, 21, 40, TICKS - 1] {
        let then = play(all.iter().take(tick as usize + 2)).headline();
        let expected = Headline {
            span: whole.span(),
            ..then.clone()
        };
        assert_eq!(whole.headline_at(then.span.to_ns), expected, "tick {tick}");
    }
    let last = whole.headline();
    assert_eq!(last, whole.headline_at(last.span.to_ns));
    assert_eq!(
        (last.gc_cycles, last.pauses, last.pause_longest_ns),
        (TICKS, TICKS, 2 + TICKS - 1)
    );
}
