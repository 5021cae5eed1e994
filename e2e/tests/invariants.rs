//! Invariants 1 and 2 of ARCHITECTURE.md on real sessions. 4 is held by `rate.rs` and `harm.rs`, 7 by
//! `hub_restart.rs`.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use heaptide_analysis::views::{Figure, Headline, Metric, ProfileQuery, Window};
use heaptide_e2e::wait::let_run;
use heaptide_e2e::{Build, Console, Go, Hub, Sites, heaptide, machine};
use heaptide_protocol::SessionId;
use heaptide_protocol::loss::{Hop, HopCount};
use heaptide_protocol::session::{EventClass, Method};
use rustix::process::Signal;
use std::time::Duration;

/// Every figure says how it was got, and a sampled one how far off it may be. At rate 1 Go hands over every
/// allocation, so the same figures are exact.
#[test]
fn invariant_1_provenance() {
    let test = "invariant 1";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    for (rate, window_bytes) in [(65_536, 100_000_000), (1, 2_000_000)] {
        let hub = Hub::start(&binary);
        let flags = format!(
            "-windows 3 -gc -rate {rate} -window-bytes {window_bytes} -sites siteSmall,siteMap,siteLeak"
        );
        let mut sites = Sites::started(hub.run("", &program, &flags));
        let session = heaptide::session_of(&sites.process);
        let console = hub.console();
        console.until_sampling(session, rate);
        sites.go();
        let end = sites.end();
        let begin_ns = sites.windows()[0].begin_ns;
        assert_eq!(sites.finish().code, 0);
        console.until_ended(session);
        if rate == 1 {
            check_table(&console, session, begin_ns, Metric::Allocated, rate);
            check_exact(&console, session, begin_ns, &end.bytes);
        } else {
            for metric in [Metric::Live, Metric::Kept, Metric::Allocated, Metric::Freed] {
                check_table(&console, session, begin_ns, metric, rate);
            }
        }
        check_headline(&console, session);
    }
}

fn check_table(console: &Console, session: SessionId, begin_ns: u64, metric: Metric, rate: u64) {
    let query = ProfileQuery {
        window: Window {
            from_ns: begin_ns,
            ..console.headline(session).span
        },
        metric,
        filter: String::new(),
        limit: 1000,
    };
    let table = console.view(session, |view| view.session.sites(&query));
    let flame = console.view(session, |view| view.session.flame(&query));
    let is_exact = rate == 1;
    // What was live before the program set its rate was sampled at Go's own; a figure of both tells the mean.
    let is_wanted = |method| match method {
        Method::Sampled { rate_bytes } => !is_exact && (rate..=524_288).contains(&rate_bytes),
        method => is_exact && method == Method::Exact,
    };
    check_figure(&table.total, is_wanted, &format!("{metric:?} total"));
    check_figure(&flame.total, is_wanted, &format!("{metric:?} flame"));
    for row in &table.rows {
        check_figure(&row.bytes, is_wanted, &row.function);
        check_figure(&row.objects, is_wanted, &row.function);
    }
    for node in flame.nodes.iter().filter(|node| node.total_bytes > 0.0) {
        assert_eq!(node.relative_error == 0.0, is_exact, "{metric:?} {node:?}");
    }
    let is_large = matches!(metric, Metric::Allocated | Metric::Freed);
    assert!(!is_large || table.rows.len() >= 3, "{metric:?}: {table:?}");
}

fn check_headline(console: &Console, session: SessionId) {
    let headline = console.headline(session);
    for (figure, method, what) in [
        (headline.rss, Method::Census, "RSS"),
        (headline.pss, Method::Census, "PSS"),
        (headline.untracked, Method::Estimate, "untracked"),
    ] {
        check_figure(&figure.unwrap(), |got| got == method, what);
    }
    let start = console.view(session, |view| view.session.start().cloned());
    let capabilities = start.unwrap().capabilities;
    assert!(capabilities.len() >= 4, "{capabilities:?}");
    for capability in capabilities {
        assert!(!capability.source.is_empty(), "{capability:?}");
    }
}

fn check_figure(figure: &Figure, is_wanted: impl Fn(Method) -> bool, what: &str) {
    assert!(is_wanted(figure.method), "{what}: {figure:?}");
    let width = figure.high - figure.low;
    let is_inside = figure.low <= figure.value && figure.value <= figure.high;
    let holds = match figure.method {
        Method::Exact | Method::Census => width == 0.0 && is_inside,
        Method::Sampled { .. } => width > 0.0 && is_inside,
        Method::Estimate => is_inside,
    };
    assert!(holds, "{what}: {figure:?}");
}

/// At rate 1 nothing is left to chance but what is dropped, and that is counted.
fn check_exact(
    console: &Console,
    session: SessionId,
    begin_ns: u64,
    exact: &std::collections::BTreeMap<String, u64>,
) {
    const LARGEST_OBJECT: f64 = 1024.0;
    let headline = console.headline(session);
    let mut window = headline.span;
    window.from_ns = begin_ns;
    let dropped: u64 = headline
        .hops
        .iter()
        .filter(|hop| hop.hop == Hop::Collector && hop.class == EventClass::Allocation)
        .flat_map(|hop| &hop.dropped)
        .map(|drop| drop.count)
        .sum();
    for (site, bytes) in exact {
        let table = console.sites_like(session, window, Metric::Allocated, site);
        let short = *bytes as f64 - table.total.value;
        assert!(
            (0.0..=dropped as f64 * LARGEST_OBJECT).contains(&short),
            "{site}: {bytes} bytes, seen {}, {dropped} records dropped",
            table.total.value
        );
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Ending {
    Exit,
    Killed,
    Detached,
}

/// At every hop, what came in went on or was dropped for a reason; and what one hop sent, the next one saw.
#[test]
fn invariant_2_nothing_vanishes() {
    let test = "invariant 2";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    for ending in [Ending::Exit, Ending::Killed, Ending::Detached] {
        let hub = Hub::start(&binary);
        let mut sites = Sites::start(
            &program,
            "-windows 0 -window-bytes 100000000 -rate 16384 -workers 4",
        );
        let mut watcher = hub.attach("--all-events", sites.pid);
        let session = watcher.session;
        sites.go();
        let_run(Duration::from_secs(3));
        // While it allocates at full speed.
        match ending {
            Ending::Exit => sites.process.close_stdin(),
            Ending::Killed => sites.process.signal(Signal::KILL),
            Ending::Detached => watcher.process.signal(Signal::INT),
        }
        if ending == Ending::Exit {
            let _ = sites.end();
        }
        if ending != Ending::Detached {
            let _ = sites.process.code();
        }
        assert_eq!(watcher.process.code(), 0);
        let console = hub.console();
        console.until_ended(session);
        let headline = console.headline(session);
        check_hops(&headline, ending);
        sites.process.close_stdin();
        let _ = sites.process.code();
    }
}

fn check_hops(headline: &Headline, ending: Ending) {
    let hops = &headline.hops;
    for hop in hops {
        assert_eq!(hop.imbalance(), 0, "{ending:?}: {hop:?}");
    }
    for class in [
        EventClass::Allocation,
        EventClass::GarbageCollection,
        EventClass::Mapping,
    ] {
        let find = |wanted: Hop| -> &HopCount {
            let mut of = hops.iter().filter(|hop| hop.hop == wanted && hop.class == class);
            of.next()
                .unwrap_or_else(|| panic!("{ending:?}: no {wanted:?} for {class:?} in {hops:?}"))
        };
        let (kernel, collector) = (find(Hop::Kernel), find(Hop::Collector));
        assert!(kernel.seen > 0, "{ending:?}: {kernel:?}");
        assert_eq!(kernel.sent, collector.seen, "{ending:?}: {class:?}");
    }
}
