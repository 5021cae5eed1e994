//! One well-filled value of every frame kind and section: what the golden bytes are made of.

#![allow(dead_code, reason = "each test file uses its part")]

use heaptide_policy::{Labels, Policy, RejectReason};
use heaptide_protocol::control::*;
use heaptide_protocol::dictionary::*;
use heaptide_protocol::events::*;
use heaptide_protocol::exact::*;
use heaptide_protocol::frame::{encode, encode_control};
use heaptide_protocol::gauges::*;
use heaptide_protocol::goroutines::*;
use heaptide_protocol::ledger::*;
use heaptide_protocol::lifetimes::*;
use heaptide_protocol::loss::*;
use heaptide_protocol::section::*;
use heaptide_protocol::session::*;
use heaptide_protocol::{Envelope, FrameId, FrameKind, SessionId, StackId, StringId, SymbolGen, TagId};

pub(crate) const SESSION: SessionId = SessionId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

pub(crate) fn signature() -> PlatformSignature {
    PlatformSignature {
        os: "Debian GNU/Linux".into(),
        os_version: "12".into(),
        kernel: "6.18.44".into(),
        architecture: "x86_64".into(),
        cpus: 2,
        page_size_bytes: 4096,
        huge_page_mode: "madvise".into(),
        libc: "glibc 2.36".into(),
        runtime: "go".into(),
        runtime_version: "go1.27.3".into(),
        build_id: "abc/def".into(),
        host_name: "host".into(),
        boot_id: "d5a1".into(),
        pid: 4242,
        executable: "/usr/bin/shop".into(),
        command_line: vec!["shop".into(), "-rps=10".into()],
        collector_version: "0.1.0".into(),
        clock: Clock {
            kind: ClockKind::LinuxMonotonic,
            session_ns: 1_000_000_000,
            unix_ns: 1_795_000_000_000_000_000,
            error_ns: 250,
        },
    }
}

fn labels() -> Labels {
    [("host", "host"), ("service", "shop")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into_iter()
        .collect()
}

fn capabilities() -> Vec<Capability> {
    let why = || "not in this version".to_owned();
    [
        (
            EventClass::Allocation,
            Method::Sampled { rate_bytes: 524_288 },
            CapabilityState::Active,
        ),
        (
            EventClass::GarbageCollection,
            Method::Exact,
            CapabilityState::Limited { why: why() },
        ),
        (
            EventClass::Mapping,
            Method::Exact,
            CapabilityState::Off { why: why() },
        ),
        (
            EventClass::Goroutine,
            Method::Census,
            CapabilityState::Unavailable {
                why: why(),
                remedy: "upgrade".into(),
            },
        ),
    ]
    .map(|(class, method, state)| Capability {
        class,
        source: "uprobe".into(),
        method,
        state,
    })
    .into()
}

pub(crate) fn batch() -> EventBatch {
    let mut batch = EventBatch::new(100, 5_000, SymbolGen(1), 524_288, true);
    for thread in 0..20_u32 {
        let alloc = batch.push(
            5_000 + u64::from(thread) * 333,
            1_000 + thread,
            EventKind::Alloc,
            EventBody::Alloc {
                alloc_size_bytes: 1 << 20 | u64::from(thread),
                stack: StackId(thread % 3),
                heap_tag: TagId(thread / 10),
                goroutine_id: 7 + u64::from(thread),
                address: Some(0xc000_0000_0000 + u64::from(thread) * 8192),
            },
        );
        let alloc_event_id = (thread % 5 != 0).then_some(alloc);
        batch.push(
            9_000 + u64::from(thread),
            1_000,
            EventKind::Free,
            EventBody::Free { alloc_event_id },
        );
    }
    let row = OtherRow {
        size_bytes: 1 << 26,
        address: 0xc000_0000_0000,
        detail: 3 << 32 | 0x22,
        goroutine_id: 1,
        stack: Some(StackId(2)),
        heap_tag: TagId(1),
    };
    for number in EventKind::GcStart as u8..=EventKind::LAST as u8 {
        let kind = EventKind::from_wire(number).unwrap();
        let stack = row.stack.filter(|_| number % 2 == 0);
        batch.push(
            10_000 + u64::from(number),
            1_003,
            kind,
            EventBody::Other(OtherRow { stack, ..row }),
        );
    }
    batch
}

pub(crate) fn lifetimes() -> LifetimeTable {
    let allotment = |stack, size_bytes, rate_index| Allotment {
        stack: StackId(stack),
        heap_tag: TagId(0),
        size_bytes,
        rate_index,
    };
    LifetimeTable {
        symbol_gen: SymbolGen(1),
        tick: 77,
        tick_ns: 100_000_000,
        newest_ns: 7_799_999_999,
        rates_bytes: vec![524_288, 65_536],
        births: vec![
            Birth {
                allotment: allotment(0, 48, 0),
                count: 3,
            },
            Birth {
                allotment: allotment(2, 1 << 30, 1),
                count: 1,
            },
        ],
        deaths: vec![Death {
            allotment: allotment(1, 4096, 1),
            age_ticks: 70,
            count: 9,
        }],
    }
}

pub(crate) fn sections() -> Vec<Section> {
    vec![
        Section::Start(SessionStart {
            signature: signature(),
            labels: labels(),
            capabilities: capabilities(),
            policy: Policy::default(),
        }),
        Section::Dictionary(Dictionary {
            symbol_gen: SymbolGen(1),
            strings: vec![
                StringDef {
                    id: StringId(0),
                    text: "main.leak".into(),
                },
                StringDef {
                    id: StringId(1),
                    text: "größe.go".into(),
                },
            ],
            frames: vec![FrameDef {
                id: FrameId(0),
                function: StringId(0),
                file: StringId(1),
                line: 42,
                inlined: true,
            }],
            stacks: vec![StackDef {
                id: StackId(0),
                stack_trace_hash: u64::MAX,
                frames: vec![FrameId(0)],
                truncated: false,
            }],
            tags: vec![TagDef {
                id: TagId(0),
                name: StringId(0),
            }],
        }),
        Section::Lifetimes(lifetimes()),
        Section::Events(batch()),
        Section::Gauges(Gauges {
            timestamp_ns: 9,
            values: vec![GaugeValue {
                gauge: Gauge::RSS_BYTES,
                value: 1 << 33,
            }],
        }),
        Section::Loss(LossReport {
            timestamp_ns: 10,
            hops: vec![HopCount {
                hop: Hop::Kernel,
                class: EventClass::Allocation,
                seen: 10,
                sent: 8,
                dropped: vec![DropCount {
                    reason: DropReason::RingFull,
                    count: 2,
                }],
            }],
            flaws: vec![FlawCount {
                flaw: Flaw::StackTruncated,
                count: 1,
            }],
        }),
        Section::PolicyOutcome(outcome()),
        Section::End(SessionEnd {
            timestamp_ns: 11,
            reason: EndReason::Signalled { signal: 9 },
        }),
        Section::Goroutines(census()),
        Section::Exact(exact()),
        Section::Ledger(Ledger {
            timestamp_ns: 13,
            took_ns: 14,
            rss_bytes: 1 << 30,
            rss_after_bytes: (1 << 30) + 4096,
            remainder_bytes: -8192,
            lines: vec![LedgerLine {
                kind: LedgerKind::GO_HEAP_IN_USE,
                bytes: 1 << 29,
            }],
        }),
        Section::Regions(Regions {
            timestamp_ns: 15,
            rows: vec![Region {
                start: 0xc0_0000_0000,
                end: 0xc0_0040_0000,
                kind: LedgerKind::GO_HEAP_IN_USE,
                permissions: "rw-p".into(),
                name: "[anon: Go: heap]".into(),
                rss_bytes: 1 << 22,
                anon_huge_bytes: 1 << 21,
                swap_bytes: 0,
                lazy_free_bytes: 4096,
                flags: "hg".into(),
                stack: Some(StackId(0)),
            }],
            other_regions: 7,
            other_rss_bytes: 70_000,
        }),
    ]
}

fn census() -> GoroutineCensus {
    GoroutineCensus {
        timestamp_ns: 16,
        took_ns: 17,
        goroutines: 12,
        dead: 3,
        torn: 1,
        ungrouped: 0,
        inferred: 3,
        groups: vec![GoroutineGroup {
            creator: Some(StackId(0)),
            creator_is_whole: true,
            entry: None,
            wait: Some(StackId(0)),
            state: GoroutineState::Waiting,
            wait_reason: "chan receive".into(),
            count: 11,
            stack_bytes: 11 << 11,
            oldest_seen_ns: 5,
            ages: vec![1, 0, 10],
        }],
    }
}

fn exact() -> ExactWindow {
    ExactWindow {
        number: 1,
        from_ns: 18,
        to_ns: 19,
        ended_by: ExactEnd::Cost,
        probes: 18,
        objects: 50_018,
        bytes: 1 << 24,
        objects_without_row: 0,
        runtime_objects: Some(50_018),
        rows: vec![ExactRow {
            stack: Some(StackId(0)),
            type_name: "main.node".into(),
            class_bytes: 48,
            objects: 50_000,
            bytes: 50_000 * 48,
        }],
        phase: Some(SamplingPhase {
            rate_bytes: 524_288,
            bins: vec![3, 4, 2, 5],
            bytes: 9 << 20,
        }),
    }
}

fn outcome() -> PolicyOutcome {
    PolicyOutcome {
        timestamp_ns: 12,
        revision: 3,
        result: PolicyResult::Rejected {
            reason: RejectReason::WriteFailed {
                detail: "gone".into(),
            },
        },
    }
}

pub(crate) fn data_payload() -> Vec<u8> {
    let mut writer = SectionWriter::default();
    for section in sections() {
        writer.push(&section).unwrap();
    }
    writer.take()
}

/// Name and bytes of one frame of each kind.
pub(crate) fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let policy = Policy {
        revision: 2,
        sampling_rate_bytes: Some(65_536),
        ..Policy::default()
    };
    let pulse = Pulse {
        timestamp_ns: 1,
        rss_bytes: 2,
        live_bytes: 3.5,
        live_std_error_bytes: 0.25,
        allocated_bytes_per_s: 4.0,
        samples_per_s: 5.0,
        dropped: 6,
        seen: 7,
        sampling_rate_bytes: 8,
        collector_cpu_permille: 9,
        collector_rss_bytes: 10,
        sent_bytes_per_s: 11,
        host_available_bytes: 12,
        host_total_bytes: 13,
    };
    let summary = SessionSummary {
        session: SESSION,
        signature: signature(),
        labels: labels(),
        capabilities: capabilities(),
        state: SessionState::Away { since_unix_ns: 5 },
        first_ns: 1,
        last_ns: 2,
        frames: 3,
        stored_bytes: 4,
        rate_write_granted: true,
        policy: PolicyState {
            applied: Some(Policy::default()),
            pending: Some(policy.clone()),
            last_outcome: Some(outcome()),
            refused: Some("no".into()),
            fleet_revision: 14,
            is_overridden: true,
        },
        pulse: Some(pulse.clone()),
    };
    let none = SessionId::default();
    let control = |name, bytes: Result<Vec<u8>, _>| (name, bytes.unwrap());
    vec![
        control(
            "hello",
            encode_control(
                FrameKind::Hello,
                none,
                &Hello {
                    role: Role::Collector,
                    agent: "heaptide 0.1.0".into(),
                    token: Some("t".into()),
                },
            ),
        ),
        control(
            "welcome",
            encode_control(
                FrameKind::Welcome,
                none,
                &Welcome {
                    agent: "heaptide 0.1.0".into(),
                    hub_epoch: 9,
                    unix_ns: 10,
                },
            ),
        ),
        control(
            "refuse",
            encode_control(
                FrameKind::Refuse,
                none,
                &Refuse {
                    code: RefuseCode::Version,
                    ours: 1,
                    theirs: 2,
                    message: "upgrade".into(),
                },
            ),
        ),
        control(
            "open",
            encode_control(
                FrameKind::Open,
                SESSION,
                &Open {
                    signature: signature(),
                    labels: labels(),
                    capabilities: capabilities(),
                    policy: Policy::default(),
                    rate_write_granted: true,
                    first_seq: 1,
                },
            ),
        ),
        control(
            "ack",
            encode_control(FrameKind::Ack, SESSION, &Ack { durable_seq: 300 }),
        ),
        control(
            "data",
            encode(Envelope::data(SESSION, 5, 1_000, 2_000), &data_payload()),
        ),
        control(
            "clock-ping",
            encode_control(FrameKind::ClockPing, none, &ClockPing { t1_ns: 1 }),
        ),
        control(
            "clock-pong",
            encode_control(
                FrameKind::ClockPong,
                none,
                &ClockPong {
                    t1_ns: 1,
                    t2_unix_ns: 2,
                    t3_unix_ns: 3,
                },
            ),
        ),
        control(
            "policy-set",
            encode_control(
                FrameKind::PolicySet,
                SESSION,
                &PolicySet {
                    policy: policy.clone(),
                },
            ),
        ),
        control(
            "policy-outcome",
            encode_control(FrameKind::PolicyOutcome, SESSION, &outcome()),
        ),
        control("pulse", encode_control(FrameKind::Pulse, SESSION, &pulse)),
        control(
            "subscribe",
            encode_control(FrameKind::Subscribe, SESSION, &Subscribe { after_seq: 4 }),
        ),
        control(
            "overview",
            encode_control(
                FrameKind::Overview,
                SESSION,
                &Overview {
                    past_bytes: 1 << 20,
                    close_from_ns: 5,
                    close_to_ns: 300,
                },
            ),
        ),
        control(
            "stretch",
            encode_control(
                FrameKind::Stretch,
                SESSION,
                &Stretch {
                    from_seq: 1,
                    to_seq: 600,
                    step_ns: 60_000_000_000,
                },
            ),
        ),
        control(
            "unsubscribe",
            encode_control(FrameKind::Unsubscribe, SESSION, &()),
        ),
        control(
            "sessions",
            encode_control(
                FrameKind::Sessions,
                none,
                &Sessions {
                    sessions: vec![summary.clone()],
                },
            ),
        ),
        control(
            "missed",
            encode_control(
                FrameKind::Missed,
                SESSION,
                &Missed {
                    from_seq: 1,
                    to_seq: 2,
                    reason: MissedReason::SlowReader,
                },
            ),
        ),
        control(
            "policy-propose",
            encode_control(FrameKind::PolicyPropose, SESSION, &PolicyPropose { policy }),
        ),
        control(
            "policy-state",
            encode_control(FrameKind::PolicyState, SESSION, &summary.policy),
        ),
        control(
            "caught-up",
            encode_control(FrameKind::CaughtUp, SESSION, &CaughtUp { last_seq: 9 }),
        ),
        control(
            "notice",
            encode_control(FrameKind::Notice, none, &Notice { message: "hi".into() }),
        ),
        control(
            "clock",
            encode_control(
                FrameKind::Clock,
                SESSION,
                &ClockReading {
                    epoch: 2,
                    at_ns: 5_000_000_000,
                    offset_ns: -1_794_999_999_000_000_000,
                    error_ns: 16_300,
                    suspended_ns: 3_600_000_000_000,
                },
            ),
        ),
    ]
}
