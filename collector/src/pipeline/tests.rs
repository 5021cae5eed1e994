use super::*;
use crate::linux::bpf::{At, MappingCall, Record, Stack, What};
use heaptide_policy::Tiers;
use heaptide_protocol::events::{Event, EventBody, EventKind};
use heaptide_protocol::lifetimes::LifetimeTable;
use heaptide_protocol::loss::DropReason;
use heaptide_protocol::section::Section;

const TICK_NS: u64 = 100;

struct Nameless;

impl Symbolize for Nameless {
    fn symbolize(&mut self, pc: u64, _: bool, emit: &mut dyn FnMut(Symbol<'_>)) -> bool {
        emit(Symbol {
            function: &format!("f{pc}"),
            file: "",
            line: 0,
            inlined: false,
        });
        true
    }

    fn unrelocated(&self, pc: u64) -> u64 {
        pc
    }
}

fn pipeline(tiers: Tiers, rate_bytes: u64) -> Pipeline {
    Pipeline::new(config(tiers), rate_bytes)
}

fn config(tiers: Tiers) -> PipelineConfig {
    PipelineConfig {
        tick_ns: TICK_NS,
        tiers,
        addresses: false,
        wakep_site: true,
        stop_reasons: true,
        processors: 2,
    }
}

fn every_event() -> Tiers {
    Tiers {
        always_from_bytes: 0,
        hashed_from_bytes: 0,
        hashed_percent: 100,
    }
}

fn at(ts_ns: u64, tid: u32) -> At {
    At {
        ts_ns,
        tgid: 1,
        tid,
        cpu: 0,
    }
}

fn alloc(pipeline: &mut Pipeline, ts_ns: u64, tid: u32, addr: u64, size_bytes: u64) {
    let what = What::SampledAlloc {
        goid: Some(7),
        addr,
        size_bytes,
        stack: Stack::of_bytes(&[1; 8]),
    };
    pipeline.record(
        &Record {
            at: at(ts_ns, tid),
            what,
        },
        &mut Nameless,
    );
}

fn free(pipeline: &mut Pipeline, ts_ns: u64, addr: u64) {
    pipeline.record(
        &Record {
            at: at(ts_ns, 9),
            what: What::SampledFree { addr, size_bytes: 0 },
        },
        &mut Nameless,
    );
}

fn table(output: &TickOutput) -> &LifetimeTable {
    output
        .sections
        .iter()
        .find_map(|section| match section {
            Section::Lifetimes(table) => Some(table),
            _ => None,
        })
        .unwrap()
}

fn events(output: &TickOutput) -> Vec<Event> {
    output
        .sections
        .iter()
        .filter_map(|section| match section {
            Section::Events(batch) => Some(batch.iter().collect::<Vec<_>>()),
            _ => None,
        })
        .flatten()
        .collect()
}

fn dropped(pipeline: &Pipeline, reason: DropReason) -> u64 {
    let hops = pipeline.books().hops();
    assert!(hops.iter().all(|hop| hop.imbalance() == 0), "{hops:?}");
    hops.iter()
        .flat_map(|hop| &hop.dropped)
        .filter(|drop| drop.reason == reason)
        .map(|drop| drop.count)
        .sum()
}

#[test]
fn frees_meet_their_allocations_with_their_age() {
    let mut pipeline = pipeline(Tiers::default(), 512);
    alloc(&mut pipeline, 110, 1, 0xa, 64);
    alloc(&mut pipeline, 120, 1, 0xb, 64);
    free(&mut pipeline, 130, 0xa);
    let first = pipeline.close_tick(200);
    assert_eq!((table(&first).tick, table(&first).births[0].count), (1, 2));
    assert_eq!(
        (table(&first).deaths[0].age_ticks, table(&first).newest_ns),
        (0, 120)
    );
    free(&mut pipeline, 410, 0xb);
    free(&mut pipeline, 420, 0xdead);
    let second = pipeline.close_tick(500);
    assert_eq!(
        (table(&second).births.len(), table(&second).deaths[0].age_ticks),
        (0, 3)
    );
    assert_eq!(dropped(&pipeline, DropReason::UnmatchedFree), 1);
    assert_eq!((pipeline.live_samples(), pipeline.live_estimate().0), (0, 0.0));
}

#[test]
fn a_record_of_the_next_tick_waits_for_it() {
    let mut pipeline = pipeline(Tiers::default(), 512);
    alloc(&mut pipeline, 201, 1, 0xa, 64);
    alloc(&mut pipeline, 150, 1, 0xb, 64);
    assert_eq!(table(&pipeline.close_tick(200)).births[0].count, 1);
    assert_eq!(table(&pipeline.close_tick(300)).births[0].count, 1);
}

#[test]
fn tiers_decide_which_samples_get_an_event_row() {
    let mut pipeline = pipeline(
        Tiers {
            hashed_percent: 0,
            ..Tiers::default()
        },
        512,
    );
    alloc(&mut pipeline, 110, 1, 0xa, 1 << 20);
    alloc(&mut pipeline, 120, 1, 0xb, (1 << 20) - 1);
    free(&mut pipeline, 130, 0xa);
    free(&mut pipeline, 140, 0xb);
    let output = pipeline.close_tick(200);
    let events = events(&output);
    assert_eq!(
        events.iter().map(|event| event.kind).collect::<Vec<_>>(),
        [EventKind::Alloc, EventKind::Free]
    );
    assert_eq!(
        events[1].body,
        EventBody::Free {
            alloc_event_id: Some(events[0].event_id)
        }
    );
    assert_eq!(
        table(&output).births.iter().map(|birth| birth.count).sum::<u32>(),
        2
    );
    assert_eq!(
        table(&output).deaths.iter().map(|death| death.count).sum::<u32>(),
        2
    );
}

#[test]
fn a_rate_change_drops_the_forced_samples_and_weighs_later_ones_anew() {
    let mut pipeline = pipeline(every_event(), 512);
    alloc(&mut pipeline, 110, 1, 0xa, 64);
    pipeline.set_rate(4096, 115);
    for (ts_ns, tid) in [(120, 1), (121, 2), (122, 1), (123, 2), (124, 3)] {
        alloc(&mut pipeline, ts_ns, tid, 0x100 + ts_ns, 64);
    }
    let output = pipeline.close_tick(200);
    assert_eq!(dropped(&pipeline, DropReason::RateChange), 2);
    assert_eq!(table(&output).rates_bytes, [512, 4096]);
    let by_rate: Vec<_> = table(&output)
        .births
        .iter()
        .map(|birth| (birth.allotment.rate_index, birth.count))
        .collect();
    assert_eq!(by_rate, [(0, 1), (1, 3)]);
    // A batch never mixes rates.
    let batches = output
        .sections
        .iter()
        .filter(|section| matches!(section, Section::Events(_)))
        .count();
    assert_eq!(batches, 2);
}

#[test]
fn a_sample_taken_before_its_rate_was_noticed_is_weighed_by_it_or_left_out() {
    let mut pipeline = pipeline(every_event(), 0);
    alloc(&mut pipeline, 110, 1, 0xa, 64);
    pipeline.set_rate(4096, 115);
    alloc(&mut pipeline, 120, 1, 0xb, 64);
    alloc(&mut pipeline, 121, 1, 0xc, 64);
    let output = pipeline.close_tick(200);
    let rates: Vec<_> = table(&output)
        .births
        .iter()
        .map(|birth| (birth.allotment.rate_index, birth.count))
        .collect();
    assert_eq!(rates, [(1, 2)], "{:?}", table(&output).rates_bytes);
    assert_eq!(dropped(&pipeline, DropReason::RateChange), 1);
    // Off again, and nothing known of what came after: it can't be weighed.
    pipeline.set_rate(0, 210);
    alloc(&mut pipeline, 220, 1, 0xd, 64);
    alloc(&mut pipeline, 221, 1, 0xe, 64);
    let output = pipeline.close_tick(300);
    assert_eq!(table(&output).births, []);
    assert_eq!(dropped(&pipeline, DropReason::RateChange), 3);
}

#[test]
fn a_rate_change_leaves_births_in_their_tick_and_a_rate_that_returns_keeps_its_index() {
    let mut pipeline = pipeline(Tiers::default(), 512);
    alloc(&mut pipeline, 310, 1, 0xa, 64);
    pipeline.set_rate(4096, 320);
    pipeline.set_rate(512, 330);
    free(&mut pipeline, 340, 0xa);
    let output = pipeline.close_tick(400);
    assert_eq!(table(&output).rates_bytes, [512, 4096]);
    assert_eq!(table(&output).births[0].allotment.rate_index, 0);
    assert_eq!(table(&output).deaths[0].age_ticks, 0);
    assert_eq!(pipeline.rate_bytes(), 512);
}

#[test]
fn an_address_sampled_twice_closes_the_older_object() {
    let mut pipeline = pipeline(Tiers::default(), 512);
    alloc(&mut pipeline, 110, 1, 0xa, 64);
    alloc(&mut pipeline, 120, 1, 0xa, 128);
    let output = pipeline.close_tick(200);
    assert_eq!((table(&output).births.len(), table(&output).deaths.len()), (2, 1));
    assert_eq!(table(&output).deaths[0].allotment.size_bytes, 64);
    assert_eq!(pipeline.live_samples(), 1);
}

#[test]
fn pauses_end_where_go_says() {
    let cases: [(u8, &[What<'static>], u64); 3] = [
        (
            1,
            &[
                What::StwEnd {
                    now_ns: None,
                    reason: 1,
                },
                What::StwEndWakep,
            ],
            120,
        ),
        (
            2,
            &[
                What::StwEnd {
                    now_ns: None,
                    reason: 2,
                },
                What::StwEndWakep,
            ],
            121,
        ),
        (
            7,
            &[
                What::StwEnd {
                    now_ns: None,
                    reason: 7,
                },
                What::StwEndWakep,
            ],
            121,
        ),
    ];
    for (reason, ends, expected_end_ns) in cases {
        let mut pipeline = pipeline(Tiers::default(), 512);
        pipeline.record(
            &Record {
                at: at(110, 1),
                what: What::StwBegin { reason },
            },
            &mut Nameless,
        );
        for (what, ts_ns) in ends.iter().zip(120..) {
            pipeline.record(
                &Record {
                    at: at(ts_ns, 1),
                    what: *what,
                },
                &mut Nameless,
            );
        }
        let events = events(&pipeline.close_tick(200));
        let got: Vec<_> = events
            .iter()
            .map(|event| (event.kind, event.timestamp_ns))
            .collect();
        let expected = [
            (EventKind::StopTheWorldBegin, 110),
            (EventKind::StopTheWorldEnd, expected_end_ns),
        ];
        assert_eq!(got, expected, "reason {reason}");
        assert_eq!(dropped(&pipeline, DropReason::Malformed), 0);
    }
}

/// Before Go 1.21 the register holds anything, and what happens in a pause tells what it is for.
#[test]
fn pauses_without_a_reason_are_known_by_what_happens_in_them() {
    let cycle = What::GcCycleStart {
        mark_start_ns: 110,
        procs: 2,
        trigger: 0,
    };
    let end = What::StwEnd {
        now_ns: None,
        reason: 99,
    };
    for (inside, expected_reason, expected_end_ns) in [
        (Some(cycle), 2, 130),
        (Some(What::GcMarkTermination), 1, 120),
        (None, 0, 130),
    ] {
        let config = PipelineConfig {
            stop_reasons: false,
            ..config(Tiers::default())
        };
        let mut pipeline = Pipeline::new(config, 512);
        let begin = What::StwBegin { reason: 77 };
        let records = [
            (110, Some(begin)),
            (115, inside),
            (120, Some(end)),
            (130, Some(What::StwEndWakep)),
        ];
        for (ts_ns, what) in records {
            if let Some(what) = what {
                let record = Record {
                    at: at(ts_ns, 1),
                    what,
                };
                pipeline.record(&record, &mut Nameless);
            }
        }
        let events = events(&pipeline.close_tick(200));
        let pauses: Vec<_> = events
            .iter()
            .filter_map(|event| match (event.kind, event.body) {
                (EventKind::StopTheWorldBegin | EventKind::StopTheWorldEnd, EventBody::Other(row)) => {
                    Some((event.timestamp_ns, row.detail))
                }
                _ => None,
            })
            .collect();
        assert_eq!(
            pauses,
            [(110, 0), (expected_end_ns, expected_reason)],
            "{inside:?}"
        );
    }
}

#[test]
fn mappings_carry_what_the_call_said() {
    let mut pipeline = pipeline(Tiers::default(), 512);
    let call = MappingCall::Mmap {
        addr: 0,
        len: 4096,
        prot: 3,
        flags: 0x22,
        fd: -1,
        offset: 0,
    };
    let what = What::Mapping {
        call,
        enter_ns: 100,
        result: 0x7000,
        stack: Stack::of_bytes(&[2; 16]),
    };
    pipeline.record(&Record { at: at(150, 1), what }, &mut Nameless);
    let events = events(&pipeline.close_tick(200));
    let EventBody::Other(row) = events[0].body else {
        panic!("{events:?}")
    };
    assert_eq!(
        (row.size_bytes, row.address, row.detail),
        (4096, 0x7000, 3 << 32 | 0x22)
    );
    assert_eq!((row.heap_tag, row.stack.is_some()), (TAG_MAP_ANONYMOUS, true));
}

#[test]
fn a_held_tick_loses_no_lifetime_row() {
    let mut pipeline = pipeline(every_event(), 512);
    alloc(&mut pipeline, 110, 1, 0xa, 64);
    pipeline.hold_tick(200);
    alloc(&mut pipeline, 210, 1, 0xb, 64);
    free(&mut pipeline, 220, 0xa);
    let output = pipeline.close_tick(300);
    assert_eq!(
        (table(&output).births[0].count, table(&output).deaths[0].count),
        (2, 1)
    );
    assert!(
        pipeline.books().flaws().iter().any(|flaw| flaw.count == 1),
        "the shed event row is counted"
    );
}

#[test]
fn a_new_session_defines_everything_again() {
    let mut pipeline = pipeline(Tiers::default(), 512);
    alloc(&mut pipeline, 110, 1, 0xa, 64);
    let defined = |output: &TickOutput| matches!(&output.sections[0], Section::Dictionary(new) if !new.stacks.is_empty());
    assert!(defined(&pipeline.close_tick(200)));
    pipeline.restart();
    assert!(defined(&pipeline.close_tick(300)));
    assert_eq!(pipeline.live_samples(), 0);
}
