//! The hub dies, the collector dies: what was acknowledged stays, what was not is sent later, nothing twice.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use heaptide_analysis::views::{Headline, Metric};
use heaptide_e2e::wait::let_run;
use heaptide_e2e::{Build, Console, Go, Hub, Sites, heaptide, machine, until};
use heaptide_protocol::SessionId;
use heaptide_protocol::loss::{Flaw, Hop};
use heaptide_protocol::session::EventClass;
use rustix::process::Signal;
use std::time::Duration;

const RATE_BYTES: u64 = 65_536;
const FLAGS: &str = "-windows 0 -window-bytes 30000000 -pace 20ms -rate 65536";

/// What a console was shown of a session: sequence numbers in the order they came.
fn shown(console: &Console, session: SessionId) -> Vec<u64> {
    console.view(session, |view| {
        assert!(
            view.errors.is_empty() && view.missed.is_empty(),
            "{:?}, {:?}",
            view.errors,
            view.missed
        );
        view.seqs.clone()
    })
}

fn assert_contiguous(seqs: &[u64]) {
    let expected: Vec<u64> = (1..=seqs.len() as u64).collect();
    assert_eq!(seqs, expected, "frames are missing or came twice");
}

/// The collector's own books against what arrived: each allocation and each free that it used is in the
/// lifetime rows.
fn assert_books_agree(headline: &Headline) {
    let books = headline
        .hops
        .iter()
        .find(|hop| hop.hop == Hop::Collector && hop.class == EventClass::Allocation);
    let sent = books.unwrap().sent;
    let freed = headline.samples - headline.live_samples;
    // An object whose address was sampled again was closed without a record of its free.
    let closed = headline.flaws.iter().find(|flaw| flaw.flaw == Flaw::FreeMissed);
    let closed = closed.map_or(0, |flaw| flaw.count);
    assert_eq!(headline.samples + freed, sent + closed, "{headline:?}");
}

#[test]
fn invariant_7_what_was_acknowledged_survives_kill_9_of_the_hub() {
    let test = "hub restart";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let mut hub = Hub::start(&binary);
    let mut sites = Sites::started(hub.run("", &program, FLAGS));
    let session = heaptide::session_of(&sites.process);
    hub.console().until_sampling(session, RATE_BYTES);
    sites.go();
    let mut acknowledged: Vec<u64> = Vec::new();
    for round in 0..4 {
        let console = hub.console();
        console.subscribe(session);
        // A console is shown only what is on disk. This also waits until the collector has caught up.
        until("frames of this round", || {
            let now = shown(&console, session);
            (now.len() > acknowledged.len() + 10)
                .then_some(())
                .ok_or(now.len())
        });
        let now = shown(&console, session);
        assert_contiguous(&now);
        assert!(
            now.starts_with(&acknowledged),
            "round {round}: frames that were shown are gone"
        );
        hub.kill_and_restart();
        acknowledged = shown(&console, session);
    }
    // Away for a while, so that much has to be caught up.
    hub.process.kill();
    let_run(Duration::from_secs(3));
    hub.kill_and_restart();

    sites.process.close_stdin();
    let end = sites.end();
    let finished = sites.finish();
    assert_eq!(finished.code, 0, "{}", finished.err);
    assert!(!finished.err.contains("new session"), "{}", finished.err);
    let console = hub.console();
    console.until_ended(session);
    assert_contiguous(&shown(&console, session));
    let headline = console.headline(session);
    assert_books_agree(&headline);
    assert_eq!(headline.dropped, 0, "{:?}", headline.hops);

    let total = console.sites(session, headline.span, Metric::Allocated).total;
    let exact = end.total_alloc_bytes as f64;
    let (below, above) = (total.value - total.low, total.high - total.value);
    assert!(
        total.value - 2.0 * below <= exact && exact <= total.value + 2.0 * above,
        "{exact} bytes allocated, {total:?}"
    );
    console.with(|state| assert_eq!(state.sessions.len(), 1, "{:?}", state.sessions));
}

#[test]
fn invariant_7_what_was_not_acknowledged_survives_kill_9_of_the_collector() {
    let test = "collector killed";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let mut hub = Hub::start(&binary);
    let mut sites = Sites::start(&program, FLAGS);
    let mut first = hub.attach("", sites.pid);
    let console = hub.console();
    console.subscribe(first.session);
    sites.go();
    until("frames", || {
        let now = shown(&console, first.session).len();
        (now > 10).then_some(()).ok_or(now)
    });
    hub.process.kill();
    let acknowledged = shown(&console, first.session);
    let before = sites.windows().len();
    let_run(Duration::from_secs(3));
    let windows = sites.windows();
    first.process.kill();
    // The last of them may lie in the tick that was open when the collector died, and the first in two.
    let unsent = &windows[before + 1..windows.len() - (windows.len() - before) / 4];
    assert!(unsent.len() > 5, "{unsent:?}");
    let (from_ns, to_ns) = (unsent[0].begin_ns, unsent[unsent.len() - 1].end_ns);
    let unsent_bytes: u64 = unsent.iter().flat_map(|window| window.bytes.values()).sum();
    hub.kill_and_restart();

    // The next collector of this machine brings it, whatever it watches itself.
    let second = hub.attach("", sites.pid);
    let console = hub.console();
    console.subscribe(first.session);
    until("the rest of the first session", || {
        let frames = shown(&console, first.session).len();
        let reached_ns = console.headline(first.session).span.to_ns;
        (frames > acknowledged.len() && reached_ns >= to_ns)
            .then_some(())
            .ok_or_else(|| format!("{frames} frames up to {reached_ns}, wanted {to_ns}"))
    });
    let seqs = shown(&console, first.session);
    assert_contiguous(&seqs);
    assert!(seqs.starts_with(&acknowledged));
    let window = heaptide_analysis::views::Window { from_ns, to_ns };
    let total = console.sites(first.session, window, Metric::Allocated).total;
    // Whole ticks hold parts of the neighbours at both ends.
    let ratio = total.value / unsent_bytes as f64;
    assert!(
        (0.8..1.3).contains(&ratio),
        "{unsent_bytes} bytes while the hub was away, {total:?}"
    );
    assert_ne!(second.session, first.session);
    second.process.signal(Signal::INT);
    sites.process.close_stdin();
    assert_eq!(sites.finish().code, 0);
}
