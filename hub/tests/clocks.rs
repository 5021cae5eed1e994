//! Two collectors whose clocks have nothing in common, and a hub that says what overlapped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::{Client, Running, open, session, signature, start};
use heaptide_policy::{Labels, Policy};
use heaptide_protocol::control::{Ack, ClockPing, ClockPong, ClockReading};
use heaptide_protocol::events::{EventBatch, EventBody, EventKind, OtherRow};
use heaptide_protocol::frame::{encode, encode_control};
use heaptide_protocol::section::{Section, SectionWriter, SessionStart};
use heaptide_protocol::{Envelope, FrameKind, SessionId, SymbolGen};
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

const SECOND_NS: u64 = 1_000_000_000;
const TENTH_NS: u64 = SECOND_NS / 10;
/// What every reading is made worse by, so that a verdict depends on distances that the test chooses, and not on how
/// long a ping takes here.
const EXTRA_ERROR_NS: u64 = 5 * TENTH_NS;

fn unix_ns() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

/// A collector on a machine of its own, whose clock began at `began_unix_ns` of the hub's.
struct Machine {
    socket: Client,
    session: SessionId,
    began_unix_ns: u64,
    epoch: u64,
    next_seq: u64,
}

impl Machine {
    async fn new(hub: &Running, number: u8, boot_id: &str, began_unix_ns: u64) -> Self {
        let mut socket = hub.collector().await;
        let mut opening = open(1);
        boot_id.clone_into(&mut opening.signature.boot_id);
        socket.control(FrameKind::Open, session(number), &opening).await;
        let _: Ack = socket.expect(FrameKind::Ack).await;
        Self {
            socket,
            session: session(number),
            began_unix_ns,
            epoch: 0,
            next_seq: 1,
        }
    }

    fn at(&self, unix_ns: u64) -> u64 {
        unix_ns - self.began_unix_ns
    }

    /// Asks the hub for its clock, as a collector does, and tells what follows.
    async fn tell_clock(&mut self) -> ClockReading {
        let ping = ClockPing {
            t1_ns: self.at(unix_ns()),
        };
        self.socket
            .control(FrameKind::ClockPing, SessionId::default(), &ping)
            .await;
        let pong: ClockPong = self.socket.expect(FrameKind::ClockPong).await;
        let at_ns = self.at(unix_ns());
        let low = pong.t3_unix_ns - at_ns;
        let high = pong.t2_unix_ns - ping.t1_ns;
        assert!(
            (low..=high).contains(&self.began_unix_ns),
            "{low} to {high}, truth {}",
            self.began_unix_ns
        );
        let reading = ClockReading {
            epoch: self.epoch,
            at_ns,
            offset_ns: i64::try_from(low + (high - low) / 2).unwrap(),
            error_ns: (high - low).div_ceil(2) + EXTRA_ERROR_NS,
            suspended_ns: 0,
        };
        self.tell(&reading).await;
        reading
    }

    /// The hub has taken it when this returns: frames are taken in order.
    async fn tell(&mut self, reading: &ClockReading) {
        self.socket.control(FrameKind::Clock, self.session, reading).await;
        let ping = ClockPing { t1_ns: 1 };
        self.socket
            .control(FrameKind::ClockPing, SessionId::default(), &ping)
            .await;
        let _: ClockPong = self.socket.expect(FrameKind::ClockPong).await;
    }

    /// A frame in which the world was stopped for these times of the hub's clock.
    async fn pauses(&mut self, pauses: &[(u64, u64)]) {
        let mut batch = EventBatch::new(self.next_seq * 100, 0, SymbolGen(0), 524_288, false);
        for (from_unix_ns, to_unix_ns) in pauses {
            for (at, kind) in [
                (*from_unix_ns, EventKind::StopTheWorldBegin),
                (*to_unix_ns, EventKind::StopTheWorldEnd),
            ] {
                batch.push(self.at(at), 1, kind, EventBody::Other(OtherRow::default()));
            }
        }
        let mut writer = SectionWriter::default();
        if self.next_seq == 1 {
            let start = SessionStart {
                signature: signature(),
                labels: Labels::default(),
                capabilities: Vec::new(),
                policy: Policy::default(),
            };
            writer.push(&Section::Start(start)).unwrap();
        }
        writer.push(&Section::Events(batch)).unwrap();
        let seq = self.next_seq;
        let envelope = Envelope::data(self.session, seq, seq * 100, seq * 100 + 99);
        self.socket.send(encode(envelope, &writer.take()).unwrap()).await;
        self.socket.acked(seq).await;
        self.next_seq += 1;
    }
}

async fn get(hub: &Running, path: &str) -> Value {
    let (status, body) = hub.json("GET", path, None).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn clock_of(hub: &Running, session: SessionId) -> Value {
    let all = get(hub, "/api/v1/sessions").await;
    let all = all.as_array().unwrap();
    let found = all.iter().find(|one| one["session"] == session.to_string());
    found.unwrap()["clock"].clone()
}

/// Verdict, and where the pauses of both lie from `origin` on the hub's clock, in tenths of a second.
fn rows(answer: &Value, a: &Machine, b: &Machine, origin_unix_ns: u64) -> Vec<(String, u64, u64)> {
    let from = |row: &Value, name: &str, machine: &Machine| {
        let session_ns = row[name]["from_ns"].as_u64().unwrap();
        (session_ns + machine.began_unix_ns - origin_unix_ns) / TENTH_NS
    };
    let mut rows: Vec<_> = answer["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let verdict = row["verdict"].as_str().unwrap().to_owned();
            (verdict, from(row, "a", a), from(row, "b", b))
        })
        .collect();
    rows.sort();
    rows
}

#[tokio::test]
async fn pauses_of_two_machines_overlap_definitely_possibly_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let now = unix_ns();
    let mut a = Machine::new(&hub, 1, "boot-a", now - 100 * SECOND_NS).await;
    let mut b = Machine::new(&hub, 2, "boot-b", now - 90_000 * SECOND_NS).await;
    let path = format!("/api/v1/overlaps?a={}&b={}", a.session, b.session);
    let (status, body) = hub.json("GET", &path, None).await;
    assert_eq!(status, 409, "nothing is known yet: {body}");
    a.tell_clock().await;
    b.tell_clock().await;
    let at = |tenths: u64| now + tenths * TENTH_NS;
    a.pauses(&[
        (at(0), at(100)),
        (at(200), at(300)),
        (at(400), at(500)),
        (at(600), at(601)),
    ])
    .await;
    b.pauses(&[
        // For 5 s with the first.
        (at(50), at(150)),
        // 0.1 s behind the second: less than the errors of 1 s.
        (at(301), at(320)),
        // 5 s behind the third: more than that.
        (at(550), at(560)),
        // Around the last by 2 s on either side.
        (at(580), at(621)),
    ])
    .await;
    let answer = get(&hub, &path).await;
    let expected = [
        ("definite", 0, 50),
        ("definite", 600, 580),
        ("possible", 200, 301),
    ];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(verdict, a, b)| (verdict.to_owned(), a, b))
        .collect();
    assert_eq!(rows(&answer, &a, &b, now), expected, "{answer}");
    assert_eq!((&answer["definite"], &answer["possible"]), (&2.into(), &1.into()));
    assert_eq!(answer["is_same_clock"], false);
    let first = &answer["rows"][0];
    let (least, most) = (
        first["least_ns"].as_u64().unwrap(),
        first["most_ns"].as_u64().unwrap(),
    );
    let error = first["error_ns"].as_u64().unwrap();
    // Of both clocks, which make the error of the verdict together.
    let [of_a, of_b] = ["a", "b"].map(|side| first[side]["error_ns"].as_u64().unwrap());
    assert!(
        of_a >= EXTRA_ERROR_NS && of_b >= EXTRA_ERROR_NS && of_a + of_b == error,
        "{first}"
    );
    assert_eq!(first["a"]["lasted_ns"], 100 * TENTH_NS, "{first}");
    assert!((2 * EXTRA_ERROR_NS..2 * SECOND_NS).contains(&error), "{first}");
    assert!(
        least <= 50 * TENTH_NS && 50 * TENTH_NS <= most && most - least <= 2 * error,
        "{first}"
    );
    // Asked about one of them alone, and for pauses of a window.
    let (a_from, a_to) = (a.at(at(400)), a.at(at(500)));
    let (b_from, b_to) = (b.at(at(550)), b.at(at(560)));
    let spans = format!(
        "/api/v1/overlaps/spans?a={}&a_from_ns={a_from}&a_to_ns={a_to}&b={}&b_from_ns={b_from}&b_to_ns={b_to}",
        a.session, b.session
    );
    assert_eq!(get(&hub, &spans).await["verdict"], "none");
    let part = get(&hub, &format!("{path}&from_ns={}&limit=1", a.at(at(190)))).await;
    assert_eq!(
        (&part["a_count"], &part["rows_left_out"]),
        (&3.into(), &1.into()),
        "{part}"
    );
    let (status, _) = hub.json("GET", &format!("{path}&what=naps"), None).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn two_programs_of_one_machine_need_no_reading_and_have_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let now = unix_ns();
    let mut a = Machine::new(&hub, 1, "boot", now - SECOND_NS).await;
    let mut b = Machine::new(&hub, 2, "boot", now - SECOND_NS).await;
    a.pauses(&[(now, now + 10)]).await;
    b.pauses(&[(now + 9, now + 20), (now + 30, now + 40)]).await;
    let path = format!("/api/v1/overlaps?a={}&b={}", a.session, b.session);
    let answer = get(&hub, &path).await;
    assert_eq!((&answer["definite"], &answer["possible"]), (&1.into(), &0.into()));
    let row = &answer["rows"][0];
    assert_eq!(
        (&row["least_ns"], &row["most_ns"], &row["error_ns"]),
        (&1.into(), &1.into(), &0.into())
    );
}

#[tokio::test]
async fn a_clock_that_steps_begins_an_epoch_and_verdicts_hold_before_and_after_it_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let now = unix_ns();
    let mut a = Machine::new(&hub, 1, "boot-a", now - 100 * SECOND_NS).await;
    let mut b = Machine::new(&hub, 2, "boot-b", now - 900 * SECOND_NS).await;
    b.tell_clock().await;
    a.tell_clock().await;
    // Before its first reading, where only the first epoch holds.
    let before = now - 50 * SECOND_NS;
    a.pauses(&[(before, before + 100 * TENTH_NS)]).await;
    a.began_unix_ns -= 10 * SECOND_NS;
    a.epoch = 1;
    let told = a.tell_clock().await;
    let after = unix_ns() + SECOND_NS;
    a.pauses(&[(after, after + 100 * TENTH_NS)]).await;
    let half = 50 * TENTH_NS;
    b.pauses(&[
        (before + half, before + 3 * half),
        (after + half, after + 3 * half),
        // Where the second would lie by the offset of before.
        (after - 10 * SECOND_NS, after - 10 * SECOND_NS + half),
    ])
    .await;
    let path = format!("/api/v1/overlaps?a={}&b={}", a.session, b.session);
    let answer = get(&hub, &path).await;
    assert_eq!(
        (&answer["definite"], &answer["possible"]),
        (&2.into(), &0.into()),
        "{answer}"
    );
    let clock = clock_of(&hub, a.session).await;
    assert_eq!(clock["newest"]["epoch"], 1);
    assert_eq!(clock["newest"]["offset_ns"], told.offset_ns);
    assert_eq!((&clock["readings"], &clock["refused"]), (&2.into(), &0.into()));
    let words = clock["words"].as_str().unwrap();
    // The host of these sessions says that it began in 1970.
    assert!(words.starts_with('-') && words.contains(" s ± "), "{words}");
    let (of_a, of_b) = (a.session, b.session);
    drop((a, b));
    hub.stop().await;
    let hub = start(folder.path()).await;
    assert_eq!(clock_of(&hub, of_a).await, clock);
    assert_eq!(clock_of(&hub, of_b).await["readings"], 1);
    assert_eq!(get(&hub, &path).await, answer);
}

#[tokio::test]
async fn a_lie_about_a_clock_is_counted_and_costs_neither_the_session_nor_what_was_known() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let mut a = Machine::new(&hub, 1, "boot-a", unix_ns() - 100 * SECOND_NS).await;
    let told = a.tell_clock().await;
    let lies = [
        ClockReading {
            error_ns: u64::MAX,
            ..told
        },
        ClockReading {
            offset_ns: i64::MIN,
            ..told
        },
        ClockReading {
            at_ns: u64::MAX,
            offset_ns: i64::MAX,
            ..told
        },
        ClockReading {
            at_ns: told.at_ns - 1,
            ..told
        },
    ];
    for lie in &lies {
        a.tell(lie).await;
    }
    a.pauses(&[]).await;
    let clock = clock_of(&hub, a.session).await;
    assert_eq!(clock["newest"], serde_json::to_value(told).unwrap());
    assert_eq!(clock["refused"], lies.len());
    assert_eq!(hub.counter("clocks_refused").await, lies.len() as u64);
    assert_eq!(hub.counter("frames_durable").await, 1);
}

#[tokio::test]
async fn a_kind_of_frame_from_a_later_time_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let mut a = Machine::new(&hub, 1, "boot-a", unix_ns() - SECOND_NS).await;
    let mut later = encode_control(FrameKind::Clock, a.session, &7_u64).unwrap();
    later[8] = 99;
    let checksum = crc32fast::hash(&later[8..]);
    later[4..8].copy_from_slice(&checksum.to_le_bytes());
    a.socket.send(later).await;
    a.pauses(&[]).await;
    assert_eq!(hub.counter("frames_unknown").await, 1);
}
