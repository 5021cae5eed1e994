//! A session with everything in it that names somebody or some place: objects that come and go, names of functions
//! and files, a policy that changes, mappings, an end.

use super::{Client, signature};
use heaptide_policy::{Labels, Policy, RejectReason};
use heaptide_protocol::control::{Open, PolicyOutcome, PolicyResult, Pulse};
use heaptide_protocol::dictionary::{Dictionary, FrameDef, StackDef, StringDef, TagDef};
use heaptide_protocol::frame::encode;
use heaptide_protocol::gauges::{Gauge, GaugeValue, Gauges};
use heaptide_protocol::ledger::{LedgerKind, Region, Regions};
use heaptide_protocol::lifetimes::{Allotment, Birth, Death, LifetimeTable};
use heaptide_protocol::log::{FILE_HEAD, RecordHead};
use heaptide_protocol::section::{EndReason, Section, SectionWriter, SessionEnd, SessionStart};
use heaptide_protocol::session::{Capability, CapabilityState, Clock, EventClass, Method, PlatformSignature};
use heaptide_protocol::{Envelope, FrameId, SessionId, StackId, StringId, SymbolGen, TagId};

pub const TICK_NS: u64 = 100_000_000;
/// The first frame's time.
pub const BEGIN_NS: u64 = 10 * TICK_NS;
pub const RATE_BYTES: u64 = 512 << 10;

/// What must not be seen through a redacted link.
pub const NAMES: [&str; 9] = [
    "db-host-17.example.internal",
    "db-host-17",
    "5f2c77aa-boot",
    "/srv/alice/shop-server",
    "shop-server --config",
    "/etc/alice/shop.yaml",
    "hunter2hunter2",
    "/home/alice/build",
    "customer-acme",
];

pub fn who() -> PlatformSignature {
    PlatformSignature {
        host_name: NAMES[0].to_owned(),
        boot_id: NAMES[2].to_owned(),
        executable: NAMES[3].to_owned(),
        command_line: vec![
            "shop-server".to_owned(),
            format!("--config={}", NAMES[5]),
            format!("--password={}", NAMES[6]),
        ],
        clock: Clock {
            session_ns: BEGIN_NS,
            unix_ns: 1_700_000_000_000_000_000,
            ..signature().clock
        },
        ..signature()
    }
}

pub fn capabilities() -> Vec<Capability> {
    vec![Capability {
        class: EventClass::Allocation,
        source: format!("uprobe runtime.profilealloc in {}", NAMES[3]),
        method: Method::Sampled {
            rate_bytes: RATE_BYTES,
        },
        state: CapabilityState::Limited {
            why: format!(
                "{} has an old kernel; /proc/PID/maps is read, and /home/alice/build/x",
                NAMES[0]
            ),
        },
    }]
}

/// As a collector makes them of who it is.
fn labels() -> Labels {
    let who = who();
    let service = who.executable.rsplit('/').next().unwrap().to_owned();
    [("host", who.host_name), ("service", service)]
        .map(|(key, value)| (key.to_owned(), value))
        .into_iter()
        .collect()
}

pub fn open() -> Open {
    Open {
        signature: who(),
        labels: labels(),
        capabilities: capabilities(),
        policy: Policy::default(),
        rate_write_granted: true,
        first_seq: 1,
    }
}

/// When frame `seq` begins.
pub fn at(seq: u64) -> u64 {
    BEGIN_NS + (seq - 1) * TICK_NS
}

/// One of the frames, the last of `last`.
pub fn frame(session: SessionId, seq: u64, last: u64) -> Vec<u8> {
    let mut writer = SectionWriter::default();
    for section in sections(seq, last) {
        writer.push(&section).unwrap();
    }
    let envelope = Envelope::data(session, seq, at(seq), at(seq) + TICK_NS - 1);
    encode(envelope, &writer.take()).unwrap()
}

fn sections(seq: u64, last: u64) -> Vec<Section> {
    let mut all = Vec::new();
    if seq == 1 {
        all.push(Section::Start(SessionStart {
            signature: who(),
            labels: labels(),
            capabilities: capabilities(),
            policy: Policy::default(),
        }));
    }
    // Every third frame brings a stack of its own.
    if seq % 3 == 1 {
        all.push(Section::Dictionary(names(seq / 3)));
    }
    let stacks = (seq - 1) / 3 + 1;
    let row = |number: u64, size_bytes| Allotment {
        stack: StackId(u32::try_from(number % stacks).unwrap()),
        heap_tag: TagId(0),
        size_bytes,
        rate_index: 0,
    };
    let mut deaths = Vec::new();
    if seq > 4 {
        // Of what frame `seq - 4` brought, half dies.
        let born = seq - 4;
        let stacks = (born - 1) / 3 + 1;
        deaths.push(Death {
            allotment: Allotment {
                stack: StackId(u32::try_from(born % stacks).unwrap()),
                ..row(born, 40_000)
            },
            age_ticks: 4,
            count: 2,
        });
    }
    all.push(Section::Lifetimes(LifetimeTable {
        symbol_gen: SymbolGen(0),
        tick: at(seq) / TICK_NS,
        tick_ns: TICK_NS,
        newest_ns: at(seq) + 1,
        rates_bytes: vec![RATE_BYTES],
        births: vec![Birth {
            allotment: row(seq, 40_000),
            count: 4,
        }],
        deaths,
    }));
    all.push(Section::Gauges(Gauges {
        timestamp_ns: at(seq),
        values: vec![GaugeValue {
            gauge: Gauge::RSS_BYTES,
            value: 1_000_000 + seq,
        }],
    }));
    match seq {
        2 => all.push(Section::PolicyOutcome(PolicyOutcome {
            timestamp_ns: at(seq),
            revision: 1,
            result: PolicyResult::Rejected {
                reason: RejectReason::WriteFailed {
                    detail: format!("can't write to {}", NAMES[3]),
                },
            },
        })),
        3 => all.push(Section::Regions(Regions {
            timestamp_ns: at(seq),
            rows: vec![
                region(NAMES[3]),
                region("/home/alice/build/plugin.so"),
                region("[heap]"),
            ],
            other_regions: 0,
            other_rss_bytes: 0,
        })),
        _ => {}
    }
    if seq == last {
        all.push(Section::End(SessionEnd {
            timestamp_ns: at(seq),
            reason: EndReason::Exited { code: 0 },
        }));
    }
    all
}

fn region(name: &str) -> Region {
    Region {
        start: 4096,
        end: 8192,
        kind: LedgerKind::FILES,
        permissions: "r-xp".to_owned(),
        name: name.to_owned(),
        rss_bytes: 4096,
        anon_huge_bytes: 0,
        swap_bytes: 0,
        lazy_free_bytes: 0,
        flags: String::new(),
        stack: None,
    }
}

/// The names of stack `number`; with the first, the tag's.
fn names(number: u64) -> Dictionary {
    let number = u32::try_from(number).unwrap();
    let string = |id, text: String| StringDef {
        id: StringId(id),
        text,
    };
    let first = number * 2 + u32::from(number > 0);
    let mut strings = vec![
        string(first, format!("main.(*customer-acme).grow{number}")),
        string(first + 1, format!("/home/alice/build/shop/cart/grow{number}.go")),
    ];
    let mut tags = Vec::new();
    if number == 0 {
        strings.push(string(2, "go.heap".to_owned()));
        tags.push(TagDef {
            id: TagId(0),
            name: StringId(2),
        });
    }
    Dictionary {
        symbol_gen: SymbolGen(0),
        strings,
        frames: vec![FrameDef {
            id: FrameId(number),
            function: StringId(first),
            file: StringId(first + 1),
            line: 7,
            inlined: false,
        }],
        stacks: vec![StackDef {
            id: StackId(number),
            stack_trace_hash: u64::from(number),
            frames: vec![FrameId(number)],
            truncated: false,
        }],
        tags,
    }
}

/// The whole story as a recording.
pub fn recording(session: SessionId, frames: u64) -> Vec<u8> {
    let frames: Vec<_> = (1..=frames).map(|seq| frame(session, seq, frames)).collect();
    records(frames.iter().map(Vec::as_slice))
}

pub fn records<'a>(frames: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = FILE_HEAD.to_vec();
    for frame in frames {
        let head = RecordHead {
            frame_bytes: u32::try_from(frame.len()).unwrap(),
            synced_seq: 0,
        };
        out.extend_from_slice(&head.encode());
        out.extend_from_slice(frame);
    }
    out
}

/// The frames of a recording.
pub fn frames_of(mut recording: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    recording = recording.strip_prefix(&FILE_HEAD).unwrap();
    while let Some(head) = RecordHead::decode(recording) {
        let end = usize::try_from(head.record_bytes()).unwrap();
        frames.push(recording[16..end].to_vec());
        recording = &recording[end..];
    }
    assert!(recording.is_empty());
    frames
}

/// Sends the frames `from..=to` of `last` and waits until they are durable.
pub async fn send(collector: &mut Client, session: SessionId, from: u64, to: u64, last: u64) {
    for seq in from..=to {
        collector.send(frame(session, seq, last)).await;
    }
    collector.acked(to).await;
}

/// That says nothing but how much memory is resident.
pub fn pulse(second: u64, rss_bytes: u64) -> Pulse {
    Pulse {
        timestamp_ns: second * 1_000_000_000,
        rss_bytes,
        live_bytes: 0.0,
        live_std_error_bytes: 0.0,
        allocated_bytes_per_s: 0.0,
        samples_per_s: 0.0,
        dropped: 0,
        seen: 0,
        sampling_rate_bytes: 0,
        collector_cpu_permille: 0,
        collector_rss_bytes: 0,
        sent_bytes_per_s: 0,
        host_available_bytes: 0,
        host_total_bytes: 0,
    }
}
