//! A session told in steps, of one width or of several, against a plain list of objects.

use super::{Object, SITES, counts, dictionary, encode, frames, objects, past, play, start, table, window};
use heaptide_analysis::Session;
use heaptide_analysis::steps::{STEPS_NS, StepBuilder};
use heaptide_analysis::views::{Headline, Metric, ProfileQuery, TimelineQuery};
use heaptide_protocol::{Frame, SessionId};

const TICKS: u64 = 1_300;
/// Places in the list where steps of ten seconds and of a minute begin: the session began 5 s after the clock.
const TEN_SECONDS: [u64; 5] = [0, 50, 150, 750, TICKS];
const MINUTES: [u64; 4] = [0, 550, 1_150, TICKS];

/// Frames of each width, made in parts that begin at these places.
fn steps(all: &[Vec<u8>], begins: &[usize]) -> [Vec<Vec<u8>>; STEPS_NS.len()] {
    let mut told: [Vec<Vec<u8>>; STEPS_NS.len()] = Default::default();
    let end = [all.len()];
    for (from, to) in begins.iter().zip(begins.iter().skip(1).chain(&end)) {
        let mut builder = StepBuilder::new(SessionId([1; 16]));
        let mut sink = |width: usize, frames: Vec<Vec<u8>>| told[width].extend(frames);
        for bytes in &all[*from..*to] {
            builder.apply(&Frame::parse(bytes).unwrap(), &mut sink);
        }
        builder.finish(&mut sink);
        assert!(builder.failed.is_none());
    }
    told
}

fn seq(bytes: &[u8]) -> u64 {
    Frame::parse(bytes).unwrap().envelope.seq
}

/// Adds frames that stand for all up to the last of them.
fn tell(session: &mut Session, frames: &[Vec<u8>], step_ns: u64) {
    let to_seq = frames.last().map_or(0, |bytes| seq(bytes));
    session.stretch(session.last_seq() + 1, to_seq, step_ns);
    for bytes in frames {
        session.apply(&Frame::parse(bytes).unwrap()).unwrap();
    }
}

fn check(session: &Session, list: &[Object], borders: &[u64], what: &str) {
    for (nth, from) in borders.iter().enumerate() {
        for to in &borders[nth..] {
            for metric in [Metric::Live, Metric::Kept, Metric::Allocated, Metric::Freed] {
                let sites = session.sites(&ProfileQuery {
                    window: window(*from, *to),
                    metric,
                    filter: String::new(),
                    limit: 100,
                });
                for site in 0..SITES {
                    let own = list.iter().filter(|object| object.site == site);
                    let expected: u64 = own
                        .filter(|object| counts(object, metric, *from, *to))
                        .map(|object| object.size_bytes)
                        .sum();
                    let name = format!("main.site{site}");
                    let row = sites.rows.iter().find(|row| row.function == name);
                    let got = row.map_or(0.0, |row| row.bytes.value);
                    assert_eq!(
                        got, expected as f64,
                        "{what}: {metric:?} of {name} in {from}..{to}"
                    );
                }
            }
        }
    }
    assert_eq!(session.missed_frames(), 0, "{what}");
}

#[test]
fn invariant_10_every_width_says_the_same_between_its_borders() {
    let list = objects(1, 3_000, TICKS);
    let all = frames(&list, TICKS, 1);
    let told = steps(&all, &[0]);
    for (width, borders) in [&TEN_SECONDS[..], &MINUTES, &[0, TICKS], &[0, TICKS]]
        .into_iter()
        .enumerate()
    {
        let mut session = Session::new();
        tell(&mut session, &told[width], STEPS_NS[width]);
        check(&session, &list, borders, &format!("width {width}"));
        assert_eq!(session.last_seq(), seq(all.last().unwrap()));
        assert_eq!(session.span(), window(0, TICKS), "width {width}");
        assert_eq!(session.step_in(window(0, TICKS)), STEPS_NS[width]);
    }
    assert!(told[1].len() * 100 < all.len());
    let bytes = |frames: &[Vec<u8>]| frames.iter().map(Vec::len).sum::<usize>();
    assert!(bytes(&told[1]) < bytes(&told[0]) && bytes(&told[0]) < bytes(&all));
}

#[test]
fn narrow_steps_and_single_frames_stand_between_wide_ones() {
    let list = objects(2, 3_000, TICKS);
    let all = frames(&list, TICKS, 1);
    let told = steps(&all, &[0]);
    let minutes: Vec<u64> = told[1].iter().map(|bytes| seq(bytes)).collect();
    assert_eq!(minutes.len(), 3);
    let inside = |frames: &[Vec<u8>]| -> Vec<Vec<u8>> {
        let in_second = |bytes: &&Vec<u8>| (minutes[0] + 1..=minutes[1]).contains(&seq(bytes));
        frames.iter().filter(in_second).cloned().collect()
    };
    for (close, step_ns, borders) in [
        (inside(&told[0]), STEPS_NS[0], &[550, 650, 1_050, 1_150][..]),
        (inside(&all), 0, &[550, 551, 903, 1_149, 1_150]),
    ] {
        let mut session = Session::new();
        tell(&mut session, &told[1][..1], STEPS_NS[1]);
        tell(&mut session, &close, step_ns);
        tell(&mut session, &told[1][2..], STEPS_NS[1]);
        check(&session, &list, borders, &format!("steps of {step_ns} ns"));
        check(
            &session,
            &list,
            &MINUTES,
            &format!("around steps of {step_ns} ns"),
        );
        assert_eq!(session.step_in(window(600, 1_000)), step_ns);
        assert_eq!(session.step_in(window(500, 1_000)), STEPS_NS[1]);
    }
}

#[test]
fn parts_may_end_within_a_step() {
    let list = objects(3, 3_000, TICKS);
    let all = frames(&list, TICKS, 1);
    for (width, told) in steps(&all, &[0, 333, 334, 1_200]).iter().enumerate() {
        let mut session = Session::new();
        tell(&mut session, told, STEPS_NS[width]);
        check(&session, &list, &[0, TICKS], &format!("width {width}"));
    }
}

#[test]
fn pauses_are_counted_gauges_are_the_last_and_rates_are_means() {
    let list = objects(4, 3_000, TICKS);
    let mut all = vec![encode(1, 0, &[start(), dictionary()])];
    all.extend((0..TICKS).map(|tick| {
        let sections = [
            table(&list, tick, 1),
            past::collection(tick),
            past::gauges(tick + 1),
        ];
        encode(tick + 2, tick, &sections)
    }));
    let exact = play(&all).headline();
    for (width, told) in steps(&all, &[0]).iter().enumerate() {
        let mut session = Session::new();
        tell(&mut session, told, STEPS_NS[width]);
        let headline = session.headline();
        let figures = |of: &Headline| {
            let pauses = (of.gc_cycles, of.pauses, of.pause_total_ns, of.pause_longest_ns);
            (pauses, of.rss, of.live, of.samples)
        };
        assert_eq!(figures(&headline), figures(&exact), "width {width}");
        assert_eq!(session.timeline(&query(0, TICKS)).told_ns, STEPS_NS[width]);
        if width == 0 {
            // From the border on: a gauge that was read behind it makes no hole.
            let told = session.timeline(&query(150, 250));
            let born = list.iter().filter(|object| (150..250).contains(&object.born));
            let mean = born.map(|object| object.size_bytes).sum::<u64>() as f64 / 10.0;
            assert_eq!(told.points.len(), 10);
            for point in &told.points {
                let off = (point.allocated_per_s - mean).abs();
                assert!(off < 0.01 * mean, "{} instead of {mean}", point.allocated_per_s);
            }
        }
    }
}

fn query(from_tick: u64, to_tick: u64) -> TimelineQuery {
    TimelineQuery {
        window: window(from_tick, to_tick),
        points: 10,
    }
}
