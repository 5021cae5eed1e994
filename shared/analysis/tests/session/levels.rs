//! Each level's rows against a plain list of objects.

use super::{ORIGIN_TICK, Object, SITES, TICK_NS, frames, objects};
use heaptide_analysis::levels::{GaugeRow, LEVELS_NS, LevelBuilder, LevelSink, SiteRow, TagRow};
use heaptide_protocol::Frame;
use std::collections::HashMap;

const TICKS: u64 = 250;

#[derive(Default)]
struct Rows(Vec<Vec<SiteRow>>, Vec<Vec<TagRow>>);

impl LevelSink for Rows {
    fn site(&mut self, level: usize, row: SiteRow) {
        self.0.resize(LEVELS_NS.len(), Vec::new());
        self.0[level].push(row);
    }

    fn tag(&mut self, level: usize, row: TagRow) {
        self.1.resize(LEVELS_NS.len(), Vec::new());
        self.1[level].push(row);
    }

    fn gauge(&mut self, _: usize, _: GaugeRow) {}
}

/// Rows of all frames, made in stretches that begin at these places.
fn rows(all: &[Vec<u8>], begins: &[usize]) -> Vec<Rows> {
    let end = [all.len()];
    let stretches = begins.iter().zip(begins.iter().skip(1).chain(&end));
    stretches
        .map(|(from, to)| {
            let mut builder = LevelBuilder::default();
            let mut rows = Rows::default();
            for bytes in &all[..*from] {
                builder.warm_up(&Frame::parse(bytes).unwrap());
            }
            builder.begin(Frame::parse(&all[*from]).unwrap().envelope.first_ns);
            for bytes in &all[*from..*to] {
                builder.apply(&Frame::parse(bytes).unwrap(), &mut rows);
            }
            builder.finish(&mut rows);
            assert_eq!((builder.damaged_frames, builder.left_out), (0, 0));
            rows
        })
        .collect()
}

fn bytes(list: &[Object], site: u32, wanted: impl Fn(&Object) -> bool) -> f64 {
    let of = list.iter().filter(|object| object.site == site && wanted(object));
    of.map(|object| object.size_bytes).sum::<u64>() as f64
}

#[test]
fn every_tick_of_every_level_adds_up_and_live_is_the_last_word() {
    for seed in 0..3 {
        let list = objects(seed, 2_000, TICKS);
        let all = frames(&list, TICKS, 1);
        for begins in [&[0][..], &[0, 40, 173]] {
            let stretches = rows(&all, begins);
            for (level, width_ns) in LEVELS_NS.into_iter().enumerate() {
                let each = width_ns / TICK_NS;
                let told: Vec<&SiteRow> = stretches.iter().flat_map(|rows| &rows.0[level]).collect();
                let last_tick = (TICKS + ORIGIN_TICK - 1) / each;
                for tick in ORIGIN_TICK / each..=last_tick {
                    // In the list's own ticks.
                    let from = (tick * each).saturating_sub(ORIGIN_TICK);
                    let to = (tick + 1) * each - ORIGIN_TICK;
                    let to = to.min(TICKS);
                    for site in 0..SITES {
                        let name = format!("main.site{site}");
                        let own = || told.iter().filter(|row| row.text.function == name);
                        let here = || own().filter(|row| row.tick_start_ns == tick * width_ns);
                        let what = format!("seed {seed}, {begins:?}, level {level}, tick {tick}, {name}");
                        let allocated: f64 = here().map(|row| row.allocated.bytes).sum();
                        let freed: f64 = here().map(|row| row.freed.bytes).sum();
                        let live = own().rfind(|row| row.tick_start_ns <= tick * width_ns);
                        assert_eq!(
                            allocated,
                            bytes(&list, site, |o| (from..to).contains(&o.born)),
                            "{what}"
                        );
                        let died = |o: &Object| o.died.is_some_and(|died| (from..to).contains(&died));
                        assert_eq!(freed, bytes(&list, site, died), "{what}");
                        let alive = |o: &Object| o.born < to && o.died.is_none_or(|died| died >= to);
                        let expected = bytes(&list, site, alive);
                        assert_eq!(live.map_or(0.0, |row| row.live.bytes), expected, "{what}");
                    }
                }
                let row = told.last().unwrap();
                assert_eq!(row.text.stack, format!("main.main;{}", row.text.function));
            }
        }
    }
}

#[test]
fn a_heap_tag_is_the_sum_of_its_sites_in_every_tick_of_every_level() {
    let list = objects(7, 2_000, TICKS);
    let all = frames(&list, TICKS, 1);
    for rows in rows(&all, &[0, 40, 173]) {
        for (sites, tags) in rows.0.iter().zip(&rows.1) {
            let mut live = HashMap::new();
            let mut sites = sites.iter().peekable();
            for row in tags {
                let (mut allocated, mut freed) = (0.0, 0.0);
                while let Some(site) = sites.next_if(|site| site.tick_start_ns == row.tick_start_ns) {
                    assert_eq!(site.heap_tag, row.heap_tag);
                    allocated += site.allocated.bytes;
                    freed += site.freed.bytes;
                    live.insert(site.text.stack_trace_hash, site.live.bytes);
                }
                let of_sites = [allocated, freed, live.values().sum()];
                let told = [row.allocated.bytes, row.freed.bytes, row.live.bytes];
                for (expected, got) in of_sites.into_iter().zip(told) {
                    assert!(
                        (expected - got).abs() < 1e-3,
                        "expected {of_sites:?}, got {told:?}"
                    );
                }
            }
            assert!(sites.next().is_none() && !tags.is_empty());
        }
    }
}
