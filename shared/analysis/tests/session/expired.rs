//! What is left of a session whose first frames, or some in the middle, were replaced by a summary.

use super::{Object, SITES, encode, frames, objects, play, window};
use heaptide_analysis::summary::Summary;
use heaptide_analysis::views::{Metric, ProfileQuery};
use heaptide_analysis::{AnalysisError, Session};
use heaptide_protocol::dictionary::{Dictionary, StringDef};
use heaptide_protocol::section::Section;
use heaptide_protocol::{Frame, SessionId, StringId};

const TICKS: u64 = 60;

/// The frames with those of `from..to` (places, not numbers) replaced.
fn summarised(all: &[Vec<u8>], from: usize, to: usize) -> Vec<Vec<u8>> {
    let mut summary = Summary::default();
    for bytes in &all[from..to] {
        summary.apply(&Frame::parse(bytes).unwrap());
    }
    assert_eq!(summary.damaged_frames, 0);
    let seq = |at: usize| Frame::parse(&all[at]).unwrap().envelope.seq;
    let from_seq = if from == 0 { 1 } else { seq(from) };
    let made = summary.finish(SessionId([1; 16]), from_seq, seq(to - 1)).unwrap();
    assert_eq!(made.base_seq + made.frames.len() as u64, seq(to - 1) + 1);
    let mut left = all[..from].to_vec();
    left.extend(made.frames);
    left.extend_from_slice(&all[to..]);
    left
}

fn live_by_site(session: &Session, at_tick: u64) -> Vec<f64> {
    let query = ProfileQuery {
        window: window(0, at_tick),
        metric: Metric::Live,
        filter: String::new(),
        limit: 100,
    };
    let sites = session.sites(&query);
    let of = |site: u32| {
        let name = format!("main.site{site}");
        sites
            .rows
            .iter()
            .find(|row| row.function == name)
            .map_or(0.0, |row| row.bytes.value)
    };
    (0..SITES).map(of).collect()
}

fn expected(list: &[Object], at_tick: u64) -> Vec<f64> {
    let live = |object: &&Object| object.born < at_tick && object.died.is_none_or(|died| died >= at_tick);
    let of = |site| {
        let own = list.iter().filter(live).filter(|object| object.site == site);
        own.map(|object| object.size_bytes).sum::<u64>() as f64
    };
    (0..SITES).map(of).collect()
}

#[test]
fn what_is_live_is_told_by_name_wherever_the_frames_before_it_ended() {
    for seed in 0..5 {
        let list = objects(seed, 400, TICKS);
        let all = frames(&list, TICKS, 1);
        for end in [3, 5, 20, all.len() - 1] {
            let session = play(&summarised(&all, 0, end));
            // The first frame has no tick.
            for tick in [end as u64, TICKS] {
                assert_eq!(
                    live_by_site(&session, tick),
                    expected(&list, tick),
                    "seed {seed}, {end}, tick {tick}"
                );
            }
            assert_eq!(
                session.missed_frames(),
                end as u64 - (end as u64).min(2),
                "seed {seed}, {end}"
            );
        }
    }
}

#[test]
fn a_stretch_in_the_middle_and_a_summary_of_a_summary_change_nothing_at_the_end() {
    for seed in 0..5 {
        let list = objects(seed, 400, TICKS);
        let all = frames(&list, TICKS, 1);
        let middle = summarised(&all, 15, 30);
        let twice = summarised(&summarised(&all, 0, 15), 0, 20);
        for (what, left) in [("middle", middle), ("twice", twice)] {
            let session = play(&left);
            assert_eq!(
                live_by_site(&session, TICKS),
                expected(&list, TICKS),
                "seed {seed}, {what}"
            );
        }
    }
}

#[test]
fn a_summary_that_would_be_longer_than_its_stretch_is_refused_and_one_frame_can_take_the_place_of_one() {
    let session = SessionId([1; 16]);
    let all = frames(&objects(1, 10, 5), 5, 1);
    let mut summary = Summary::default();
    summary.apply(&Frame::parse(&all[0]).unwrap());
    summary.apply(&Frame::parse(&all[1]).unwrap());
    assert_eq!(summary.finish(session, 7, 7).unwrap().frames.len(), 1);
    // Names that fill two frames, and the sums.
    let strings = (0..24).map(|id| StringDef {
        id: StringId(id),
        text: "x".repeat(60 << 10),
    });
    let names = Section::Dictionary(Dictionary {
        strings: strings.collect(),
        ..Dictionary::default()
    });
    let mut summary = Summary::default();
    summary.apply(&Frame::parse(&encode(1, 0, &[names])).unwrap());
    summary.apply(&Frame::parse(&all[1]).unwrap());
    let error = summary.finish(session, 1, 2).unwrap_err();
    assert_eq!(error, AnalysisError::SummaryTooLong { frames: 3, room: 2 });
}
