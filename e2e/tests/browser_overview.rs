//! A session too long to be read as a whole: in a real browser its past comes in steps, and what one looks at closely is
//! as exact as every frame.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use heaptide_analysis::views::{Metric, Window};
use heaptide_e2e::browser::by_id;
use heaptide_e2e::sites::window_bytes;
use heaptide_e2e::{Browser, Build, Go, Hub, Sites, heaptide, machine, until};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// Many samples, each of which is sent as an event, so that seconds are as long as hours.
const RATE_BYTES: u64 = 2_048;
/// As `web/src/net/link.rs`.
const PAST_BYTES: u64 = 1_280 << 10;

#[test]
fn a_long_session_opens_in_steps_and_is_exact_where_one_looks() {
    let test = "browser (overview)";
    let (Some(binary), Some(browser)) = (machine::can_watch(test), Browser::start(test)) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let hub = Hub::start(&binary);
    let options = format!("--allow-rate-write --sampling-rate {RATE_BYTES}");
    let flags = format!(
        "-windows 20 -leak -gc -pace 500ms -window-bytes {}",
        window_bytes(65_536)
    );
    let mut sites = Sites::started(hub.run(&options, &program, &flags));
    let session = heaptide::session_of(&sites.process);
    let console = hub.console();
    let applied = console.propose(session, |policy| {
        policy.tiers.always_from_bytes = 0;
        policy.tiers.hashed_from_bytes = 0;
        policy.budget.collector_cpu_permille = 1_000;
        policy.budget.sent_bytes_per_s = u64::MAX;
    });
    applied.unwrap();
    console.until_sampling(session, RATE_BYTES);
    sites.go();
    let _ = sites.end();
    assert_eq!(sites.finish().code, 0);
    console.until_ended(session);
    let stored = until("as much as doesn't fit", || {
        let stored = console.with(|state| {
            let listed = state.sessions.iter().find(|summary| summary.session == session);
            listed.map_or(0, |summary| summary.stored_bytes)
        });
        (stored > 2 * PAST_BYTES)
            .then_some(stored)
            .ok_or_else(|| format!("{stored} bytes"))
    });
    until("levels of all of it", || {
        let parts = counter(&hub, "level_parts");
        (parts >= 1).then_some(()).ok_or_else(|| format!("{parts} parts"))
    });
    // Every frame, natively.
    let exact = hub.console();
    exact.until_ended(session);
    let span = exact.view(session, |view| view.session.span());
    let table = |window, metric| exact.sites(session, window, metric);

    let sent_before = counter(&hub, "bytes_sent");
    browser.open_session(hub.address, session, "?r=all");
    let sent = counter(&hub, "bytes_sent") - sent_before;
    assert!(sent <= 2 << 20, "{sent} of {stored} bytes sent");
    assert!(counter(&hub, "frames_told_in_steps") > 0);
    let first = format!("{}:first-child", by_id("site-row"));
    let shown = || {
        let function = browser.attribute(&first, "data-function")?;
        Ok::<_, String>((function, browser.number(&first, "data-value")?))
    };
    let expect = |what: &str, window, metric| {
        let top = &table(window, metric).rows[0];
        let expected = (top.function.clone(), top.bytes.value);
        until(what, || {
            let got = shown()?;
            // The page has whole bytes.
            let is_same = got.0 == expected.0 && (got.1 - expected.1).abs() < 1.0;
            is_same
                .then_some(())
                .ok_or_else(|| format!("{got:?}, every frame says {expected:?}"))
        });
    };
    expect("what is live at the end", span, Metric::Live);
    browser.shots("overview");

    // Two seconds from the middle, as no step begins or ends.
    let from_ns = span.from_ns + (span.to_ns - span.from_ns) / 2;
    let from_ns = from_ns - from_ns % 100_000_000;
    let window = Window {
        from_ns,
        to_ns: from_ns + 2_000_000_000,
    };
    for (metric, key) in [(Metric::Allocated, "allocated"), (Metric::Live, "live")] {
        let query = format!("?r=all&t0={}&t1={}&metric={key}", window.from_ns, window.to_ns);
        browser.open_session(hub.address, session, &query);
        expect(&format!("what was {key} in two seconds"), window, metric);
    }
    browser.shots("overview-close");
    assert_eq!(browser.complaints(), [""; 0]);
}

/// From the hub's metrics.
fn counter(hub: &Hub, name: &str) -> u64 {
    let mut stream = TcpStream::connect(hub.address).unwrap();
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        hub.address
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let wanted = format!("heaptide_hub_{name}");
    let is_wanted = |line: &&str| {
        let of = line.split([' ', '{']).next().unwrap_or_default();
        of == wanted || of == format!("{wanted}_total")
    };
    let line = text.lines().find(is_wanted);
    let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    value.unwrap_or_else(|| panic!("no {name} in {text}")) as u64
}
