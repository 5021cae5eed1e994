//! A small program's session as a file, row by row.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use heaptide_policy::Policy;
use heaptide_protocol::dictionary::{Dictionary, FrameDef, StackDef, StringDef};
use heaptide_protocol::events::{EventBatch, EventBody, EventKind, OtherRow};
use heaptide_protocol::gauges::{Gauge, GaugeValue, Gauges};
use heaptide_protocol::lifetimes::{Allotment, Birth, Death, LifetimeTable};
use heaptide_protocol::log::{FILE_HEAD, RecordHead};
use heaptide_protocol::section::{EndReason, Section, SectionWriter, SessionEnd, SessionStart};
use heaptide_protocol::session::{
    Capability, CapabilityState, Clock, ClockKind, EventClass, Method, PlatformSignature,
};
use heaptide_protocol::{Envelope, FrameId, SessionId, StackId, StringId, SymbolGen, TagId, frame};
use heaptide_recording::{Reader, Recording};

pub const TICK_NS: u64 = 100_000_000;
pub const ORIGIN_TICK: u64 = 50;
pub const RATE_BYTES: u64 = 65_536;
pub const UNIX_NS: u64 = 1_795_745_045_000_000_000;

/// `(stack, size, sampled objects)`.
pub type Row = (u32, u64, u32);

/// One tick: what was born, and what died at the age of one tick.
#[derive(Debug, Clone, Default)]
pub struct Tick {
    pub births: Vec<Row>,
    pub deaths: Vec<Row>,
    /// Lengths of pauses in it.
    pub pauses_ns: Vec<u64>,
}

/// Stacks 0 to 2: `main.leak` and `main.page` below `main.main`, and `main.put`, inlined into `main.page`.
pub const STACKS: [&[u32]; 3] = [&[3, 0, 2], &[1, 2], &[4, 1, 2]];

pub fn session(byte: u8) -> SessionId {
    SessionId([byte; 16])
}

/// The frames of a session, in order.
pub fn frames(id: SessionId, ticks: &[Tick], has_end: bool) -> Vec<Vec<u8>> {
    let mut sections = vec![vec![start(), Section::Dictionary(dictionary())]];
    for (at, tick) in ticks.iter().enumerate() {
        let tick_number = ORIGIN_TICK + at as u64;
        let table = LifetimeTable {
            symbol_gen: SymbolGen(0),
            tick: tick_number,
            tick_ns: TICK_NS,
            newest_ns: tick_number * TICK_NS + 1,
            rates_bytes: vec![RATE_BYTES],
            births: tick
                .births
                .iter()
                .map(|row| Birth {
                    allotment: allotment(row),
                    count: row.2,
                })
                .collect(),
            deaths: tick
                .deaths
                .iter()
                .map(|row| Death {
                    allotment: allotment(row),
                    age_ticks: 1,
                    count: row.2,
                })
                .collect(),
        };
        let gauges = Gauges {
            timestamp_ns: tick_number * TICK_NS + 2,
            values: vec![
                gauge(Gauge::RSS_BYTES, 50 << 20),
                gauge(Gauge::SAMPLING_RATE_BYTES, RATE_BYTES),
            ],
        };
        let mut batch = EventBatch::new(1, tick_number * TICK_NS, SymbolGen(0), RATE_BYTES, false);
        let mut at_ns = tick_number * TICK_NS + 10;
        for length_ns in &tick.pauses_ns {
            let body = EventBody::Other(OtherRow {
                detail: 1,
                ..OtherRow::default()
            });
            batch.push(at_ns, 1, EventKind::StopTheWorldBegin, body);
            batch.push(at_ns + length_ns, 1, EventKind::StopTheWorldEnd, body);
            at_ns += length_ns + 10;
        }
        sections.push(vec![
            Section::Lifetimes(table),
            Section::Events(batch),
            Section::Gauges(gauges),
        ]);
    }
    if has_end {
        sections.push(vec![Section::End(SessionEnd {
            timestamp_ns: (ORIGIN_TICK + ticks.len() as u64) * TICK_NS - 1,
            reason: EndReason::Exited { code: 0 },
        })]);
    }
    let mut out = Vec::new();
    for (at, list) in sections.iter().enumerate() {
        let mut writer = SectionWriter::default();
        for section in list {
            writer.push(section).unwrap();
        }
        let seq = at as u64 + 1;
        let first_ns = (ORIGIN_TICK + seq.saturating_sub(2)) * TICK_NS;
        let envelope = Envelope::data(id, seq, first_ns, first_ns + TICK_NS - 1);
        out.push(frame::encode(envelope, &writer.take()).unwrap());
    }
    out
}

pub fn file(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = FILE_HEAD.to_vec();
    for frame in frames {
        let head = RecordHead {
            frame_bytes: frame.len() as u32,
            synced_seq: 0,
        };
        out.extend_from_slice(&head.encode());
        out.extend_from_slice(frame);
    }
    out
}

pub fn recording(ticks: &[Tick]) -> Recording {
    read(&file(&frames(session(1), ticks, true)))
}

pub fn read(bytes: &[u8]) -> Recording {
    let mut reader = Reader::new();
    reader.push(bytes).unwrap();
    reader.end_of_file().unwrap();
    reader.finish().unwrap()
}

/// What the estimate of a row's bytes is, written out.
pub fn estimate(size_bytes: u64, count: u32) -> f64 {
    let size = size_bytes as f64;
    f64::from(count) * size / (1.0 - (-size / RATE_BYTES as f64).exp())
}

fn allotment(row: &Row) -> Allotment {
    Allotment {
        stack: StackId(row.0),
        heap_tag: TagId(0),
        size_bytes: row.1,
        rate_index: 0,
    }
}

fn gauge(gauge: Gauge, value: u64) -> GaugeValue {
    GaugeValue { gauge, value }
}

fn dictionary() -> Dictionary {
    let texts = [
        "main.leak",
        "main.page",
        "main.main",
        "runtime.mallocgc",
        "main.put",
        "/src/main.go",
    ];
    let frame = |id: u32, line, inlined| FrameDef {
        id: FrameId(id),
        function: StringId(id),
        file: StringId(5),
        line,
        inlined,
    };
    Dictionary {
        symbol_gen: SymbolGen(0),
        strings: (0..)
            .zip(texts)
            .map(|(id, text)| StringDef {
                id: StringId(id),
                text: text.to_owned(),
            })
            .collect(),
        frames: vec![
            frame(0, 10, false),
            frame(1, 20, false),
            frame(2, 30, false),
            frame(3, 40, false),
            frame(4, 50, true),
        ],
        stacks: (0..)
            .zip(STACKS)
            .map(|(id, frames)| StackDef {
                id: StackId(id),
                stack_trace_hash: u64::from(id),
                frames: frames.iter().copied().map(FrameId).collect(),
                truncated: false,
            })
            .collect(),
        tags: Vec::new(),
    }
}

fn start() -> Section {
    let text = str::to_owned;
    let signature = PlatformSignature {
        os: text("Debian GNU/Linux"),
        os_version: text("12"),
        kernel: text("6.18.44"),
        architecture: text("x86_64"),
        cpus: 2,
        page_size_bytes: 4096,
        huge_page_mode: text("madvise"),
        libc: text("none (static)"),
        runtime: text("go"),
        runtime_version: text("go1.27.3"),
        build_id: text("c0ffee"),
        host_name: text("here"),
        boot_id: String::new(),
        pid: 4242,
        executable: text("/srv/shop"),
        command_line: vec![text("/srv/shop"), text("-v")],
        collector_version: text("0.1.0"),
        clock: Clock {
            kind: ClockKind::LinuxMonotonic,
            session_ns: ORIGIN_TICK * TICK_NS,
            unix_ns: UNIX_NS,
            error_ns: 100,
        },
    };
    let capability = |class, source: &str, state| Capability {
        class,
        source: text(source),
        method: Method::Exact,
        state,
    };
    Section::Start(SessionStart {
        signature,
        labels: Default::default(),
        capabilities: vec![
            capability(
                EventClass::GarbageCollection,
                "uprobes startCycle",
                CapabilityState::Active,
            ),
            capability(
                EventClass::Mapping,
                "tracepoints",
                CapabilityState::Unavailable {
                    why: text("tracefs is not mounted"),
                    remedy: text("mount it"),
                },
            ),
        ],
        policy: Policy::default(),
    })
}
