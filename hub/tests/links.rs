//! Share links: what their bearers see, and what they don't.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::bearer::{FRAMES, analysed, holds, listed, now_unix_ns, open, read, report, share};
use common::story::{self, NAMES, TICK_NS, at};
use common::{Client, Seen, call, call_json, session, start, start_with};
use heaptide_hub::{Asset, Assets};
use heaptide_policy::Policy;
use heaptide_protocol::control::{
    CaughtUp, Notice, PolicyPropose, Refuse, RefuseCode, SessionState, Subscribe,
};
use heaptide_protocol::report::ReportKind;
use heaptide_protocol::{Frame, FrameKind, SessionId};
use serde_json::{Value, json};

#[tokio::test]
async fn a_link_gives_no_name_away_live_or_frozen() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let id = session(1);
    let mut collector = open(&hub, id).await;
    story::send(&mut collector, id, 1, FRAMES, FRAMES).await;
    let says = json!({ "from_ns": at(3), "to_ns": at(5), "text": format!("{} was slow", NAMES[0]) });
    let (status, _) = call_json(
        hub.address,
        "POST",
        &format!("/api/v1/sessions/{id}/annotations"),
        &says,
    )
    .await;
    assert_eq!(status, 201);
    // The test looks at all that there is to find.
    let plain = json!({ "session": id.to_string(), "kind": "live", "redact": false, "view": format!("f={}", NAMES[3]) });
    for (frozen, from_ns) in [(false, 0), (true, 0), (false, at(5)), (true, at(5))] {
        for redact in [false, true] {
            let mut wish = plain.clone();
            wish["kind"] = (if frozen { "frozen" } else { "live" }).into();
            wish["from_ns"] = from_ns.into();
            wish["redact"] = redact.into();
            wish["hide"] = json!(["customer-*"]);
            let (_, secret) = share(&hub, wish).await;
            let mut bytes = Vec::new();
            for path in [format!("/api/v1/shared/{secret}"), format!("/s/{secret}")] {
                bytes.extend(call(hub.address, "GET", &path, "", b"").await.1);
            }
            let mut bearer = Client::bearer(hub.address, &secret).await;
            let summary = listed(&mut bearer).await;
            bytes.extend(format!("{summary:?}").into_bytes());
            let frames = read(&mut bearer, id, 0, &mut bytes).await;
            for kind in [ReportKind::Mappings, ReportKind::Drift, ReportKind::Goroutines] {
                let told = report(&mut bearer, id, kind, &mut bytes).await;
                let text = format!("{:?}", told.result.unwrap());
                bytes.extend(text.into_bytes());
            }
            let context = format!("frozen {frozen}, from {from_ns}, redacted {redact}");
            let found: Vec<_> = NAMES.into_iter().filter(|name| holds(&bytes, name)).collect();
            if redact {
                assert_eq!(found, [""; 0], "{context}");
                // The last two parts of a path stay, and what is Go's own.
                assert!(
                    holds(&bytes, "cart/grow0.go") && holds(&bytes, "go1.27.3"),
                    "{context}"
                );
                assert!(holds(&bytes, "/proc/PID/maps"), "{context}");
            } else {
                assert_eq!(
                    found,
                    NAMES
                        .into_iter()
                        .filter(|name| *name != NAMES[4])
                        .collect::<Vec<_>>(),
                    "{context}"
                );
            }
            // The figures are the same.
            let whole: Vec<_> = (1..=FRAMES).map(|seq| story::frame(id, seq, FRAMES)).collect();
            let (ours, theirs) = (analysed(&frames).headline(), analysed(&whole).headline());
            assert_eq!(
                (ours.live_samples, ours.rss),
                (theirs.live_samples, theirs.rss),
                "{context}"
            );
            drop(bearer);
        }
    }
    drop(collector);
    hub.stop().await;
}

#[tokio::test]
async fn a_live_link_follows_and_a_reader_who_comes_back_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let id = session(1);
    let mut collector = open(&hub, id).await;
    story::send(&mut collector, id, 1, 8, FRAMES).await;
    let (_, secret) = share(
        &hub,
        json!({ "session": id.to_string(), "kind": "live", "from_ns": at(5), "to_ns": at(15) }),
    )
    .await;
    let mut bearer = Client::bearer(hub.address, &secret).await;
    let summary = listed(&mut bearer).await;
    assert_eq!(
        (summary.state, summary.rate_write_granted),
        (SessionState::Live, false)
    );
    let first = read(&mut bearer, id, 0, &mut Vec::new()).await;
    let seqs = |frames: &[Vec<u8>]| -> Vec<_> {
        frames
            .iter()
            .map(|frame| Frame::parse(frame).unwrap().envelope.seq)
            .collect()
    };
    let all = seqs(&first);
    assert_eq!(all, (1..=all.len() as u64).collect::<Vec<_>>());
    // What comes is shown up to the end of the range and no further.
    let mut frames = first.clone();
    story::send(&mut collector, id, 9, FRAMES, FRAMES).await;
    let last_first_ns = |frames: &[Vec<u8>]| Frame::parse(frames.last().unwrap()).unwrap().envelope.first_ns;
    while last_first_ns(&frames) < at(14) {
        let Seen::Frame(envelope, _, frame) = bearer.next_but_lists().await else {
            panic!("the bearer's connection ended");
        };
        assert_eq!(envelope.kind, FrameKind::Data);
        frames.push(frame);
    }
    drop(bearer);
    // All of it, and from the middle, to the last byte.
    let mut bearer = Client::bearer(hub.address, &secret).await;
    let again = read(&mut bearer, id, 0, &mut Vec::new()).await;
    assert_eq!(again, frames);
    let rest = read(&mut bearer, id, 4, &mut Vec::new()).await;
    assert_eq!(rest, frames[4..]);
    for frame in &frames {
        let envelope = Frame::parse(frame).unwrap().envelope;
        assert!(
            (at(5) - TICK_NS..at(15)).contains(&envelope.first_ns),
            "{envelope:?}"
        );
    }
    // The session ends, and with it what is live about the link.
    collector.end("ended").await;
    while listed(&mut bearer).await.state != SessionState::Ended {}
    drop(bearer);
    hub.stop().await;
}

#[tokio::test]
async fn a_frozen_link_outlives_its_session() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let id = session(1);
    let mut collector = open(&hub, id).await;
    story::send(&mut collector, id, 1, FRAMES, FRAMES).await;
    collector.end("ended").await;
    let path = format!("/api/v1/sessions/{id}/annotations");
    for (seq, text) in [(6, "a leak"), (18, "later")] {
        let words = json!({ "from_ns": at(seq), "to_ns": at(seq), "text": text });
        call_json(hub.address, "POST", &path, &words).await;
    }
    let range = json!({ "session": id.to_string(), "kind": "frozen", "from_ns": at(5), "to_ns": at(10), "view": "v=1" });
    let (frozen, secret) = share(&hub, range.clone()).await;
    let mut wish = range;
    wish["kind"] = "live".into();
    let (_, live) = share(&hub, wish).await;
    let mut bearer = Client::bearer(hub.address, &secret).await;
    let before = read(&mut bearer, id, 0, &mut Vec::new()).await;
    drop(bearer);
    hub.stop().await;
    std::fs::remove_dir_all(folder.path().join("sessions").join(id.to_string())).unwrap();

    let hub = start(folder.path()).await;
    let mut bearer = Client::bearer(hub.address, &secret).await;
    let summary = listed(&mut bearer).await;
    assert_eq!((summary.state, summary.session), (SessionState::Ended, id));
    let after = read(&mut bearer, id, 0, &mut Vec::new()).await;
    assert!(!after.is_empty());
    assert_eq!(after, before);
    assert_eq!(read(&mut bearer, id, 3, &mut Vec::new()).await, after[3..]);
    let (status, shared) = call_json(
        hub.address,
        "GET",
        &format!("/api/v1/shared/{secret}"),
        &Value::Null,
    )
    .await;
    assert_eq!((status, &shared["view"]), (200, &json!("v=1")));
    assert_eq!(shared["annotations"].as_array().unwrap().len(), 1);
    assert_eq!(shared["annotations"][0]["text"], "a leak");
    // The live one has nothing to show.
    assert_eq!(
        Client::try_path(hub.address, &format!("/ws/link/{live}"))
            .await
            .err(),
        Some(404)
    );
    // The copy goes with the link.
    let copy = folder.path().join("links").join(format!("{frozen}.htl"));
    assert!(copy.exists());
    let (status, revoked) = call_json(
        hub.address,
        "DELETE",
        &format!("/api/v1/links/{frozen}?why=done"),
        &Value::Null,
    )
    .await;
    assert_eq!((status, &revoked["is_open"]), (200, &json!(false)));
    assert!(!copy.exists());
    drop(bearer);
    hub.stop().await;
}

#[tokio::test]
async fn links_that_have_ended_open_nothing_and_look_like_wrong_ones() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start_with(folder.path(), |config| config.assets = console()).await;
    let id = session(1);
    let mut collector = open(&hub, id).await;
    story::send(&mut collector, id, 1, 4, FRAMES).await;
    let wish = json!({ "session": id.to_string(), "kind": "live" });
    let (_, good) = share(&hub, wish.clone()).await;
    let (revoked_id, revoked) = share(&hub, wish.clone()).await;
    let mut expiring = wish;
    expiring["expires_unix_ns"] = (now_unix_ns() + 2_000_000_000).into();
    let (_, expired) = share(&hub, expiring).await;
    // Who has one open when it ends is told so.
    let mut with_revoked = Client::bearer(hub.address, &revoked).await;
    let mut with_expired = Client::bearer(hub.address, &expired).await;
    let (status, _) = call_json(
        hub.address,
        "DELETE",
        &format!("/api/v1/links/{revoked_id}"),
        &Value::Null,
    )
    .await;
    assert_eq!(status, 200);
    for bearer in [&mut with_revoked, &mut with_expired] {
        let refuse: Refuse = bearer.expect(FrameKind::Refuse).await;
        assert_eq!(refuse.code, RefuseCode::Forbidden);
    }
    let guess = {
        let mut guess = good.clone().into_bytes();
        guess[3] = if guess[3] == b'A' { b'B' } else { b'A' };
        String::from_utf8(guess).unwrap()
    };
    let mut answers = Vec::new();
    let other_id = "not-a-link";
    for secret in [
        &revoked,
        &expired,
        &guess,
        &revoked_id,
        other_id,
        &good[..21],
        &format!("{good}A"),
    ] {
        let page = call(hub.address, "GET", &format!("/s/{secret}"), "", b"").await;
        // The id of a link has the form of a session's, so its page is that of any session: the console's own.
        let tab = call(hub.address, "GET", &format!("/s/{secret}/flame"), "", b"").await;
        let shared = call(hub.address, "GET", &format!("/api/v1/shared/{secret}"), "", b"").await;
        let socket = Client::try_path(hub.address, &format!("/ws/link/{secret}"))
            .await
            .err();
        assert_eq!((shared.0, socket), (404, Some(404)), "{secret}");
        if *secret != revoked_id {
            assert_eq!((page.0, tab.0), (404, 404), "{secret}");
            answers.push((page, tab, shared));
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(hub.counter("links_not_found").await > 20);
    let (status, body) = call(hub.address, "GET", &format!("/s/{good}/flame"), "", b"").await;
    assert_eq!((status, body.as_slice()), (200, &b"console"[..]));
    drop((collector, with_revoked, with_expired));
    hub.stop().await;
    // The same after a restart.
    let hub = start(folder.path()).await;
    for (secret, expected) in [(&good, None), (&revoked, Some(404)), (&expired, Some(404))] {
        let socket = Client::try_path(hub.address, &format!("/ws/link/{secret}"))
            .await
            .err();
        assert_eq!(socket, expected, "{secret}");
    }
    hub.stop().await;
    // Nowhere on disk is a secret.
    for file in [folder.path().join("catalog.redb")] {
        let bytes = std::fs::read(file).unwrap();
        assert!(holds(&bytes, &revoked_id), "the test looks at the right file");
        for secret in [&good, &revoked, &expired] {
            assert!(!holds(&bytes, secret));
        }
    }
}

fn console() -> Assets {
    // One stored meta-block of brotli, as in the tests of files.
    let text = b"console";
    let head = (u32::try_from(text.len()).unwrap() - 1) << 4 | 1 << 20;
    let mut brotli = head.to_le_bytes()[..3].to_vec();
    brotli.extend_from_slice(text);
    brotli.push(3);
    let index = Asset {
        brotli: brotli.into(),
        content_type: "text/html".to_owned(),
        etag: "tag".to_owned(),
        immutable: false,
    };
    Assets::new([("index.html".to_owned(), index)])
}

#[tokio::test]
async fn a_link_opens_one_session_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let (id, other) = (session(1), session(2));
    let mut collector = open(&hub, id).await;
    let mut neighbour = open(&hub, other).await;
    story::send(&mut collector, id, 1, FRAMES, FRAMES).await;
    story::send(&mut neighbour, other, 1, 4, FRAMES).await;
    let (_, secret) = share(
        &hub,
        json!({ "session": id.to_string(), "kind": "frozen", "to_ns": at(6) }),
    )
    .await;
    let mut bearer = Client::bearer(hub.address, &secret).await;
    assert_eq!(listed(&mut bearer).await.last_ns, at(6));
    let unknown = session(9);
    let told = |id: SessionId| format!("the hub has no session {id}");
    for id in [other, unknown] {
        bearer
            .control(FrameKind::Subscribe, id, &Subscribe { after_seq: 0 })
            .await;
        let notice: Notice = bearer.expect(FrameKind::Notice).await;
        assert_eq!(notice.message, told(id));
        let propose = PolicyPropose {
            policy: Policy::default(),
        };
        bearer.control(FrameKind::PolicyPropose, id, &propose).await;
        let notice: Notice = bearer.expect(FrameKind::Notice).await;
        assert_eq!(notice.message, told(id));
    }
    let propose = PolicyPropose {
        policy: Policy::default(),
    };
    bearer.control(FrameKind::PolicyPropose, id, &propose).await;
    let notice: Notice = bearer.expect(FrameKind::Notice).await;
    assert!(notice.message.contains("changes nothing"), "{notice:?}");
    // A range beyond the link's is not there, in frames or in reports.
    let frames = read(&mut bearer, id, 0, &mut Vec::new()).await;
    assert_eq!(frames.len(), 5);
    bearer.subscribe(id, 5).await;
    let told: CaughtUp = bearer.expect(FrameKind::CaughtUp).await;
    assert_eq!(told.last_seq, 5);
    let told = report(&mut bearer, id, ReportKind::Mappings, &mut Vec::new()).await;
    assert_eq!((told.number, told.last_seq), (7, 5));
    drop(bearer);
    let mut bearer = Client::bearer(hub.address, &secret).await;
    bearer.control(FrameKind::Open, id, &story::open()).await;
    bearer.expect_refusal(RefuseCode::Malformed).await;
    // What a person of the hub sees of it.
    let (_, list) = call_json(
        hub.address,
        "GET",
        &format!("/api/v1/links?session={id}"),
        &Value::Null,
    )
    .await;
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert!(
        !list.to_string().contains(&secret) && !list.to_string().contains("hash"),
        "{list}"
    );
    let public = list[0]["id"].as_str().unwrap();
    let (_, seen) = call_json(
        hub.address,
        "GET",
        &format!("/api/v1/links/{public}/openings"),
        &Value::Null,
    )
    .await;
    assert_eq!(seen["visitors"].as_array().unwrap().len(), 1, "{seen}");
    assert_eq!(
        (&seen["visitors"][0]["network"], &seen["visitors"][0]["agent"]),
        (&json!("127.0.0.0/24"), &json!("test browser"))
    );
    let (status, _) = call_json(
        hub.address,
        "GET",
        &format!("/api/v1/links/{other}/openings"),
        &Value::Null,
    )
    .await;
    assert_eq!(status, 404);
    let (_, audit) = call_json(hub.address, "GET", "/api/v1/audit", &Value::Null).await;
    assert_eq!(
        (&audit[0]["what"], &audit[0]["who"]),
        (&json!("link created"), &json!("local"))
    );
    assert!(!audit.to_string().contains(&secret));
    drop((bearer, collector, neighbour));
    hub.stop().await;
}

#[tokio::test]
async fn links_are_bounded_and_what_ended_is_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    let bounded = |config: &mut heaptide_hub::HubConfig| {
        config.limits.links = 2;
        config.limits.frozen_bytes = 2_000;
        config.limits.all_frozen_bytes = 500;
    };
    let hub = start_with(folder.path(), bounded).await;
    let id = session(1);
    let mut collector = open(&hub, id).await;
    story::send(&mut collector, id, 1, FRAMES, FRAMES).await;
    drop(collector);
    let wish = |more: Value| {
        let mut wish = json!({ "session": id.to_string(), "kind": "live" });
        wish.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        wish
    };
    let refused = [
        (json!({}), 400),
        (json!({ "session": session(9).to_string(), "kind": "live" }), 404),
        (wish(json!({ "from_ns": 5, "to_ns": 5 })), 400),
        (wish(json!({ "kind": "frozen", "from_ns": at(FRAMES) * 2 })), 400),
        (wish(json!({ "kind": "frozen", "from_ns": 1, "to_ns": 2 })), 400),
        (wish(json!({ "expires_unix_ns": 1 })), 400),
        (wish(json!({ "hide": ["*"] })), 400),
        (wish(json!({ "colour": "red" })), 400),
        (wish(json!({ "kind": "frozen" })), 413),
    ];
    for (wish, expected) in refused {
        let (status, answer) = call_json(hub.address, "POST", "/api/v1/links", &wish).await;
        assert_eq!(status, expected, "{wish}: {answer}");
    }
    let links = folder.path().join("links");
    let copies = || std::fs::read_dir(&links).map_or(0, Iterator::count);
    assert_eq!(copies(), 0, "what came to nothing left nothing");
    let soon = now_unix_ns() + 1_000_000_000;
    let (frozen, _) = share(
        &hub,
        wish(json!({ "kind": "frozen", "to_ns": at(5), "expires_unix_ns": soon })),
    )
    .await;
    let (status, _) = call_json(
        hub.address,
        "POST",
        "/api/v1/links",
        &wish(json!({ "kind": "frozen", "to_ns": at(4) })),
    )
    .await;
    assert_eq!(status, 409, "no more bytes of copies");
    share(&hub, wish(json!({}))).await;
    let (status, _) = call_json(hub.address, "POST", "/api/v1/links", &wish(json!({}))).await;
    assert_eq!(status, 409, "no more links");
    assert_eq!(copies(), 1);
    hub.stop().await;
    std::fs::write(links.join("left.tmp"), b"by a hub that was killed").unwrap();
    while now_unix_ns() < soon {
        tokio::task::yield_now().await;
    }
    let hub = start_with(folder.path(), bounded).await;
    common::patient(async {
        while copies() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (_, list) = call_json(hub.address, "GET", "/api/v1/links", &Value::Null).await;
    let ended = list
        .as_array()
        .unwrap()
        .iter()
        .find(|link| link["id"] == json!(frozen))
        .unwrap();
    assert_eq!(ended["is_open"], json!(false));
    hub.stop().await;
}

#[tokio::test]
async fn guessing_locks_an_address_out_and_a_link_that_has_ended_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let id = session(1);
    let mut collector = open(&hub, id).await;
    story::send(&mut collector, id, 1, 4, FRAMES).await;
    let wish = json!({ "session": id.to_string(), "kind": "live" });
    let (_, good) = share(&hub, wish.clone()).await;
    let (ended, revoked) = share(&hub, wish).await;
    call_json(
        hub.address,
        "DELETE",
        &format!("/api/v1/links/{ended}"),
        &Value::Null,
    )
    .await;
    // From here on the hub asks for a token, and its links are open to whoever has one.
    common::make_token(hub.address, "", "admin", "admin").await;
    let ask = async |secret: &str| {
        let path = format!("/api/v1/shared/{secret}");
        call(hub.address, "GET", &path, "", b"").await.0
    };
    assert_eq!(call(hub.address, "GET", "/api/v1/links", "", b"").await.0, 401);
    assert_eq!(
        call(
            hub.address,
            "GET",
            &format!("/api/v1/sessions/{id}/export"),
            "",
            b""
        )
        .await
        .0,
        401
    );
    assert_eq!(ask(&good).await, 200);
    let mut bearer = Client::bearer(hub.address, &good).await;
    assert_eq!(listed(&mut bearer).await.session, id);
    for _ in 0..20 {
        assert_eq!(ask(&revoked).await, 404);
    }
    let mut answers = Vec::new();
    for number in 0..10 {
        answers.push(ask(&format!("guess-{number}")).await);
    }
    assert_eq!((answers[0], answers[9]), (404, 429), "{answers:?}");
    // Neither does the right one help then.
    assert_eq!(ask(&good).await, 429);
    drop((bearer, collector));
    hub.stop().await;
}
