//! The rate, moved in the browser: pending, applied, in the program, in the samples, on the timeline; or
//! not allowed, with the reason.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use heaptide_analysis::views::{Metric, Window};
use heaptide_e2e::browser::{by_id, key};
use heaptide_e2e::sites::{ExactWindow, spans};
use heaptide_e2e::{Browser, Build, Console, Go, Hub, Sites, machine, until};
use heaptide_protocol::SessionId;
use rustix::process::Signal;
use std::net::SocketAddr;

const KIB: u64 = 1024;
/// Go's own rate, and the one chosen in the browser.
const RATES: [u64; 2] = [512 * KIB, 64 * KIB];
const TICK_NS: u64 = 100_000_000;
/// Objects much smaller than either rate, so that samples are as many as bytes by rate.
const FLAGS: &str = "-windows 0 -window-bytes 60000000 -pace 250ms -sites siteSmall,siteMap,siteLeak";

#[test]
fn moving_the_rate_in_the_browser_changes_the_samples() {
    let test = "browser (policy)";
    let (Some(binary), Some(browser)) = (machine::can_watch(test), Browser::start(test)) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let hub = Hub::start(&binary);
    let mut sites = Sites::start(&program, FLAGS);
    assert_eq!(sites.first_rate(), RATES[0]);
    let watcher = hub.attach("--allow-rate-write", sites.pid);
    let session = watcher.session;
    browser.open_session(hub.address, session, "?v=1&panel=sampling");
    sites.go();
    let coarse = some_windows(&sites);

    choose(&browser, RATES[1]);
    // A collector that stands still can't answer, so that a person has the time to see it.
    watcher.process.signal(Signal::STOP);
    browser.click(&by_id("policy-apply"));
    let status = by_id("policy-status");
    browser.until_attribute(&status, "data-state", "the change to be pending", |state| {
        state == "pending"
    });
    watcher.process.signal(Signal::CONT);
    browser.until_attribute(&status, "data-state", "the change to be applied", |state| {
        state == "applied"
    });
    let words = browser.until_text(&status, "64 KiB");
    assert!(words.contains("in force") && words.contains("512 KiB"), "{words}");
    browser.until_attribute(
        &by_id("rate-now"),
        "data-value",
        "the new rate in force",
        |rate| rate == RATES[1].to_string(),
    );
    // The timeline's twin tells its marks.
    let marks = browser.until_text(".chart-table caption", "512 KiB → 64 KiB");
    assert!(marks.contains("sampling"), "{marks}");

    let fine = some_windows(&sites);
    sites.process.close_stdin();
    // Said by the program itself, while the collector still watches.
    assert_eq!(sites.end().mem_profile_rate, RATES[1]);
    browser.until_text(&by_id("session-state"), "Ended");
    let console = hub.console();
    console.until_ended(session);
    let per_mb = [coarse, fine].map(|window| {
        let samples = samples_in(&browser, hub.address, &console, session, window);
        let bytes = bytes_in(&sites.windows(), window);
        assert!(samples >= 300, "{samples} samples in {window:?}");
        samples as f64 / bytes as f64 * 1e6
    });
    let ratio = per_mb[1] / per_mb[0];
    println!("{per_mb:.2?} samples per MB at {RATES:?} bytes: {ratio:.2} times as many");
    assert!((4.0..16.0).contains(&ratio), "{ratio}");
    assert_eq!(browser.complaints(), Vec::<String>::new(), "in the browser's log");
}

#[test]
fn a_rate_that_can_not_be_written_is_rejected_with_the_reason() {
    let test = "browser (rejected policy)";
    let (Some(binary), Some(browser)) = (machine::can_watch(test), Browser::start(test)) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let hub = Hub::start(&binary);
    let mut sites = Sites::start(&program, "-windows 1 -window-bytes 1000000");
    sites.go();
    let _ = sites.end();
    let watcher = hub.attach("", sites.pid);
    browser.open_session(hub.address, watcher.session, "?v=1&panel=sampling");
    let why = browser.until_text(&by_id("rate-locked"), "--allow-rate-write");
    assert!(why.contains("not given leave"), "{why}");
    browser.until_attribute(
        &by_id("rate-field"),
        "data-locked",
        "a locked control",
        |locked| locked == "true",
    );

    // Somebody who asks all the same: the collector rejects it, and the page says so.
    let rejected = hub.console().propose(watcher.session, |policy| {
        policy.allow_rate_write = true;
        policy.sampling_rate_bytes = Some(RATES[1]);
    });
    rejected.unwrap_err();
    let status = by_id("policy-status");
    browser.until_attribute(&status, "data-state", "the rejection", |state| {
        state == "rejected"
    });
    let words = browser.text(&status).unwrap();
    assert!(
        words.contains("rejected") && words.contains("--allow-rate-write"),
        "{words}"
    );
    browser.until_text(".chart-table caption", "rejected");
    assert_eq!(sites.rate(), RATES[0]);
}

/// Moves the slider, as a person with a keyboard does.
fn choose(browser: &Browser, rate: u64) {
    let draft = by_id("rate-draft");
    // What the collector was granted, its own policy allows already.
    let allowed = browser.script(
        "return document.querySelector('[data-testid=allow-write]').checked",
        &[],
    );
    assert_eq!(allowed.unwrap(), true);
    until("the chosen rate", || {
        let now = browser.number(&draft, "data-value")? as u64;
        if now == rate {
            return Ok(());
        }
        let towards = if now > rate { key::LEFT } else { key::RIGHT };
        browser.type_into(&by_id("rate-slider"), towards);
        Err(now.to_string())
    });
    browser.until_text(&by_id("policy-changes"), "64 KiB");
}

/// Lets some windows pass; from the beginning of the first whole one to that of the last.
fn some_windows(sites: &Sites) -> Window {
    const WINDOWS: usize = 6;
    let before = sites.windows().len();
    until("some windows", || {
        let now = sites.windows().len();
        (now > before + WINDOWS + 1).then_some(()).ok_or(now)
    });
    let spans = spans(&sites.windows(), TICK_NS);
    Window {
        from_ns: spans[before + 1].from_ns,
        to_ns: spans[before + 1 + WINDOWS].from_ns,
    }
}

fn bytes_in(windows: &[ExactWindow], within: Window) -> u64 {
    let spans = spans(windows, TICK_NS);
    let inside = |span: &Window| within.from_ns <= span.from_ns && span.to_ns <= within.to_ns;
    let windows = spans.iter().zip(windows).filter(|(span, _)| inside(span));
    windows
        .map(|(_, window)| window.bytes.values().sum::<u64>())
        .sum()
}

/// Samples of a window, which this process counts and the flame page has to show.
fn samples_in(
    browser: &Browser,
    hub: SocketAddr,
    console: &Console,
    session: SessionId,
    window: Window,
) -> u64 {
    let rows = console.sites(session, window, Metric::Allocated).rows;
    let samples: u64 = rows.iter().map(|row| row.samples).sum();
    let Window { from_ns, to_ns } = window;
    let query = format!("/flame?v=1&t0={from_ns}&t1={to_ns}&metric=allocated");
    browser.open_session(hub, session, &query);
    until("the number of samples on the page", || {
        let words = browser.text(&by_id("flame-total"))?.replace(',', "");
        let shown = words.contains(&format!(" from {samples} samples"));
        shown
            .then_some(samples)
            .ok_or_else(|| format!("{words}, not {samples}"))
    })
}
