//! `targets/events`, running in one of its modes, and what a session and a pipeline make of it.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use heaptide_analysis::Session;
use heaptide_analysis::report::{Cell, Report, ReportKind, ReportQuery, Table};
use heaptide_collector::linux::bpf::{
    BpfSession, Class, ClassSet, KernelConfig, ProbePoint, TargetSpec, decode, fault_chance,
};
use heaptide_collector::linux::{GoTarget, Process, monotonic_ns};
use heaptide_collector::pipeline::{Pipeline, PipelineConfig};
use heaptide_policy::Tiers;
use heaptide_protocol::events::{Event, EventBody, EventKind, OtherRow};
use heaptide_protocol::frame::Compression;
use heaptide_protocol::section::{Section, SectionWriter};
use heaptide_protocol::{Envelope, Frame, FrameKind, SessionId, frame};

use crate::go::{Binary, Go};

const TICK_NS: u64 = 100_000_000;

/// What the program says of itself; see its source.
#[derive(Debug, Clone, serde::Deserialize)]
pub(crate) struct Truth {
    pub(crate) event: String,
    pub(crate) base: u64,
    pub(crate) pages: u64,
    pub(crate) huge_pages: u64,
    pub(crate) anon_huge_kb: u64,
    pub(crate) errno: String,
    pub(crate) run_delay_ns: u64,
    pub(crate) assist_ns: u64,
    pub(crate) cycles: u64,
    pub(crate) pauses: u64,
    pub(crate) pauses_low_ns: u64,
    pub(crate) pauses_high_ns: u64,
}

/// The program, waiting at its "ready" line at first.
pub(crate) struct Events {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    pub(crate) binary: Binary,
    _dir: tempfile::TempDir,
}

impl Events {
    pub(crate) fn start(go: &Go, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let source: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/targets/events");
        let binary = go.build(&source, &[], dir.path().join("events"));
        let mut child = Command::new(&binary.path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the program");
        let stdin = child.stdin.take();
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        report(&mut stdout, "ready");
        Self {
            child,
            stdin,
            stdout,
            binary,
            _dir: dir,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Attaches with these classes on and these sites, and thresholds that let everything through.
    pub(crate) fn attach(
        &self,
        session: &mut BpfSession,
        classes: &[Class],
        sites: Vec<ProbePoint>,
        faults_one_in: u32,
    ) {
        let spec = TargetSpec {
            pid: self.pid(),
            executable: None,
            offsets: Some(self.binary.go.offsets().expect("a Go version of the table")),
            enabled: classes.iter().fold(ClassSet::NONE, |set, class| set.with(*class)),
            sites,
        };
        session.attach(&spec).expect("attach");
        let config = KernelConfig {
            armed_ns: monotonic_ns(),
            wait_min_ns: 0,
            work_min_ns: 0,
            faults_one_in: faults_one_in.into(),
            fault_chance: fault_chance(faults_one_in),
        };
        session.set_kernel(self.pid(), config).expect("set thresholds");
        for class in classes {
            session.attach_class(*class).expect("attach to tracepoints");
        }
    }

    /// Lets it work and reads its "done" line; it then waits until this is dropped. Drains the ring meanwhile.
    pub(crate) fn work(&mut self, session: &mut BpfSession, seen: &mut Seen) -> Truth {
        let stdin = self.stdin.as_mut().expect("open until dropped");
        stdin.write_all(b"go\n").expect("write to the program");
        let done = std::thread::scope(|scope| {
            let reader = scope.spawn(|| report(&mut self.stdout, "done"));
            while !reader.is_finished() {
                seen.drain(session);
                wait_for_records(session);
            }
            reader.join().expect("the program's last line")
        });
        seen.drain(session);
        done
    }

    /// The same where nobody watches.
    pub(crate) fn work_alone(&mut self) -> Truth {
        let stdin = self.stdin.as_mut().expect("open until dropped");
        stdin.write_all(b"go\n").expect("write to the program");
        report(&mut self.stdout, "done")
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.wait();
    }
}

/// Until there is a record, or a moment has passed.
fn wait_for_records(session: &BpfSession) {
    let moment = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 2_000_000,
    };
    let mut fds = [rustix::event::PollFd::new(session, rustix::event::PollFlags::IN)];
    let _ = rustix::event::poll(&mut fds, Some(&moment));
}

fn report(stdout: &mut BufReader<ChildStdout>, event: &str) -> Truth {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line from the program");
    let report: Truth = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    assert_eq!(report.event, event);
    report
}

/// The records of a session, taken through the collector's pipeline and a viewer's analysis.
pub(crate) struct Seen {
    pub(crate) records: u64,
    pub(crate) rows: Vec<(EventKind, Event, OtherRow)>,
    go: GoTarget,
    pipeline: Pipeline,
    view: Session,
    next_seq: u64,
}

impl Seen {
    pub(crate) fn of(events: &Events) -> Self {
        let process = Process::open(events.pid()).expect("open the process");
        let config = PipelineConfig {
            tick_ns: TICK_NS,
            tiers: Tiers::default(),
            addresses: false,
            wakep_site: true,
            stop_reasons: events
                .binary
                .go
                .go_version()
                .is_some_and(|version| version.minor >= 21),
            processors: 2,
        };
        Self {
            records: 0,
            rows: Vec::new(),
            go: GoTarget::load(&process).expect("a Go program"),
            pipeline: Pipeline::new(config, 1),
            view: Session::new(),
            next_seq: 1,
        }
    }

    pub(crate) fn drain(&mut self, session: &mut BpfSession) {
        loop {
            let (records, pipeline, go) = (&mut self.records, &mut self.pipeline, &mut self.go);
            let polled = session.poll(10_000, |bytes| {
                *records += 1;
                pipeline.record(&decode(bytes).expect("a record of this build"), go);
            });
            if !polled.more {
                return;
            }
        }
    }

    /// Closes the tick and lets the viewer have it.
    pub(crate) fn finish(&mut self, more: &[Section]) {
        let output = self.pipeline.close_tick(monotonic_ns() + 1);
        let mut writer = SectionWriter::default();
        for section in output.sections.iter().chain(more) {
            if let Section::Events(batch) = section {
                self.rows
                    .extend(batch.iter().filter_map(|event| match event.body {
                        EventBody::Other(row) => Some((event.kind, event, row)),
                        _ => None,
                    }));
            }
            writer.push(section).expect("a section");
        }
        let payload = writer.take();
        let envelope = Envelope {
            kind: FrameKind::Data,
            session: SessionId([7; 16]),
            seq: self.next_seq,
            first_ns: output.first_ns,
            last_ns: output.last_ns,
            compression: Compression::None,
            raw_bytes: payload.len() as u32,
        };
        self.next_seq += 1;
        let bytes = frame::encode(envelope, &payload).expect("a frame");
        let frame = Frame::parse(&bytes).expect("its own bytes");
        self.view.apply(&frame).expect("a whole frame");
    }

    pub(crate) fn of_kind(&self, kind: EventKind) -> impl Iterator<Item = (&Event, &OtherRow)> {
        self.rows
            .iter()
            .filter(move |(its, ..)| *its == kind)
            .map(|(_, event, row)| (event, row))
    }

    pub(crate) fn report(&self, kind: ReportKind) -> Report {
        self.view.report(&ReportQuery {
            kind,
            window: heaptide_analysis::views::Window {
                from_ns: 0,
                to_ns: u64::MAX,
            },
            filter: String::new(),
            limit: 100,
        })
    }

    pub(crate) fn pauses(&self) -> Vec<heaptide_analysis::views::Pause> {
        let query = heaptide_analysis::views::TimelineQuery {
            window: heaptide_analysis::views::Window {
                from_ns: 0,
                to_ns: u64::MAX,
            },
            points: 1,
        };
        self.view.timeline(&query).pauses
    }
}

/// A table by its title.
pub(crate) fn table<'a>(report: &'a Report, title: &str) -> &'a Table {
    let found = report.tables.iter().find(|table| table.title == title);
    found.unwrap_or_else(|| panic!("no table {title:?} in {report:?}"))
}

pub(crate) fn text(cell: &Cell) -> &str {
    match cell {
        Cell::Text(text) => text,
        other => panic!("{other:?} is no text"),
    }
}

pub(crate) fn value(cell: &Cell) -> f64 {
    match cell {
        Cell::Value(value) => *value,
        other => panic!("{other:?} is no value"),
    }
}
