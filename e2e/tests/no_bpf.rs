//! Without eBPF: an ordinary user watches a program of their own, which has nobody's leave to be probed.
//!
//! The heap then comes from Go's own profile, and is held against the program's own exact count as the probes'
//! samples are.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use heaptide_analysis::report::{Cell, ReportKind, ReportQuery, Table};
use heaptide_analysis::views::{Figure, Metric};
use heaptide_e2e::heaptide::Watcher;
use heaptide_e2e::process::Process;
use heaptide_e2e::sites::window_bytes;
use heaptide_e2e::{Build, Console, Go, Hub, Sites, machine, until};
use heaptide_protocol::SessionId;
use heaptide_protocol::session::{CapabilityState, EventClass};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// `nobody` of every distribution.
const USER: u32 = 65_534;
const RATE_BYTES: u64 = 65_536;

/// A folder that this user can use, with copies of both programs.
struct Place {
    folder: tempfile::TempDir,
    heaptide: PathBuf,
    program: PathBuf,
}

impl Place {
    fn new(heaptide: &Path, program: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let open =
            |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
        open(folder.path());
        let copy = |from: &Path, name: &str| {
            let to = folder.path().join(name);
            std::fs::copy(from, &to).unwrap();
            open(&to);
            to
        };
        Self {
            heaptide: copy(heaptide, "heaptide"),
            program: copy(program, "sites"),
            folder,
        }
    }

    /// As that user, if this is root.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("HOME", self.folder.path());
        if rustix::process::geteuid().is_root() {
            command.uid(USER).gid(USER);
        }
        command
    }

    fn attach(&self, hub: &Hub, options: &str, pid: u32) -> Watcher {
        let mut command = self.command(&self.heaptide);
        command
            .args(["attach", "--hub", &hub.url(), "--spool"])
            .arg(self.folder.path().join("spool"))
            .args(options.split_whitespace())
            .arg(pid.to_string());
        Watcher::new(Process::start(&mut command))
    }
}

fn tables(console: &Console, session: SessionId) -> Vec<Table> {
    console.view(session, |view| {
        let query = ReportQuery {
            kind: ReportKind::Ledger,
            window: view.session.span(),
            filter: String::new(),
            limit: 100,
        };
        view.session.report(&query).tables
    })
}

/// In the first row.
fn cell<'a>(tables: &'a [Table], title: &str, column: usize) -> Option<&'a Cell> {
    let table = tables.iter().find(|table| table.title == title)?;
    table.rows.first()?.cells.get(column)
}

fn figure(tables: &[Table], title: &str, column: usize) -> Option<Figure> {
    match cell(tables, title, column)? {
        Cell::Figure(figure) => Some(*figure),
        _ => None,
    }
}

fn value(tables: &[Table], title: &str, column: usize) -> Option<f64> {
    match cell(tables, title, column)? {
        Cell::Value(value) => Some(*value),
        _ => None,
    }
}

/// 99 % intervals, twice as wide, so that a sound program fails less than once in ten million runs.
fn assert_holds(what: &str, got: Figure, exact: f64) {
    let (low, high) = (
        got.value - 2.0 * (got.value - got.low),
        got.value + 2.0 * (got.high - got.value),
    );
    assert!(
        (low..=high).contains(&exact),
        "{what}: {exact} is not in {low}..{high}, {got:?}"
    );
}

#[test]
fn an_ordinary_user_watches_a_program_of_their_own() {
    let test = "without eBPF";
    let Some(binary) = machine::binary() else {
        return machine::skip(test, "HEAPTIDE_BIN names no heaptide binary");
    };
    let forced = format!("--no-bpf --allow-rate-write --sampling-rate {RATE_BYTES}");
    let by_itself = format!("--allow-rate-write --sampling-rate {RATE_BYTES}");
    for (go, build, options) in [
        (Go::V1_27, Build::Plain, &forced),
        (Go::V1_22, Build::Stripped, &by_itself),
    ] {
        let Some(program) = go.sites(test, build) else {
            return;
        };
        let place = Place::new(&binary, &program);
        let hub = Hub::start(&binary);
        let mut command = place.command(&place.program);
        let flags = format!("-windows 10 -leak -gc -window-bytes {}", window_bytes(RATE_BYTES));
        command.args(flags.split_whitespace());
        let mut sites = Sites::started(Process::start(&mut command));
        let first_rate = sites.first_rate();

        let watcher = place.attach(&hub, options, sites.pid);
        let console = hub.console();
        console.until_sampling(watcher.session, RATE_BYTES);
        let warned = watcher.process.err.text();
        assert!(warned.contains("nothing is probed"), "{warned}");
        // Where it was not asked for, the way out is named.
        let remedy = ["cap_bpf", "run as root", "setcap"];
        assert!(
            options == &forced || remedy.iter().all(|part| warned.contains(part)),
            "{warned}"
        );
        sites.go();
        let end = sites.end();
        let leaked = end.live_bytes["main.siteLeak"] as f64;
        let allocated: u64 = end.bytes.values().sum();

        // The reading that has everything has it all: profile and statistics are read in one go.
        let session = watcher.session;
        until("the last reading", || {
            let tables = tables(&console, session);
            let read = value(&tables, "Go's own statistics", 1).unwrap_or(0.0);
            let ready =
                read >= end.total_alloc_bytes as f64 && value(&tables, "Resident memory", 1).is_some();
            ready.then_some(()).ok_or_else(|| watcher.process.err.text())
        });
        let window = console.view(session, |view| view.session.span());
        let of = |metric, what: &str| console.sites_like(session, window, metric, what).total;
        assert_holds("allocated", of(Metric::Allocated, "main.site"), allocated as f64);
        assert_holds("live of main.siteLeak", of(Metric::Live, "main.siteLeak"), leaked);
        let headline = console.headline(session);
        assert!(headline.live.value >= leaked / 2.0, "{headline:?}");

        // Go's own exact count is what the estimate is a share of: all of it.
        let tables = tables(&console, session);
        assert_holds("coverage", figure(&tables, "Coverage", 3).unwrap(), 1.0);
        let resident = tables
            .iter()
            .find(|table| table.title == "Resident memory")
            .unwrap();
        assert_eq!(
            resident.rows.last().unwrap().cells[0],
            Cell::Text("RSS".to_owned())
        );

        console.view(session, |view| {
            let start = view.session.start().unwrap();
            assert!(!start.policy.sources.sampled_heap && start.policy.sources.bucket_heap);
            for capability in &start.capabilities {
                let probed = capability.source.contains("uprobe") || capability.source.contains("tracepoint");
                if probed {
                    let told = matches!(&capability.state, CapabilityState::Unavailable { why, .. } if why.contains("probed"));
                    assert!(told, "{capability:?}");
                }
                if capability.class == EventClass::Gauge {
                    assert!(!matches!(capability.state, CapabilityState::Unavailable { .. }), "{capability:?}");
                }
            }
        });
        // A policy that needs a probe is refused with the reason, and the watch goes on.
        let refused = console
            .propose(session, |policy| policy.sources.gc = true)
            .unwrap_err();
        assert!(refused.contains("nothing is probed"), "{refused}");
        assert_eq!(watcher.detach(), 0);
        assert_eq!(sites.rate(), first_rate);
        assert_eq!(sites.finish().code, 0);
    }
}

/// Beside the probes, Go's own profile is a second witness: both are shares of the same exact count, and only
/// the probes are counted.
#[test]
fn both_sources_agree_with_gos_own_count() {
    let test = "probes and buckets";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let hub = Hub::start(&binary);
    let flags = format!("-windows 6 -gc -window-bytes {}", window_bytes(RATE_BYTES));
    let mut sites = Sites::start(&program, &flags);
    let options = format!("--buckets --allow-rate-write --sampling-rate {RATE_BYTES}");
    let watcher = hub.attach(&options, sites.pid);
    let (console, session) = (hub.console(), watcher.session);
    console.until_sampling(session, RATE_BYTES);
    // The first reading, from which on both are compared.
    until("the first statistics", || {
        value(&tables(&console, session), "Go's own statistics", 1).ok_or("none")
    });
    sites.go();
    let end = sites.end();
    until("the last reading", || {
        let read = value(&tables(&console, session), "Go's own statistics", 1).unwrap_or(0.0);
        (read >= end.total_alloc_bytes as f64).then_some(()).ok_or(read)
    });
    let tables = tables(&console, session);
    let coverage = tables.iter().find(|table| table.title == "Coverage").unwrap();
    assert_eq!(coverage.rows.len(), 2, "{coverage:?}");
    for row in &coverage.rows {
        let [Cell::Text(source), _, _, Cell::Figure(share)] = row.cells.as_slice() else {
            panic!("{row:?}");
        };
        assert_holds(source, *share, 1.0);
    }
    // Twice the allocations would be seen if they were summed up.
    let window = console.view(session, |view| view.session.span());
    let allocated: u64 = end.bytes.values().sum();
    let counted = console
        .sites_like(session, window, Metric::Allocated, "main.site")
        .total;
    assert_holds("allocated by the probes", counted, allocated as f64);
    assert_eq!(watcher.detach(), 0);
    assert_eq!(sites.finish().code, 0);
}
