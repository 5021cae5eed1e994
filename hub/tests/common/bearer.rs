//! Whoever has a share link: makes one, opens it, reads what it shows.

use super::story;
use super::{Client, Running, Seen, call_json};
use heaptide_protocol::control::{Ack, SessionSummary, Sessions};
use heaptide_protocol::report::{ReportAsk, ReportKind, ReportQuery, ReportTold, Window};
use heaptide_protocol::{Frame, FrameKind, SessionId};
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

pub const FRAMES: u64 = 20;

pub async fn open(hub: &Running, id: SessionId) -> Client {
    let mut collector = hub.collector().await;
    collector.control(FrameKind::Open, id, &story::open()).await;
    let _: Ack = collector.expect(FrameKind::Ack).await;
    collector
}

/// The public id and the secret.
pub async fn share(hub: &Running, wish: Value) -> (String, String) {
    let (status, made) = call_json(hub.address, "POST", "/api/v1/links", &wish).await;
    assert_eq!(status, 201, "{made}");
    let path = made["path"].as_str().unwrap();
    (
        made["link"]["id"].as_str().unwrap().to_owned(),
        path.strip_prefix("/s/").unwrap().to_owned(),
    )
}

pub fn now_unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}

pub async fn listed(bearer: &mut Client) -> SessionSummary {
    let list: Sessions = bearer.expect(FrameKind::Sessions).await;
    let [only] = <[SessionSummary; 1]>::try_from(list.sessions).unwrap();
    only
}

/// The data frames up to the word that there are no more for now, and all bytes of these, also unpacked.
pub async fn read(bearer: &mut Client, id: SessionId, after_seq: u64, bytes: &mut Vec<u8>) -> Vec<Vec<u8>> {
    bearer.subscribe(id, after_seq).await;
    let mut frames = Vec::new();
    loop {
        let Seen::Frame(envelope, _, frame) = bearer.next().await else {
            panic!("the bearer's connection ended");
        };
        unpack(&frame, bytes);
        match envelope.kind {
            FrameKind::Data => frames.push(frame),
            FrameKind::CaughtUp => return frames,
            FrameKind::Sessions => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

pub fn unpack(frame: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(frame);
    let mut scratch = Vec::new();
    bytes.extend_from_slice(Frame::parse(frame).unwrap().raw(&mut scratch).unwrap());
}

pub fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

pub fn analysed(frames: &[Vec<u8>]) -> heaptide_analysis::Session {
    let mut session = heaptide_analysis::Session::new();
    for frame in frames {
        session.apply(&Frame::parse(frame).unwrap()).unwrap();
    }
    session
}

pub async fn report(bearer: &mut Client, id: SessionId, kind: ReportKind, bytes: &mut Vec<u8>) -> ReportTold {
    let query = ReportQuery {
        kind,
        window: Window {
            from_ns: 0,
            to_ns: u64::MAX,
        },
        filter: String::new(),
        limit: 100,
    };
    bearer
        .control(FrameKind::ReportAsk, id, &ReportAsk { number: 7, query })
        .await;
    let Seen::Frame(envelope, _, frame) = bearer.next_but_lists().await else {
        panic!("the bearer's connection ended");
    };
    assert_eq!(envelope.kind, FrameKind::ReportTold);
    unpack(&frame, bytes);
    Frame::parse(&frame).unwrap().control("ReportTold").unwrap()
}
