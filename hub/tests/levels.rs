//! Closed stretches of a session as rows per tick: what the files hold, what a range answers, and that DuckDB reads
//! them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::ticks::{SITES, TICK_NS, frame};
use common::{Running, session, start_with};
use heaptide_hub::HubConfig;
use heaptide_protocol::SessionId;
use heaptide_protocol::gauges::Gauge;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

const FRAMES: u64 = 60;

/// Segments of about ten frames, and levels at once.
fn small(config: &mut HubConfig) {
    config.limits.segment_bytes = 10 * frame(session(1), 9).len() as u64;
    config.limits.newest_bytes = 1;
    config.limits.level_interval = Duration::from_millis(5);
}

async fn fill(hub: &Running, id: SessionId, seqs: std::ops::RangeInclusive<u64>, ends: bool) {
    let mut collector = hub.collector().await;
    collector.open(id, *seqs.start()).await;
    for seq in seqs {
        collector.send(frame(id, seq)).await;
        collector.acked(seq).await;
    }
    if ends {
        collector.end("ended").await;
    }
}

async fn until_parts(hub: &Running, at_least: u64) {
    let reached = async {
        while hub.counter("level_parts").await < at_least {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    common::patient(reached).await;
}

async fn range(hub: &Running, id: SessionId, query: &str) -> serde_json::Value {
    let answer = hub.get(&format!("/api/v1/sessions/{id}/range?{query}")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// What the points must say, by the rule that the frames follow; `to_tick` is not included.
fn check_points(range: &serde_json::Value, from_tick: u64, to_tick: u64, what: &str) {
    let step_ticks = range["step_ns"].as_u64().unwrap() / TICK_NS;
    let points = range["points"].as_array().unwrap();
    assert_eq!(
        points.len() as u64,
        (to_tick - from_tick).div_ceil(step_ticks),
        "{what}"
    );
    for (point, nth) in points.iter().zip(0_u64..) {
        let first = from_tick + nth * step_ticks;
        assert_eq!(point["start_ns"].as_u64().unwrap(), first * TICK_NS, "{what}");
        let filled = (first..(first + step_ticks).min(to_tick)).filter(|tick| (1..=FRAMES).contains(tick));
        let allocated = filled.clone().count() as f64 * 6000.0;
        let freed = filled.clone().filter(|tick| *tick > 5).count() as f64 * 6000.0;
        assert_eq!(
            point["allocated"]["bytes"].as_f64().unwrap(),
            allocated,
            "{what}, point {nth}"
        );
        assert_eq!(
            point["freed"]["bytes"].as_f64().unwrap(),
            freed,
            "{what}, point {nth}"
        );
        let last = (first + step_ticks).min(to_tick) - 1;
        let live = last.min(5) as f64 * 6000.0;
        assert_eq!(
            point["live"]["bytes"].as_f64().unwrap(),
            live,
            "{what}, point {nth}"
        );
    }
}

#[tokio::test]
async fn ranges_are_right_at_every_level_sealed_or_not_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let id = session(1);
    let hub = start_with(folder.path(), small).await;
    fill(&hub, id, 1..=FRAMES, false).await;
    until_parts(&hub, 3).await;
    let of_what_is_written = async {
        while hub.counter("newest_level_parts").await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    common::patient(of_what_is_written).await;
    let ask = |from: u64, to: u64, points: u64| {
        format!(
            "from_ns={}&to_ns={}&points={points}",
            from * TICK_NS,
            to * TICK_NS
        )
    };
    // Ticks from, to and points; what level.
    let cases = [
        (0, 61, 61, "100ms"),
        (0, 61, 30, "100ms"),
        (0, 60, 6, "1s"),
        (20, 61, 41, "100ms"),
        (23, 29, 6, "100ms"),
        (55, 61, 6, "100ms"),
        (0, 61, 1, "1s"),
    ];
    for (from, to, points, level) in cases {
        let what = format!("{from}..{to} in {points}");
        let told = range(&hub, id, &ask(from, to, points)).await;
        assert_eq!(told["level"], level, "{what}");
        check_points(&told, from, to, &what);
    }
    let told = range(&hub, id, &ask(0, 61, 61)).await;
    let sites = told["sites"].as_array().unwrap();
    assert_eq!(sites.len() as u32, SITES);
    assert_eq!(sites[0]["function"], "main.site2");
    assert_eq!(sites[0]["stack"], "main.main;main.site2");
    assert_eq!(sites[0]["heap_tag"], "go.heap");
    assert_eq!(sites[0]["stack_trace_hash"], format!("{:016x}", u64::MAX - 2));
    assert_eq!(
        sites[0]["allocated"]["bytes"].as_f64().unwrap(),
        FRAMES as f64 * 3000.0
    );
    assert_eq!(sites[0]["live"]["bytes"].as_f64().unwrap(), 5.0 * 3000.0);
    let rss = &told["gauges"][0];
    assert_eq!(rss["gauge"], Gauge::RSS_BYTES.0);
    assert_eq!(rss["values"].as_array().unwrap().len() as u64, FRAMES);
    let coarse = range(&hub, id, &ask(0, 60, 6)).await;
    let second = &coarse["gauges"][0]["values"][1];
    assert_eq!(
        (second["min"].as_u64(), second["max"].as_u64()),
        (Some(10 << 20), Some(19 << 20))
    );
    hub.stop().await;

    // The next hub knows what has levels, and makes those of the rest when the session is over.
    let hub = start_with(folder.path(), small).await;
    check_points(&range(&hub, id, &ask(0, 61, 61)).await, 0, 61, "restarted");
    let parts_before = hub.counter("level_parts").await;
    fill(&hub, id, std::ops::RangeInclusive::new(FRAMES + 1, FRAMES), true).await;
    until_parts(&hub, parts_before + 1).await;
    check_points(&range(&hub, id, &ask(0, 61, 61)).await, 0, 61, "over");
    assert_eq!(hub.counter("levels_failed").await, 0, "{}", hub.logged());
    hub.stop().await;
}

#[tokio::test]
async fn wrong_questions_are_answered_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let id = session(1);
    let hub = start_with(folder.path(), small).await;
    fill(&hub, id, 1..=2, false).await;
    for (query, sentence) in [
        ("from_ns=5&to_ns=5", "expected from_ns below to_ns"),
        ("from_ns=0", "to_ns"),
        ("from_ns=0&to_ns=9&points=0", "expected 1 to 2000 points"),
        ("from_ns=0&to_ns=9&points=2001", "expected 1 to 2000 points"),
        ("from_ns=0&to_ns=9&gauges=1,x", "got 'x'"),
        ("from_ns=0&to_ns=9&gauges=1,2,3,4,5,6,7,8,9", "at most 8 gauges"),
        ("from_ns=0&to_ns=9&colour=red", "colour"),
    ] {
        let answer = hub.get(&format!("/api/v1/sessions/{id}/range?{query}")).await;
        assert!(
            answer.starts_with("HTTP/1.1 400") && answer.contains(sentence),
            "{query}: {answer}"
        );
    }
    let unknown = hub
        .get(&format!(
            "/api/v1/sessions/{}/range?from_ns=0&to_ns=9",
            session(9)
        ))
        .await;
    assert!(unknown.starts_with("HTTP/1.1 404"), "{unknown}");
    // Any range of any length is answered, also one that nothing lies in.
    for query in [
        "from_ns=0&to_ns=18446744073709551615",
        "from_ns=9000000000000000000&to_ns=9000000000000000009",
    ] {
        range(&hub, id, query).await;
    }
    let postcard = common::raw(
        hub.address,
        &format!(
            "GET /api/v1/sessions/{id}/range?from_ns=0&to_ns=900000000&points=9 HTTP/1.1\r\nHost: {}\r\n\
             Connection: close\r\nAccept: application/x-postcard\r\n\r\n",
            hub.address
        ),
    )
    .await;
    let head = String::from_utf8_lossy(&postcard).to_lowercase();
    assert!(head.contains("content-type: application/x-postcard"), "{head}");
    let at = postcard.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    // The level's name, by its length.
    assert_eq!(&postcard[at..at + 6], b"\x05100ms");
    hub.stop().await;
}

#[tokio::test]
async fn levels_go_with_their_frames() {
    let folder = tempfile::tempdir().unwrap();
    let id = session(1);
    let hub = start_with(folder.path(), small).await;
    fill(&hub, id, 1..=FRAMES, false).await;
    until_parts(&hub, 3).await;
    hub.stop().await;
    let levels = folder.path().join("sessions").join(id.to_string()).join("levels");
    let first = levels.join("sites-1s-00000000000000000001.parquet");
    assert!(first.exists());
    let hub = start_with(folder.path(), |config| {
        small(config);
        config.limits.retention_interval = Duration::from_millis(5);
        config.retention.max_session_bytes = Some(1);
    })
    .await;
    let gone = async {
        while first.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    common::patient(gone).await;
    let told = range(
        &hub,
        id,
        &format!("from_ns={}&to_ns={}&points=1", 60 * TICK_NS, 61 * TICK_NS),
    )
    .await;
    assert_eq!(told["points"][0]["live"]["bytes"].as_f64().unwrap(), 30_000.0);
    hub.stop().await;
}

/// Says that a test could not do its work here, or fails if everything is required.
fn skip(test: &str, why: &str) {
    let required = std::env::var_os("HEAPTIDE_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!required, "HEAPTIDE_REQUIRE_ALL=1, yet {test} can't run: {why}");
    eprintln!("SKIP {test}: {why}");
    if let Some(path) = std::env::var_os("HEAPTIDE_SKIP_FILE") {
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap();
        writeln!(file, "{test}: {why}").unwrap();
    }
}

#[tokio::test]
async fn duckdb_answers_the_query_that_the_documentation_gives() {
    let name = "duckdb_answers_the_query_that_the_documentation_gives";
    let Some(duckdb) = std::env::var_os("HEAPTIDE_DUCKDB").filter(|path| Path::new(path).is_dir()) else {
        return skip(
            name,
            "HEAPTIDE_DUCKDB names no folder with DuckDB: `cargo xtask setup` installs it",
        );
    };
    let folder = tempfile::tempdir().unwrap();
    let id = session(1);
    let hub = start_with(folder.path(), small).await;
    fill(&hub, id, 1..=FRAMES, true).await;
    let whole = async {
        loop {
            let parts = hub.counter("level_parts").await;
            let segments = fs::read_dir(hub.session_dir(id)).unwrap();
            let segments = segments.filter(|entry| {
                entry
                    .as_ref()
                    .unwrap()
                    .path()
                    .extension()
                    .is_some_and(|e| e == "htl")
            });
            if parts as usize == segments.count() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    common::patient(whole).await;
    let own = hub.session_dir(id);
    hub.stop().await;
    let page = include_str!("../../docs/store.md");
    let query = page
        .split_once("```sql\n")
        .unwrap()
        .1
        .split_once("```")
        .unwrap()
        .0;
    let query = query.replace("SESSION", own.to_str().unwrap());
    let script = "import duckdb, json, sys; print(json.dumps(duckdb.sql(sys.argv[1]).fetchall()))";
    let output = std::process::Command::new("python3")
        .args(["-c", script, &query])
        .env("PYTHONPATH", duckdb)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let frames = FRAMES as f64;
    let row = |site: u32| {
        let name = format!("main.site{site}");
        let each = f64::from(site + 1) * 1000.0;
        serde_json::json!([
            name,
            format!("main.main;{name}"),
            "go.heap",
            frames * each,
            0.0,
            5.0 * each
        ])
    };
    assert_eq!(rows, serde_json::json!([row(2), row(1), row(0)]));
}
