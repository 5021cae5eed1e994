//! The whole worker on real frames, without a browser.

use super::*;
use crate::url::Range;
use crate::worker::messages::Extra;
use heaptide_analysis::report::ReportKind;
use heaptide_protocol::control::{CaughtUp, Missed, MissedReason, Overview, Sessions, Stretch, Welcome};
use heaptide_protocol::frame::{encode, encode_control};
use heaptide_protocol::gauges::{Gauge, GaugeValue, Gauges};
use heaptide_protocol::lifetimes::{Allotment, Birth, LifetimeTable};
use heaptide_protocol::report::{Report, ReportAsk, ReportTold};
use heaptide_protocol::section::{Section, SectionWriter, SessionStart};
use heaptide_protocol::{Envelope, Frame, FrameKind};
use serde::Serialize;

const ID: SessionId = SessionId([1; 16]);
const TICK_NS: u64 = 100_000_000;

fn control<T: Serialize>(kind: FrameKind, payload: &T) -> Vec<u8> {
    encode_control(kind, ID, payload).unwrap()
}

/// A tick in which ten objects of a mebibyte are born, every one of them sampled.
fn data(seq: u64) -> Vec<u8> {
    let mut writer = SectionWriter::default();
    let at_ns = seq * TICK_NS;
    if seq == 1 {
        let start = SessionStart {
            signature: sample::signature(),
            labels: Default::default(),
            capabilities: Vec::new(),
            policy: heaptide_policy::Policy::default(),
        };
        writer.push(&Section::Start(start)).unwrap();
    }
    let birth = Birth {
        allotment: Allotment {
            stack: Default::default(),
            heap_tag: Default::default(),
            size_bytes: 1 << 20,
            rate_index: 0,
        },
        count: 10,
    };
    writer
        .push(&Section::Lifetimes(LifetimeTable {
            tick: seq,
            tick_ns: TICK_NS,
            newest_ns: at_ns,
            rates_bytes: vec![1],
            births: vec![birth],
            ..LifetimeTable::default()
        }))
        .unwrap();
    writer
        .push(&Section::Gauges(Gauges {
            timestamp_ns: at_ns,
            values: vec![GaugeValue {
                gauge: Gauge::RSS_BYTES,
                value: 64 << 20,
            }],
        }))
        .unwrap();
    encode(Envelope::data(ID, seq, at_ns, at_ns + TICK_NS), &writer.take()).unwrap()
}

fn show(number: u32, extra: Extra) -> ToWorker {
    ToWorker::Show(Show {
        number,
        session: Some(ID),
        range: Range::All,
        timeline_points: 100,
        extra,
        ..Show::default()
    })
}

#[derive(Debug, Default)]
struct Seen {
    sent: Vec<FrameKind>,
    asked: Vec<ReportAsk>,
    closely: Vec<(u64, u64)>,
    connects: usize,
    disconnects: usize,
    page: Vec<ToPage>,
}

/// Runs everything that is wanted at this moment.
fn run(core: &mut Core, now_ms: u64) -> Seen {
    core.wake(now_ms, &|| now_ms as f64);
    let mut seen = Seen::default();
    while let Some(output) = core.poll() {
        match output {
            CoreOutput::Connect { .. } => seen.connects += 1,
            CoreOutput::Disconnect => seen.disconnects += 1,
            CoreOutput::Send(bytes) => {
                let frame = Frame::parse(&bytes).unwrap();
                seen.sent.push(frame.envelope.kind);
                if frame.envelope.kind == FrameKind::Overview {
                    let ask: Overview = frame.control("").unwrap();
                    seen.closely.push((ask.close_from_ns, ask.close_to_ns));
                }
                if frame.envelope.kind == FrameKind::ReportAsk {
                    seen.asked.push(frame.control("").unwrap());
                }
            }
            CoreOutput::Post(bytes) => seen.page.push(postcard::from_bytes(&bytes).unwrap()),
        }
    }
    seen
}

fn views(seen: &Seen) -> Vec<&ViewUpdate> {
    seen.page
        .iter()
        .filter_map(|message| match message {
            ToPage::View(update) => Some(&**update),
            _ => None,
        })
        .collect()
}

fn connected() -> Core {
    let mut core = Core::new("test");
    let start = ToWorker::Start {
        socket_url: "ws://hub/ws/console".into(),
        seed: 1,
    };
    core.page_message(0, start);
    assert_eq!(run(&mut core, 0).connects, 1);
    core.socket_opened(0);
    let welcome = Welcome {
        agent: "hub".into(),
        hub_epoch: 1,
        unix_ns: 0,
    };
    core.socket_message(0, &control(FrameKind::Welcome, &welcome));
    let sessions = Sessions {
        sessions: vec![sample::summary(1)],
    };
    core.socket_message(0, &control(FrameKind::Sessions, &sessions));
    core
}

#[test]
fn the_fleet_arrives_and_is_not_repeated() {
    let mut core = connected();
    let seen = run(&mut core, 0);
    assert_eq!(seen.sent, [FrameKind::Hello]);
    let rows = seen.page.iter().find_map(|message| match message {
        ToPage::Fleet(rows) => Some(rows.len()),
        _ => None,
    });
    assert_eq!(rows, Some(1));
    assert!(
        seen.page
            .iter()
            .any(|message| matches!(message, ToPage::Link(LinkState::Live { .. })))
    );
    assert!(run(&mut core, 10).page.is_empty());
}

#[test]
fn frames_become_headline_timeline_and_sites_at_most_20_times_a_second() {
    let mut core = connected();
    core.page_message(0, show(1, Extra::Sites));
    assert_eq!(run(&mut core, 0).sent, [FrameKind::Hello, FrameKind::Overview]);
    core.socket_message(1, &control(FrameKind::CaughtUp, &CaughtUp { last_seq: 0 }));
    run(&mut core, 50);
    let mut updates = 0;
    let mut last = None;
    for ms in 100..1_100 {
        if ms % 10 == 0 {
            core.socket_message(ms, &data((ms - 90) / 10));
        }
        let seen = run(&mut core, ms);
        updates += views(&seen).len();
        last = views(&seen).last().map(|update| (*update).clone()).or(last);
    }
    assert!((15..=26).contains(&updates), "{updates} updates in a second");
    let last = last.unwrap();
    assert_eq!(last.show, 1);
    assert!(last.progress.caught_up);
    let headline = last.headline.unwrap();
    assert!(
        headline.live.value > 900.0 * 1024.0 * 1024.0,
        "{}",
        headline.live.value
    );
    assert_eq!(headline.rss.unwrap().value, 64.0 * 1024.0 * 1024.0);
    assert!(!last.timeline.unwrap().points.is_empty());
}

#[test]
fn a_new_question_is_answered_at_once_and_a_hidden_page_gets_none() {
    let mut core = connected();
    core.page_message(0, show(1, Extra::None));
    core.socket_message(0, &data(1));
    assert_eq!(views(&run(&mut core, 0)).len(), 1);
    core.page_message(1, show(2, Extra::Flame));
    let seen = run(&mut core, 1);
    let updates = views(&seen);
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0].show, 2);
    assert!(updates[0].flame.is_some() && updates[0].headline.is_some());
    core.page_message(3, ToWorker::Visible(false));
    core.socket_message(2_000, &data(2));
    assert!(views(&run(&mut core, 2_000)).is_empty());
    core.page_message(2_001, ToWorker::Visible(true));
    assert_eq!(views(&run(&mut core, 2_001))[0].progress.last_seq, 2);
}

fn told(number: u32, result: Result<Report, String>) -> Vec<u8> {
    let told = ReportTold {
        number,
        last_seq: 1,
        result,
    };
    control(FrameKind::ReportTold, &told)
}

#[test]
fn a_report_is_asked_of_the_hub_one_at_a_time() {
    let mut core = connected();
    core.page_message(0, show(7, Extra::Report(ReportKind::Drift)));
    assert!(
        run(&mut core, 0).asked.is_empty(),
        "nothing is known of the session yet"
    );
    core.socket_message(1, &data(1));
    let seen = run(&mut core, 1);
    let [ask] = &seen.asked[..] else {
        panic!("{:?}", seen.asked)
    };
    assert_eq!((ask.number, ask.query.kind), (7, ReportKind::Drift));
    assert!(ask.query.window.to_ns > 0);
    // News while an answer is out wait for it, and a new question too.
    core.socket_message(2_000, &data(2));
    core.page_message(2_000, show(8, Extra::Report(ReportKind::Pauses)));
    assert!(run(&mut core, 2_000).asked.is_empty());
    let report = Report {
        kind: ReportKind::Drift,
        tables: Vec::new(),
    };
    core.socket_message(2_001, &told(7, Ok(report)));
    let seen = run(&mut core, 2_001);
    assert!(
        seen.page
            .iter()
            .any(|message| matches!(message, ToPage::Report(_)))
    );
    assert_eq!(seen.asked.len(), 1);
    assert_eq!(seen.asked[0].number, 8);
    // A failure is not asked again at once.
    core.socket_message(2_002, &told(8, Err("no".into())));
    assert!(run(&mut core, 2_002).asked.is_empty());
    assert!(run(&mut core, 11_000).asked.is_empty());
    assert_eq!(run(&mut core, 12_003).asked.len(), 1);
}

#[test]
fn a_question_that_went_down_with_its_connection_is_asked_again() {
    let mut core = connected();
    core.page_message(0, show(7, Extra::Report(ReportKind::Ledger)));
    core.socket_message(1, &data(1));
    assert_eq!(run(&mut core, 1).asked.len(), 1);
    core.socket_closed(2);
    run(&mut core, 2);
    let retry_ms = core.next_ms().unwrap();
    assert_eq!(run(&mut core, retry_ms).connects, 1);
    core.socket_opened(retry_ms);
    let welcome = Welcome {
        agent: "hub".into(),
        hub_epoch: 2,
        unix_ns: 0,
    };
    core.socket_message(retry_ms, &control(FrameKind::Welcome, &welcome));
    assert_eq!(run(&mut core, retry_ms).asked.len(), 1);
}

#[test]
fn a_held_view_is_answered_once_and_keeps_reading() {
    let mut core = connected();
    core.page_message(0, show(1, Extra::None));
    core.socket_message(0, &data(1));
    core.socket_message(0, &control(FrameKind::CaughtUp, &CaughtUp { last_seq: 1 }));
    run(&mut core, 0);
    let held = Show {
        number: 2,
        session: Some(ID),
        at_ns: Some(TICK_NS),
        ..Show::default()
    };
    core.page_message(1, ToWorker::Show(held));
    assert_eq!(views(&run(&mut core, 1)).len(), 1);
    core.socket_message(2_000, &data(2));
    assert!(views(&run(&mut core, 2_000)).is_empty());
    core.page_message(2_001, show(3, Extra::None));
    assert_eq!(views(&run(&mut core, 2_001))[0].progress.last_seq, 2);
}

#[test]
fn reconnects_behind_what_it_has_and_shows_the_gap() {
    let mut core = connected();
    core.page_message(0, show(1, Extra::None));
    core.socket_message(0, &data(1));
    run(&mut core, 0);
    core.socket_closed(10);
    let seen = run(&mut core, 10);
    assert!(
        matches!(
            seen.page[..],
            [ToPage::Link(LinkState::Waiting { attempt: 1, .. })]
        ),
        "{:?}",
        seen.page
    );
    let retry_ms = core.next_ms().unwrap();
    assert_eq!(run(&mut core, retry_ms).connects, 1);
    core.socket_opened(retry_ms);
    let welcome = Welcome {
        agent: "hub".into(),
        hub_epoch: 2,
        unix_ns: 0,
    };
    core.socket_message(retry_ms, &control(FrameKind::Welcome, &welcome));
    assert_eq!(
        run(&mut core, retry_ms).sent,
        [FrameKind::Hello, FrameKind::Subscribe]
    );
    let missed = Missed {
        from_seq: 2,
        to_seq: 9,
        reason: MissedReason::Expired,
    };
    core.socket_message(retry_ms, &control(FrameKind::Missed, &missed));
    core.socket_message(retry_ms, &data(10));
    let seen = run(&mut core, retry_ms + 1_000);
    let update = views(&seen)[0];
    assert_eq!(update.progress.last_seq, 10);
    assert_eq!(update.timeline.as_ref().unwrap().gaps.len(), 1);
}

#[test]
fn damage_is_counted_with_its_beginning() {
    let mut core = connected();
    core.page_message(0, show(1, Extra::None));
    run(&mut core, 0);
    let mut flipped = data(1);
    flipped[12] ^= 0xff;
    core.socket_message(1, &flipped);
    // Right envelope and checksum, wrong inside.
    core.socket_message(2, &encode(Envelope::data(ID, 1, 0, 1), &[3, 1, 0xff]).unwrap());
    core.socket_message(3, &data(2));
    let seen = run(&mut core, 1_000);
    let damage = seen.page.iter().rev().find_map(|message| match message {
        ToPage::Damage(damage) => Some(damage),
        _ => None,
    });
    let damage = damage.unwrap();
    assert_eq!(damage.count, 2);
    assert!(damage.hex.starts_with("48544401 "), "{}", damage.hex);
    assert_eq!(views(&seen)[0].progress.last_seq, 2);
}

#[test]
fn the_fleet_page_leaves_a_session_and_coming_back_resumes_it() {
    let mut core = connected();
    core.page_message(0, show(1, Extra::None));
    core.socket_message(0, &data(1));
    run(&mut core, 0);
    core.page_message(1, ToWorker::Show(Show::default()));
    assert_eq!(run(&mut core, 1).sent, [FrameKind::Unsubscribe]);
    core.page_message(2, show(3, Extra::None));
    let seen = run(&mut core, 2);
    assert_eq!(seen.sent, [FrameKind::Subscribe]);
    assert_eq!(views(&seen)[0].progress.last_seq, 1);
}

#[test]
fn a_proposal_without_a_connection_is_said() {
    let mut core = Core::new("test");
    let propose = ToWorker::Propose {
        session: ID,
        policy: heaptide_policy::Policy::default(),
    };
    core.page_message(0, propose);
    let seen = run(&mut core, 0);
    assert!(
        seen.page
            .iter()
            .any(|message| matches!(message, ToPage::Notice(text) if text.contains("not sent")))
    );
}

/// Ten minutes, told by one frame each.
fn told_in_minutes(core: &mut Core) {
    const MINUTE: u64 = 600;
    let stretch = Stretch {
        from_seq: 1,
        to_seq: 10 * MINUTE,
        step_ns: 60_000_000_000,
    };
    core.socket_message(0, &control(FrameKind::Stretch, &Stretch::BEGIN));
    core.socket_message(0, &data(1));
    core.socket_message(0, &control(FrameKind::Stretch, &stretch));
    for step in 1..=10 {
        core.socket_message(0, &data(step * MINUTE));
    }
    core.socket_message(
        0,
        &control(
            FrameKind::CaughtUp,
            &CaughtUp {
                last_seq: 10 * MINUTE,
            },
        ),
    );
}

fn select(core: &mut Core, number: u32, from_tick: u64, to_tick: u64) {
    core.page_message(
        0,
        ToWorker::Show(Show {
            number,
            session: Some(ID),
            range: Range::All,
            timeline_points: 100,
            selection: Some(Window {
                from_ns: from_tick * TICK_NS,
                to_ns: to_tick * TICK_NS,
            }),
            ..Show::default()
        }),
    );
}

#[test]
fn what_is_looked_at_in_steps_too_wide_is_read_anew_and_takes_their_place() {
    let mut core = connected();
    core.page_message(0, show(1, Extra::None));
    assert_eq!(run(&mut core, 0).closely, [(0, 0)]);
    told_in_minutes(&mut core);
    // All of it is told as closely as there is room for.
    assert_eq!(run(&mut core, 100).closely, []);
    // The end of it, as it comes.
    core.page_message(
        0,
        ToWorker::Show(Show {
            range: Range::FiveMinutes,
            number: 2,
            session: Some(ID),
            ..Show::default()
        }),
    );
    let end_ns = core.watched.as_ref().unwrap().data.span().to_ns;
    let five_minutes = (end_ns - 300_000_000_000, u64::MAX);
    assert_eq!(run(&mut core, 150).closely, [five_minutes]);
    // Asked once, whatever comes of it.
    told_in_minutes(&mut core);
    assert_eq!(run(&mut core, 200).closely, []);
    let live = |core: &Core| core.watched.as_ref().unwrap().data.headline().live.value;
    let before = live(&core);
    assert_eq!(before, 11.0 * 10.0 * 1_048_576.0);

    select(&mut core, 2, 650, 700);
    assert_eq!(run(&mut core, 300).closely, [(650 * TICK_NS, 700 * TICK_NS)]);
    // What was on its way still counts to the old picture, and the new one waits until it is whole.
    core.socket_message(310, &data(6_001));
    core.socket_message(320, &control(FrameKind::Stretch, &Stretch::BEGIN));
    for seq in 1..=1_000 {
        core.socket_message(330, &data(seq));
    }
    assert_eq!(live(&core), before + 10.0 * 1_048_576.0);
    assert_eq!(run(&mut core, 400).closely, []);
    core.socket_message(410, &control(FrameKind::CaughtUp, &CaughtUp { last_seq: 1_000 }));
    assert_eq!(live(&core), 1_000.0 * 10.0 * 1_048_576.0);
    assert_eq!(run(&mut core, 500).closely, []);

    // Of a session that was left in between, what was being read is forgotten.
    select(&mut core, 3, 1, 9);
    core.socket_message(510, &control(FrameKind::Stretch, &Stretch::BEGIN));
    core.socket_message(510, &data(1));
    core.page_message(520, ToWorker::Show(Show::default()));
    core.page_message(530, show(4, Extra::None));
    assert_eq!(live(&core), 1_000.0 * 10.0 * 1_048_576.0);
    core.socket_message(540, &data(1_001));
    assert_eq!(live(&core), 1_001.0 * 10.0 * 1_048_576.0);
}
