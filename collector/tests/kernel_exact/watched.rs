//! A window as the policy asks for it, from the collector through a hub to the tables that a person sees.

use std::net::SocketAddr;
use std::path::Path;

use heaptide_analysis::Session;
use heaptide_analysis::report::{Cell, ReportKind, ReportQuery, Table};
use heaptide_analysis::views::Window;
use heaptide_collector::watch::{
    Destination, Outcome, StopRequest, TargetChoice, WatchConfig, WatchEvent, watch,
};
use heaptide_hub::{Hub, HubConfig};
use heaptide_policy::{ExactRequest, Policy};
use heaptide_protocol::Frame;
use tokio::sync::mpsc;

use crate::{built, object, program::Program, toolchains};

const SECONDS: u16 = 2;

#[test]
fn a_watch_sends_the_window_that_its_policy_asks_for() {
    let Some(object) = object() else { return };
    let Some(go) = toolchains().pop() else { return };
    let built = built(&go, &["-ldflags=-s -w"]);
    let arguments = ["-seconds", "12", "-objects", "200", "-rate", "65536"];
    let mut program = Program::start(&built.binary, &arguments);
    program.go();

    let folder = tempfile::tempdir().expect("a folder");
    let pid = program.pid();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (outcome, windows) = runtime.block_on(watch_once(object, pid, folder.path()));
    assert!(outcome.delivered, "{outcome:?}");
    let [(number, objects)] = windows[..] else {
        panic!("one window, not {windows:?}");
    };
    assert_eq!(number, 7);
    assert!(objects > 1_000, "{objects}");

    let session = session(folder.path());
    let tables = session
        .report(&ReportQuery {
            kind: ReportKind::Exact,
            window: Window {
                from_ns: 0,
                to_ns: u64::MAX,
            },
            filter: String::new(),
            limit: 100,
        })
        .tables;
    let [list, sites, agreement, phase] = &tables[..] else {
        panic!("{tables:#?}");
    };
    assert_eq!(value(list, 0, 0), 7.0);
    assert!(value(list, 0, 2) >= f64::from(SECONDS) * 1e9, "{list:?}");
    assert_eq!(text(list, 0, 3), "its time");
    assert_eq!(value(list, 0, 5), objects as f64);
    for (site, type_name) in [
        ("main.(*sink).small", "uint8"),
        ("main.(*sink).nodes", "main.node"),
        ("main.(*sink).pairs", "main.pair[string,int]"),
        ("main.(*sink).texts", ""),
    ] {
        let found =
            (0..sites.rows.len()).any(|row| text(sites, row, 0) == site && text(sites, row, 1) == type_name);
        assert!(found, "{site} {type_name} not in {sites:#?}");
    }
    // By chance the interval misses the truth once in a hundred times; it is never far off.
    assert_eq!(text(agreement, 0, 0), "all");
    let counted = value(agreement, 0, 1);
    let Cell::Figure(estimated) = &agreement.rows[0].cells[2] else {
        panic!("{agreement:?}")
    };
    let ratio = estimated.value / counted;
    assert!((0.8..1.25).contains(&ratio), "{ratio}: {agreement:?}");
    assert!(value(phase, 0, 1) > 20.0, "{phase:?}");

    program.done();
    program.report();
    program.end();
}

async fn watch_once(object: &'static [u8], pid: u32, folder: &Path) -> (Outcome, Vec<(u32, u64)>) {
    let config = HubConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), folder.join("hub"));
    let hub = Hub::bind(config).await.expect("a hub");
    let hub_url = format!("ws://{}", hub.address());
    let hub = tokio::spawn(hub.run(std::future::pending()));
    let policy = Policy {
        exact: Some(ExactRequest {
            number: 7,
            seconds: SECONDS,
            max_cost_permille: u16::MAX,
        }),
        ..Policy::default()
    };
    let config = WatchConfig {
        target: TargetChoice::Attach { pid },
        destination: Destination::Hub {
            url: hub_url,
            token: None,
            trust: Default::default(),
            spool_root: folder.join("spool"),
        },
        labels: Default::default(),
        policy,
        allow_rate_write: false,
        allow_leak_check: false,
        bpf_object: Some(object),
        own_executable: std::env::current_exe().expect("this test"),
        confinement: None,
    };
    let (ask, asked) = mpsc::channel(1);
    let mut windows = Vec::new();
    let outcome = watch(config, asked, &mut |event| match event {
        WatchEvent::ExactWindow { number, objects, .. } => {
            windows.push((number, objects));
            ask.try_send(StopRequest::Detach).expect("one window");
        }
        WatchEvent::Warning { message } => assert!(!message.contains("exact"), "{message}"),
        _ => {}
    })
    .await
    .expect("a watch");
    hub.abort();
    (outcome, windows)
}

/// What the hub has stored; the form on disk is in `hub/README.md`.
fn session(folder: &Path) -> Session {
    let sessions = std::fs::read_dir(folder.join("hub/sessions")).expect("sessions");
    let folders: Vec<_> = sessions.map(|entry| entry.expect("a folder").path()).collect();
    let mut segments: Vec<_> = std::fs::read_dir(&folders[0])
        .expect("a session")
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "htl"))
        .collect();
    segments.sort();
    let mut session = Session::new();
    for path in segments {
        let bytes = std::fs::read(&path).expect("a segment");
        let mut rest = bytes.strip_prefix(b"HEAPLOG\x01").expect("a segment");
        while let Some((head, behind)) = rest.split_first_chunk::<16>() {
            let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let Some((frame, behind)) = behind.split_at_checked(length).filter(|_| length > 0) else {
                break;
            };
            session
                .apply(&Frame::parse(frame).expect("a frame"))
                .expect("sections");
            rest = behind;
        }
    }
    session
}

fn text(table: &Table, row: usize, column: usize) -> &str {
    match &table.rows[row].cells[column] {
        Cell::Text(text) => text,
        other => panic!("{other:?}"),
    }
}

fn value(table: &Table, row: usize, column: usize) -> f64 {
    match &table.rows[row].cells[column] {
        Cell::Value(value) => *value,
        other => panic!("{other:?}"),
    }
}
